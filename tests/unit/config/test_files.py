"""Which files count: the main file, drop-ins of packages and administrators, links below a root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waagent.config import load

VENDOR, ADMIN = "usr/lib/waagent/conf.d", "etc/waagent.conf.d"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in (VENDOR, ADMIN):
        (tmp_path / folder).mkdir(parents=True)
    put(tmp_path, "etc/waagent.conf", "OS.HomeDir=/main\nOS.SshDir=/main\n")
    return tmp_path


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def home(root: Path) -> tuple[str | None, str]:
    config = load(str(root))
    return config.text("OS.HomeDir"), config.source("OS.HomeDir")


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    config = load(str(tmp_path))
    assert config.text("OS.HomeDir") == "/home"
    assert config.files == ()
    told = "/etc/waagent.conf: cannot read it: No such file or directory; continuing without it"
    assert [str(problem) for problem in config.problems] == [told]


def test_the_main_file_counts(root: Path) -> None:
    assert home(root) == ("/main", "/etc/waagent.conf:1")


def test_a_profile_says_where_the_main_file_is(root: Path) -> None:
    (root / "usr/share/oem").mkdir(parents=True)
    put(root, "usr/share/oem/waagent.conf", "OS.HomeDir=/oem")
    config = load(str(root), "/usr/share/oem/waagent.conf")
    assert config.text("OS.HomeDir") == "/oem"
    assert config.text("OS.SshDir") == "/etc/ssh"


def test_a_later_file_wins_option_by_option(root: Path) -> None:
    put(root, f"{VENDOR}/10-hpc.conf", "OS.HomeDir=/vendor")
    assert home(root) == ("/vendor", "/usr/lib/waagent/conf.d/10-hpc.conf:1")
    put(root, f"{ADMIN}/05-site.conf", "OS.HomeDir=/early")
    assert home(root)[0] == "/vendor"
    put(root, f"{ADMIN}/20-site-two.conf", "OS.HomeDir=/late")
    config = load(str(root))
    assert config.text("OS.HomeDir") == "/late"
    assert config.text("OS.SshDir") == "/main"
    assert config.files == (
        "/etc/waagent.conf",
        "/etc/waagent.conf.d/05-site.conf",
        "/usr/lib/waagent/conf.d/10-hpc.conf",
        "/etc/waagent.conf.d/20-site-two.conf",
    )


def test_the_same_name_in_the_higher_directory_replaces(root: Path) -> None:
    put(root, f"{VENDOR}/10-hpc.conf", "OS.HomeDir=/vendor\nOS.SshDir=/vendor")
    put(root, f"{ADMIN}/60-hpc.conf", "OS.HomeDir=/admin")
    config = load(str(root))
    assert (config.text("OS.HomeDir"), config.text("OS.SshDir")) == ("/admin", "/main")


@pytest.mark.parametrize("mask", ["empty", "/dev/null", "../../dev/null"])
def test_an_empty_file_or_a_link_to_null_masks(root: Path, mask: str) -> None:
    put(root, f"{VENDOR}/10-hpc.conf", "OS.HomeDir=/vendor")
    if mask == "empty":
        put(root, f"{ADMIN}/10-hpc.conf", "")
    else:
        (root / ADMIN / "10-hpc.conf").symlink_to(mask)
    assert home(root)[0] == "/main"
    assert load(str(root)).problems == ()


def test_none_in_a_drop_in_brings_the_default_back(root: Path) -> None:
    put(root, f"{ADMIN}/50-local.conf", "OS.HomeDir=None")
    assert home(root) == ("/home", "default")


def test_a_file_without_a_number_comes_last(root: Path) -> None:
    put(root, f"{ADMIN}/99-a.conf", "OS.HomeDir=/numbered")
    put(root, f"{ADMIN}/local.conf", "OS.HomeDir=/local")
    assert home(root)[0] == "/local"


def test_two_files_of_one_name_in_a_directory_are_not_read(root: Path) -> None:
    put(root, f"{VENDOR}/30-x.conf", "OS.HomeDir=/vendor")
    put(root, f"{ADMIN}/10-x.conf", "OS.HomeDir=/a")
    put(root, f"{ADMIN}/20-x.conf", "OS.HomeDir=/b")
    config = load(str(root))
    assert config.text("OS.HomeDir") == "/vendor"
    told = "/etc/waagent.conf.d: 10-x.conf and 20-x.conf have one name, x; none of them is read"
    assert [str(problem) for problem in config.problems] == [told]


def test_left_overs_are_passed_over_and_other_endings_noted(root: Path) -> None:
    for name in (".50-x.conf", "50-x.conf~", "50-x.conf.dpkg-old", "50-x.conf.rpmsave", "50-x.txt"):
        put(root, f"{ADMIN}/{name}", "OS.HomeDir=/wrong")
    config = load(str(root))
    assert config.text("OS.HomeDir") == "/main"
    assert [problem.file for problem in config.problems] == ["/etc/waagent.conf.d/50-x.txt"]


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_drop_in_that_others_may_write_is_not_read(root: Path, mode: int) -> None:
    put(root, f"{ADMIN}/50-x.conf", "OS.HomeDir=/wrong")
    (root / ADMIN / "50-x.conf").chmod(mode)
    config = load(str(root))
    assert config.text("OS.HomeDir") == "/main"
    assert "chmod go-w" in config.problems[0].message


def test_a_directory_or_a_dangling_link_is_a_problem(root: Path) -> None:
    (root / ADMIN / "50-x.conf").mkdir()
    (root / ADMIN / "60-y.conf").symlink_to("nowhere")
    (root / ADMIN / "70-z.conf").symlink_to("70-z.conf")
    config = load(str(root))
    assert [problem.severity for problem in config.problems] == ["warning"] * 3
    assert config.text("OS.HomeDir") == "/main"


def test_absolute_links_stay_below_the_root(root: Path) -> None:
    (root / "etc/waagent.conf").rename(root / "etc/waagent.conf.server")
    (root / "etc/waagent.conf").symlink_to("/etc/waagent.conf.server")
    assert home(root)[0] == "/main"


def test_a_profile_s_defaults_count_below_every_file(root: Path) -> None:
    supplied = {"OS.HomeDir": "/profile", "ResourceDisk.MountPoint": "/mnt", "Logs.Verbose": "maybe"}
    config = load(str(root), None, supplied, "distro profile ubuntu")
    assert config.text("OS.HomeDir") == "/main"
    assert config.text("ResourceDisk.MountPoint") == "/mnt"
    assert config.source("ResourceDisk.MountPoint") == "distro profile ubuntu"
    assert not config.was_set("ResourceDisk.MountPoint")
    assert [str(problem) for problem in config.problems] == [
        "distro profile ubuntu: Logs.Verbose=maybe: expected y or n"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_problem(root: Path) -> None:
    (root / "etc/waagent.conf").chmod(0)
    assert "Permission denied" in load(str(root)).problems[0].message


HEAVY = {"configobj", "dataclasses", "pathlib", "subprocess", "logging", "email", "argparse", "typing", "yaml"}


def test_a_lean_process_imports_nothing_heavy() -> None:
    source = Path(__file__).resolve().parents[3]
    empty = '{"format":1,"values":{},"sources":{},"set":[],"problems":[],"files":[]}'
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n"
        "from waagent.config import from_json, rdma_enabled, settings\n"
        f"from_json({empty!r})\n"
        "print(*sorted(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(told.stdout.split())
