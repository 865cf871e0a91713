"""Patterns stay inside, links are removed and not followed, what is mounted is not touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from waagent.errors import SystemRefused
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


def test_what_is_mounted_below_stays_and_is_named(
    system: System, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, other = put("/d/sub/mnt/data"), put("/d/x")
    mounted = str(tmp_path / "root/d/sub/mnt")
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == mounted)
    with pytest.raises(SystemRefused, match="/d/sub/mnt is mounted there"):
        cleaning.empty(system, "/d")
    assert data.exists()
    assert not other.exists()


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
