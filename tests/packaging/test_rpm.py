"""The spec file: rpmbuild makes a package of it, also on Debian, and the package holds what the .deb holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from bed import package  # noqa: E402


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("rpmbuild") is None:
        line = "rpmbuild is not installed: apt-get install rpm"
        if os.environ.get("CI") == "true":
            pytest.fail(line, pytrace=False)
        pytest.skip(line)
    top = tmp_path_factory.mktemp("rpm")
    (top / "SOURCES").mkdir()
    with tarfile.open(top / "SOURCES" / "waagent-3.0.0.tar.gz", "w:gz") as archive:
        for name in package.ingredients():
            archive.add(ROOT / name, f"waagent-3.0.0/{name}")
    command = ["rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {top}", str(ROOT / "rpm" / "waagent.spec")]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:]
    (made,) = top.glob("RPMS/noarch/waagent-3.0.0-*.rpm")
    return made


def query(rpm: Path, *words: str) -> str:
    return subprocess.run(["rpm", "-qp", *words, rpm], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_package_holds_every_step_and_unit(rpm: Path) -> None:
    files = set(query(rpm, "--list").split())
    for pattern in ("stages/*.yaml", "modules/*/[0-9]*.py", "data/distros/*.yaml"):
        for path in ROOT.glob(pattern):
            assert f"/usr/lib/waagent/{path.relative_to(ROOT)}" in files
    for path in (ROOT / "data" / "systemd").glob("*.*"):
        assert f"/usr/lib/systemd/system/{path.name}" in files
    for path in (ROOT / "data" / "udev").iterdir():
        assert f"/usr/lib/udev/rules.d/{path.name}" in files
    for stage in ("local", "network", "config", "final", "periodic"):
        assert f"/etc/waagent/hooks.d/{stage}" in files
    assert {"/usr/sbin/waagent", "/usr/sbin/waagent-simulator", "/usr/lib/waagent/periodic-due"} <= files


def test_configuration_is_the_administrator_s(rpm: Path) -> None:
    assert set(query(rpm, "--configfiles").split()) == {"/etc/waagent.conf", "/etc/logrotate.d/waagent"}
    flags = query(rpm, "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}\\n]")
    assert "/etc/waagent.conf cn" in flags


def test_state_directory_may_be_passed_but_not_read(rpm: Path) -> None:
    listed = query(rpm, "--queryformat", "[%{FILENAMES} %{FILEMODES:perms}\\n]")
    assert "/var/lib/waagent drwx--x--x" in listed


def test_scriptlets_are_valid_shell_and_restart_nothing_but_the_resident_units(rpm: Path) -> None:
    for phase in ("POSTIN", "PREUN", "POSTUN"):
        text = query(rpm, "--queryformat", f"%{{{phase}}}")
        assert text != "(none)", f"no {phase} scriptlet"
        subprocess.run(["sh", "-n"], input=text, check=True, text=True)
        for line in text.splitlines():
            if "restart" in line:
                assert "waagent-local" not in line and "waagent.target" not in line, line


def test_package_takes_the_place_of_the_other_agent(rpm: Path) -> None:
    assert "WALinuxAgent < 3.0.0" in query(rpm, "--obsoletes")
    assert "WALinuxAgent = 3.0.0" in query(rpm, "--provides")


def test_nothing_in_the_package_names_the_place_it_was_built_in(rpm: Path) -> None:
    unpacked = subprocess.run(["rpm2cpio", rpm], check=True, stdout=subprocess.PIPE).stdout
    assert str(rpm.parents[2]).encode() not in unpacked
