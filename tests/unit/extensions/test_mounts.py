"""Directories from which no program may run: what is told of them, and a handler that runs from another one.

Real mounts, in a mount namespace of each test's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runner.conftest import TOP
from waagent.config import CONFIGURATION
from waagent.extensions import mounts
from waagent.system import System

NAME = "Contoso.Test.Probe"
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

# Processes one handler with its directory at LIB, as the engine does, and prints its entry of the status report.
PROCESS = """
import json, os, sys
from pathlib import Path
from tests.unit.extensions.conftest import Bed, single
from waagent.extensions import start
from waagent.extensions.layout import Layout
lib, folder = sys.argv[1], Path(sys.argv[2])
bed = Bed(folder)
bed.layout = Layout(lib, str(folder / "log"))
os.makedirs(lib, exist_ok=True)
troubles = start.link_habitual(bed.system, bed.layout)
bed.publish("Contoso.Test.Probe", "1.0.0", {"enable": sys.argv[3]})
bed.process(single("Contoso.Test.Probe", public={"greeting": "hello"}))
print(json.dumps([troubles, bed.entry("Contoso.Test.Probe")]))
"""


def apart(mount: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this in a mount namespace of its own, after the shell text `mount`."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-euc", f'{mount}\nexec "$@"', "sh", *words],
        cwd=TOP, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(TOP), **environment},
    )  # fmt: skip


def processed(mount: str, lib: Path, folder: Path, enable: str = "status success fine") -> Any:
    ran = apart(mount, sys.executable, "-c", PROCESS, str(lib), str(folder), enable)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.row("field-demands", 147)
@needs_mounts
def test_row_147_a_noexec_var_is_named_and_another_directory_helps(tmp_path: Path) -> None:
    var, opt = tmp_path / "var", tmp_path / "opt"
    var.mkdir()
    # With a file in /var/lib/waagent, so that nothing becomes a link.
    mount = f"mount -t tmpfs -o noexec none {var}\nmount -t tmpfs none /var/lib\nmkdir -p /var/lib/waagent/kept"
    _, entry = processed(mount, var / "lib/waagent", tmp_path)
    told = entry["formattedMessage"]["message"]
    assert (entry["status"], entry["code"]) == ("NotReady", 1007)
    assert "exit code 126" in told
    assert f"{var} is mounted noexec, so no handler can run from {var}/lib/waagent: mount it with exec, or set" in told
    assert "Lib.Dir to a directory of another file system" in told
    _, entry = processed(mount, opt / "waagent", tmp_path)
    assert (entry["status"], entry["code"]) == ("Ready", 0)


@pytest.mark.row("field-demands", 147, 148)
@needs_mounts
def test_row_148_a_handler_that_has_the_habitual_directory_written_into_it_runs_from_lib_dir(tmp_path: Path) -> None:
    enable = f"grep -q hello /var/lib/waagent/{NAME}-1.0.0/config/0.settings && status success found"
    mount = "mount -t tmpfs none /var/lib"
    troubles, entry = processed(mount, tmp_path / "opt/waagent", tmp_path, enable)
    assert troubles == []
    assert entry["runtimeSettingsStatus"]["settingsStatus"]["status"]["formattedMessage"]["message"] == "found"


@pytest.mark.row("field-demands", 149)
@needs_mounts
def test_row_149_the_list_tells_of_real_noexec_mounts(tmp_path: Path) -> None:
    var = tmp_path / "v a r"
    var.mkdir()
    (tmp_path / "waagent.conf").write_text(f"Lib.Dir={var}/lib/waagent\n")
    mount = f"""mount -t tmpfs -o noexec none '{var}'
for place in /tmp /var/tmp; do mount --bind $place $place; mount -o remount,bind,noexec $place; done"""
    words = (sys.executable, "-m", "waagent.cli", "extensions", "list", "--format", "json")
    ran = apart(mount, *words, **{CONFIGURATION: str(tmp_path / "waagent.conf")})
    assert ran.returncode == 0, ran.stderr
    first, second, third = json.loads(ran.stdout)["problems"]
    assert first.startswith(f"{var} is mounted noexec, so no handler can run from {var}/lib/waagent: ")
    assert second == "/tmp is mounted noexec; handlers that unpack programs into /tmp fail"
    assert third == "/var/tmp is mounted noexec; handlers that unpack programs into /var/tmp fail"


@needs_mounts
def test_a_package_is_not_tried_where_nothing_can_run(tmp_path: Path) -> None:
    package = tmp_path / f"{NAME}-1.0.0.zip"
    place = tmp_path / "place"
    place.mkdir()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("HandlerManifest.json", "[]")
    words = (sys.executable, "-m", "waagent.cli", "extensions", "run", str(package), "--in", str(place))
    ran = apart(f"mount -t tmpfs -o noexec none {place}", *words)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"{place} is mounted noexec; name another directory with --in" in ran.stderr


@pytest.mark.row("field-demands", 149)
def test_what_counts_is_where_links_lead_to(system: System) -> None:
    system.make_directory("/proc/self")
    system.path("/proc/self/mounts").write_text("a / ext4 rw 0 0\nb /var ext4 rw,noexec 0 0\nc /opt ext4 rw 0 0\n")
    system.make_directory("/opt/waagent")
    system.make_directory("/var/lib")
    (system.path("/var/lib") / "link").symlink_to("/opt/waagent")
    assert mounts.noexec(system, "/var/lib/link") == ""
    assert mounts.noexec(system, "/var/lib") == "/var"
    assert mounts.noexec(system, "/variable") == ""
    system.path("/proc/self/mounts").write_text("a / ext4 rw 0 0\nc /opt ext4 rw,noexec 0 0\n")
    assert mounts.noexec(system, "/var/lib/link") == "/opt"
