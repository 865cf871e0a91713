"""Patterns stay inside, links are removed and not followed, what is mounted is not touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from waagent.machine import boot_loader, cleaning
from waagent.system import System

Put = Callable[..., Path]


def test_patterns_in_any_part_and_hidden_names_only_when_said(system: System, put: Put) -> None:
    for path in ("/a/one/x.lease", "/a/two/x.lease", "/a/two/y", "/a/.hid/x.lease", "/a/two/.x.lease"):
        put(path)
    assert cleaning.found(system, ["/a/*/*.lease"]) == ["/a/one/x.lease", "/a/two/x.lease"]
    assert cleaning.found(system, ["/a/two/.*"]) == ["/a/two/.x.lease"]
    assert cleaning.found(system, ["/a/none/*", "/nothing"]) == []


def test_a_link_goes_what_it_names_stays(system: System, put: Put, tmp_path: Path) -> None:
    target = put("/keep/me")
    (tmp_path / "root/link").symlink_to("/keep/me")
    (tmp_path / "root/dangling").symlink_to("/nowhere")
    assert cleaning.remove(system, ["/link", "/dangling"]) == ["/dangling", "/link"]
    assert target.exists()


def test_directories_stay_with_remove(system: System, put: Put) -> None:
    put("/d/x/y")
    assert cleaning.remove(system, ["/d/*"]) == []


def test_empty_follows_no_link(system: System, put: Put, tmp_path: Path) -> None:
    kept = put("/keep/me")
    put("/d/sub/deep/x")
    (tmp_path / "root/d/link").symlink_to("/keep")
    assert cleaning.empty(system, "/d") == ["/d/link", "/d/sub"]
    assert kept.exists()
    assert list((tmp_path / "root/d").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    "mount", ['mount --bind "$1" "$2"', 'mount -t tmpfs none "$2"; mount -t tmpfs none /proc'],
    ids=["a bind mount", "no list of mounts, as on BSD"],
)  # fmt: skip
def test_what_is_mounted_below_stays_and_is_named(system: System, put: Put, tmp_path: Path, mount: str) -> None:
    precious, hidden, other = put("/precious/thesis"), put("/d/sub/mnt/x"), put("/d/x")
    (tmp_path / "root/d/link").symlink_to("/d/sub")
    program = (
        "import sys; from waagent.machine import cleaning; from waagent.system import System\n"
        "cleaning.empty(System(sys.argv[1], journalling=False), '/d')"
    )
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", f'{mount}; shift 2; exec "$@"', "sh", precious.parent, hidden.parent,
         sys.executable, "-c", program, system.root],
        cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"cannot empty /d: {hidden.parent} is mounted there; unmount it" in ran.stderr
    assert precious.exists() and hidden.exists()
    assert not other.exists() and not (tmp_path / "root/d/link").is_symlink()


def test_clear_keeps_mode_and_leaves_links_alone(system: System, put: Put, tmp_path: Path) -> None:
    log = put("/log", "x", 0o640)
    (tmp_path / "root/link").symlink_to("/log")
    assert not cleaning.clear(system, "/link")
    assert cleaning.clear(system, "/log")
    assert (log.read_bytes(), log.stat().st_mode & 0o777) == (b"", 0o640)
    assert not cleaning.clear(system, "/log")


OPTIONS = ("console=ttyS0", "earlyprintk=ttyS0")


@pytest.mark.parametrize(
    ("text", "key", "name", "after"),
    [
        ('GRUB_CMDLINE_LINUX="quiet"\n', "GRUB_CMDLINE_LINUX", "grub",
         'GRUB_CMDLINE_LINUX="quiet console=ttyS0 earlyprintk=ttyS0"\n'),
        ("GRUB_CMDLINE_LINUX=\"\"\n", "GRUB_CMDLINE_LINUX", "grub",
         'GRUB_CMDLINE_LINUX="console=ttyS0 earlyprintk=ttyS0"\n'),
        ("A=b\n", "GRUB_CMDLINE_LINUX", "grub", 'A=b\nGRUB_CMDLINE_LINUX="console=ttyS0 earlyprintk=ttyS0"\n'),
        ("GRUB_CMDLINE_LINUX='console=ttyS0 earlyprintk=ttyS0'\n", "GRUB_CMDLINE_LINUX", "grub", None),
        ('GRUB_CMDLINE_LINUX_DEFAULT="x"\nGRUB_CMDLINE_LINUX="y"\n', "GRUB_CMDLINE_LINUX", "grub",
         'GRUB_CMDLINE_LINUX_DEFAULT="x"\nGRUB_CMDLINE_LINUX="y console=ttyS0 earlyprintk=ttyS0"\n'),
        ("title x\n\tkernel /vmlinuz ro\n\tinitrd /i\nkernel /b console=ttyS0\n", "kernel", "menu.lst",
         "title x\n\tkernel /vmlinuz ro console=ttyS0 earlyprintk=ttyS0\n\tinitrd /i\n"
         "kernel /b console=ttyS0 earlyprintk=ttyS0\n"),
        ("quiet rw\n", "*", "cmdline", "quiet rw console=ttyS0 earlyprintk=ttyS0\n"),
        ("a=b\n", "*", "loader.conf", "a=b\nconsole=ttyS0\nearlyprintk=ttyS0\n"),
        ("console=ttyS0\nearlyprintk=ttyS0\n", "*", "loader.conf", None),
    ],
)  # fmt: skip
def test_console_options_are_added_once(text: str, key: str, name: str, after: str | None) -> None:
    done = boot_loader.edited(text, key, OPTIONS, name)
    assert done == (after or text)
    assert boot_loader.edited(done, key, OPTIONS, name) == done
