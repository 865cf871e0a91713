"""The example package: it builds, its step is found, runs, can be masked, and is gone when the package is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import waagent.config
import waagent.distro
from tests.unit.runner.conftest import TOP, Machine

ACME = TOP / "docs/examples/acme"
MODULE = "usr/lib/waagent/modules/config/45-acme-identity.py"


def deb(folder: Path) -> Path:
    subprocess.run([str(ACME / "build-deb"), str(folder)], check=True, capture_output=True)
    return folder / "waagent-acme_1.0-1_all.deb"


def rpm(folder: Path) -> Path:
    define = ["--define", f"_topdir {folder}", "--define", f"_sourcedir {ACME}"]
    subprocess.run(["rpmbuild", "-bb", *define, str(ACME / "waagent-acme.spec")], check=True, capture_output=True)
    (found,) = (folder / "RPMS").rglob("*.rpm")
    return found


def unpacked(machine: Machine, package: Path) -> None:
    if package.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", str(package), str(machine.root)], check=True)
        return
    subprocess.run(["rpm2archive", str(package)], check=True)
    subprocess.run(["tar", "-xzf", f"{package}.tgz", "-C", str(machine.root)], check=True)


@pytest.mark.parametrize("build", [deb, rpm], ids=["deb", "rpm"])
def test_a_module_of_another_package_is_a_step_like_any_other(machine: Machine, tmp_path: Path, build: object) -> None:
    tool = {deb: ("dpkg-deb",), rpm: ("rpmbuild", "rpm2archive")}[build]  # type: ignore[index]
    if any(shutil.which(program) is None for program in tool):
        pytest.skip(f"needs {' and '.join(tool)}")
    (machine.root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    machine.module("vendor/config/20-resource-disk.py")
    machine.module("vendor/config/60-custom-data.py")
    unpacked(machine, build(tmp_path))  # type: ignore[operator]

    listing = machine.steps("config")
    assert [step.name for step in listing.steps] == ["resource-disk", "acme-identity", "custom-data"]
    assert listing.steps[1].rank == "vendor"
    assert not listing.refused
    record = machine.run("config").records[1]
    assert (record["outcome"], record["message"]) == ("changed", "wrote /etc/acme/identity.conf")
    assert (machine.root / "etc/acme/identity.conf").read_text() == "id=\nname=\nregion=\n"

    profile = waagent.distro.load(str(machine.root), str(TOP / "data/distros"))
    assert profile.texts("paths.random-seed")[0] == "/var/lib/acme/random-seed"
    assert not profile.problems
    config = waagent.config.load(str(machine.root))
    assert config.integer("Provisioning.MonitorHostNamePeriod") == 30
    assert config.source("Provisioning.MonitorHostNamePeriod") == "/usr/lib/waagent/conf.d/30-acme.conf:3"

    machine.add("admin/config/45-acme-identity", "")
    assert [masked.name for masked in machine.steps("config").masked] == ["acme-identity"]
    (machine.root / "etc/waagent/hooks.d/config/45-acme-identity").unlink()
    (machine.root / MODULE).unlink()
    assert [step.name for step in machine.steps("config").steps] == ["resource-disk", "custom-data"]


def test_the_package_says_what_it_needs_and_whose_its_files_are(tmp_path: Path) -> None:
    package = deb(tmp_path)
    fields = subprocess.run(["dpkg-deb", "--field", str(package), "Depends"], capture_output=True, text=True, check=True)
    assert fields.stdout == "waagent (>= 3.0)\n"
    listed = subprocess.run(["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True).stdout
    assert all(" root/root " in line for line in listed.splitlines())
    assert f"./{MODULE}" in listed
