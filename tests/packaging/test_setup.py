"""setup.py: what it puts where, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def run(*words: str, cwd: Path) -> str:
    ran = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 0, f"{' '.join(words)}:\n{ran.stdout[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree: setuptools writes beside setup.py."""
    copy = tmp_path_factory.mktemp("source") / "waagent"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "waagent.conf"):
        shutil.copy(ROOT / name, copy)
    for name in ("waagent", "stages", "modules", "data", "docs/man"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    run(SYSTEM, "setup.py", "-q", "install", f"--root={root}", "--prefix=/usr", cwd=source)
    return root


def library(root: Path) -> Path:
    (found,) = root.glob("usr/**/python3*/*-packages/waagent")
    return found


def test_every_step_stage_and_profile_arrives(installed: Path) -> None:
    for pattern in ("stages/*.yaml", "modules/*/[0-9]*.py", "data/distros/*.yaml"):
        there = {str(path.relative_to(installed / "usr/lib/waagent")) for path in (installed / "usr/lib/waagent").glob(pattern)}
        assert there == {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        assert there, pattern


def test_every_unit_arrives_and_the_old_service_name_leads_to_the_new(installed: Path) -> None:
    units = installed / "usr/lib/systemd/system"
    ours = {path.name for path in (ROOT / "data/systemd").iterdir()} - {"periodic-due", "firewall-at-boot"}
    assert {path.name for path in units.iterdir()} == ours | {"walinuxagent.service"}
    assert os.readlink(units / "walinuxagent.service") == "waagent.service"
    assert os.access(installed / "usr/lib/waagent/periodic-due", os.X_OK)


def test_the_whole_library_arrives(installed: Path) -> None:
    there = {str(path.relative_to(library(installed))) for path in library(installed).rglob("*.py")}
    assert there == {str(path.relative_to(ROOT / "waagent")) for path in (ROOT / "waagent").rglob("*.py")}


def test_directories_of_the_administrator_are_there_and_closed_to_others(installed: Path) -> None:
    for stage in ("local", "network", "config", "final", "periodic"):
        directory = installed / "etc/waagent/hooks.d" / stage
        assert directory.is_dir()
        assert not directory.stat().st_mode & 0o022
    assert (installed / "etc/waagent.conf.d").is_dir()


@pytest.mark.parametrize("program", ["waagent", "waagent-simulator"])
def test_program_ignores_the_python_settings_of_its_caller(installed: Path, program: str) -> None:
    path = installed / "usr/sbin" / program
    assert path.read_text(encoding="ascii").splitlines()[0] == "#!/usr/bin/python3 -I"
    assert path.stat().st_mode & 0o777 == 0o755
    code = f"import sys; sys.path.insert(0, {str(library(installed).parent)!r}); sys.argv = ['x', '--help']\n"
    ran = subprocess.run(
        [SYSTEM, "-I", "-c", code + path.read_text(encoding="ascii")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ran.returncode == 0, ran.stdout


def test_changed_configuration_is_kept_and_the_new_one_laid_beside_it(source: Path, tmp_path: Path) -> None:
    conf = tmp_path / "etc" / "waagent.conf"
    conf.parent.mkdir()
    conf.write_text("Logs.Verbose=y\n", encoding="ascii")
    run(SYSTEM, "setup.py", "-q", "install", "--force", f"--root={tmp_path}", "--prefix=/usr", cwd=source)
    assert conf.read_text(encoding="ascii") == "Logs.Verbose=y\n"
    assert (tmp_path / "etc/waagent.conf.new").read_bytes() == (ROOT / "waagent.conf").read_bytes()


def test_register_service_enables_the_target_in_the_tree(source: Path, tmp_path: Path) -> None:
    if shutil.which("systemctl") is None:
        pytest.skip("no systemctl on this machine")
    run(SYSTEM, "setup.py", "-q", "install", f"--root={tmp_path}", "--prefix=/usr", "--register-service", cwd=source)
    link = tmp_path / "etc/systemd/system/multi-user.target.wants/waagent.target"
    assert os.readlink(link).endswith("/usr/lib/systemd/system/waagent.target")


def test_library_alone_can_be_installed(source: Path, tmp_path: Path) -> None:
    run(SYSTEM, "setup.py", "-q", "install", f"--root={tmp_path}", "--prefix=/usr", "--skip-data-files", cwd=source)
    assert library(tmp_path).is_dir()
    assert not (tmp_path / "etc").exists()


def test_wheel_holds_the_library_and_nothing_outside_a_prefix(source: Path, tmp_path: Path) -> None:
    if subprocess.run([SYSTEM, "-c", "import wheel"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no wheel package for this Python")
    run(SYSTEM, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(tmp_path), cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"waagent", "waagent-3.0.0.dist-info"}


def test_file_that_is_missing_is_named(source: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(source, broken, symlinks=True)
    shutil.rmtree(broken / "stages")
    ran = subprocess.run(
        [SYSTEM, "setup.py", "-q", "install", f"--root={tmp_path}/root", "--prefix=/usr"],
        cwd=broken, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert ran.returncode != 0
    assert "stages/*.yaml into /usr/lib/waagent/stages: no such file" in ran.stdout


LOADS = """
import sys, types
path, sys.argv = sys.argv[1], ["handler", "-version"]
module = types.ModuleType("agent")
try:
    exec(compile(open(path).read(), path, "exec"), module.__dict__)
except ImportError as error:
    print("no library:", error)
"""


def test_a_handler_that_loads_the_program_gets_an_error_and_runs_nothing(installed: Path) -> None:
    """As imp.load_source() did; the words on the handler's command line are not the agent's."""
    said = run(SYSTEM, "-c", LOADS, str(installed / "usr/sbin/waagent"), cwd=library(installed).parent)
    assert said.startswith("no library: /usr/sbin/waagent is a program")
    assert "WALinuxAgent" not in said
