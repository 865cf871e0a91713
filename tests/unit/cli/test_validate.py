"""waagent validate: every kind of file, found out by itself, each mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import TOP, Waagent
from tests.unit.runner.conftest import Machine

OVF = """<?xml version="1.0" encoding="utf-8"?>
<ns0:Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:ns0="http://schemas.dmtf.org/ovf/environment/1" xmlns:ns1="http://schemas.microsoft.com/windowsazure">
  <ns1:ProvisioningSection>
    <ns1:Version>1.0</ns1:Version>
    <ns1:LinuxProvisioningConfigurationSet>
      <ns1:HostName>vm1</ns1:HostName>
      <ns1:UserName>ada</ns1:UserName>
      <ns1:UserPassword>correct horse</ns1:UserPassword>
    </ns1:LinuxProvisioningConfigurationSet>
  </ns1:ProvisioningSection>
  <ns1:PlatformSettingsSection>
    <ns1:Version>1.0</ns1:Version>
    <ns1:PlatformSettings><ns1:ProvisionGuestAgent>true</ns1:ProvisionGuestAgent></ns1:PlatformSettings>
  </ns1:PlatformSettingsSection>
</ns0:Environment>
"""

GOOD = {
    "waagent.conf": "ResourceDisk.Format=y\n",
    "ovf-env.xml": OVF,
    "stages/local.yaml": (TOP / "stages/local.yaml").read_text(),
    "distros/mine.yaml": "summary: Mine\nmatch: {ID: mine}\nbased-on: debian\nservices: {ssh: my-sshd}\n",
    "distro.d/50-x.yaml": "services: {ssh: my-sshd}\n",
    "20-x.sh": "#!/bin/sh\n# waagent: {frequency: always}\ntrue\n",
    "20-x.py": "from waagent.module import *\nMODULE = Module(summary='x')\ndef run(ctx):\n    return changed('x')\n",
}
BAD = [
    ("waagent.conf", "\nResourceDisk.Formt=y\n", 2, "ResourceDisk.Formt is no option; did you mean ResourceDisk.Format"),
    ("50-x.conf", "ResourceDisk.SwapSizeMB=2G\n", 1, "expected a whole number"),
    ("ovf-env.xml", OVF.replace("<ns1:HostName>vm1</ns1:HostName>\n", ""), 0, "HostName"),
    ("ovf-env.xml", OVF.replace("<ns1:UserName>ada</ns1:UserName>", "<ns1:UserName></ns1:UserName>"), 8, "UserName"),
    ("ovf-env.xml", OVF.replace("</ns1:UserName>", ""), 10, "mismatched tag"),
    ("local.yaml", "summary: x\norder: 1\nunit: x\nbudgett: 3s\n", 4, "unknown key budgett, did you mean 'budget'"),
    ("local.yaml", "summary: x\norder: 1\nunit: [\n", 4, "not YAML"),
    ("lokal.yaml", "summary: x\norder: 1\nunit: x\n", 0, "there is no stage 'lokal'"),
    ("distros/mine.yaml", "summary: x\nmatch: {ID: x}\nservices:\n  sssh: x\n", 4, "did you mean ssh"),
    ("distros/mine.yaml", "summary: x\nmatch: {ID: x}\nbased-on: nowhere\n", 3, "there is no such profile"),
    ("distro.d/50-x.yaml", "based-on: debian\n", 1, "belongs into a whole profile"),
    ("mine.yaml", "a:\n  - b\n c: [\n", 3, "expected"),
    ("20-x.sh", "#!/bin/sh\nif true\n", 3, "cannot parse it"),
    ("20-x.sh", "#!/bin/bash\necho (\n", 2, "bash cannot parse it"),
    ("20-x.sh", "#!/bin/sh\r\ntrue\r\n", 1, "carriage return"),
    ("20-x.sh", "#!/usr/bin/no-such\n", 1, "interpreter /usr/bin/no-such not found"),
    ("20-x", "true\n", 1, "no interpreter line"),
    ("20-x.sh", "#!/bin/sh\n\n# waagent: {frequenzy: always}\n", 3, "unknown key 'frequenzy'"),
    ("20-x.sh", "#!/bin/sh\n# waagent: frequency always\n", 2, "looks like a header and is none"),
    ("20-x.sh", "#!/bin/sh\n" + "#\n" * 3000 + "# waagent: {limit: 1s}\n", 3002, "has to stand in the first 4096 bytes"),
    ("20-x.py", "MODULE = Module(summary='x')\n", 1, "needs MODULE = Module(…) and run(ctx)"),
    ("20-x.py", "\n\ndef run(:\n", 3, "not Python"),
    ("20-x.py", "def run(ctx): pass\n\nMODULE = Module(summary=str(1))\n", 3, "has to be a literal"),
    ("20-X.sh", "#!/bin/sh\n", 0, "NN-name"),
]  # fmt: skip


def put(folder: Path, name: str, text: str, mode: int = 0o755) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_of_each_kind(waagent: Waagent, tmp_path: Path, name: str) -> None:
    path = put(tmp_path, name, GOOD[name])
    said = waagent("validate", str(path))
    assert said.out.startswith(f"{path}: nothing wrong (")
    assert said.status == 0


@pytest.mark.parametrize(("name", "text", "line", "words"), BAD)
def test_a_mistake_is_told_with_its_line(
    waagent: Waagent, tmp_path: Path, name: str, text: str, line: int, words: str
) -> None:
    path = put(tmp_path, name, text)
    said = waagent("validate", str(path))
    assert said.status == 1
    assert words in said.out
    assert said.out.startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_all_mistakes_of_all_files_and_as_json(waagent: Waagent, tmp_path: Path) -> None:
    one = put(tmp_path, "local.yaml", "summary: 1\norder: x\nunit: u\n")
    two = put(tmp_path, "waagent.conf", "Nonsense=1\nOS.EnableRDMA=perhaps\n")
    assert waagent("validate", str(one), str(two)).out.count("\n") == 4
    whole = waagent("validate", str(one), str(two), "--format", "json").json()
    assert whole["schema"] == 1
    assert [file["kind"] for file in whole["files"]] == ["stage", "conf"]
    assert whole["files"][0]["findings"][0]["line"] == 1


def test_a_file_that_cannot_be_read_or_known(waagent: Waagent, tmp_path: Path) -> None:
    said = waagent("validate", str(tmp_path / "nothing.conf"))
    assert (said.status, "No such file" in said.err) == (2, True)
    path = put(tmp_path, "notes.txt", "Hello=1\n")
    said = waagent("validate", str(path))
    assert (said.status, "say it with --as" in said.err) == (2, True)
    assert waagent("validate", str(path), "--as", "conf").status == 1


def test_modes_owners_and_doubles_count_where_hooks_run(machine: Machine, waagent: Waagent) -> None:
    loose = machine.add("admin/local/20-x.sh", "#!/bin/sh\n", 0o777)
    assert "writable by others (mode 0777); chmod go-w it" in waagent("validate", str(loose)).out
    plain = machine.add("admin/local/21-y.sh", "#!/bin/sh\n", 0o644)
    assert "not executable by its owner" in waagent("validate", str(plain)).out
    machine.add("admin/local/30-z.sh", "#!/bin/sh\n")
    double = machine.add("admin/local/31-z.sh", "#!/bin/sh\n")
    assert "'z' is there 2 times" in waagent("validate", str(double)).out
    astray = machine.add("admin/lokal/30-z.sh", "#!/bin/sh\n")
    assert "there is no stage 'lokal', so it never runs" in waagent("validate", str(astray)).out
    circle = machine.add("admin/local/40-a.sh", "#!/bin/sh\n# waagent: {before: nobody}\n")
    assert "is no step here; it runs at its number" in waagent("validate", str(circle)).out


def test_what_a_hook_replaces_or_masks_is_a_note(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/local/20-a.py")
    path = machine.add("admin/local/20-a.sh", "#!/bin/sh\n")
    said = waagent("validate", str(path))
    assert (said.status, "note: replaces /usr/lib/waagent/modules/local/20-a.py" in said.out) == (0, True)
    path.write_text("")
    assert "note: empty: it masks the step 'a'" in waagent("validate", str(path)).out


@pytest.mark.parametrize("kind", ["conf", "ovf", "stage", "distro", "hook"])
def test_rubbish_of_any_kind_is_told_and_not_thrown(waagent: Waagent, tmp_path: Path, kind: str) -> None:
    for number, rubbish in enumerate((b"\x00", b"\xff\xfe\x80", b"{" * 3000, b"&a [*a]", b"- 1", b"<" * 99, b"=\n" * 99)):
        path = tmp_path / f"2{number}-x.sh"
        path.write_bytes(rubbish)
        path.chmod(0o755)
        said = waagent("validate", str(path), "--as", kind)
        assert said.status in (0, 1), said
        assert said.err == ""
