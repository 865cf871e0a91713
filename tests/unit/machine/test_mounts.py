"""What is mounted where, as the kernel lists it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waagent.machine import fstab, mounts
from waagent.machine.mounts import Mount
from waagent.system import System

ROOT = "/dev/sda1 / ext4 rw,relatime 0 0\n"


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_directory_of_a_user_is_no_further_line(system: System, put, end: str) -> None:
    blank = "\u2003"
    forged = f"/home/eve/x{end}/dev/sdb1{blank}/home/eve/mnt{blank}ext4{blank}rw{blank}0{blank}0"
    put("/proc/self/mounts", f"{ROOT}drive {forged} fuse rw,user_id=1000 0 0\n")
    assert mounts.of(system, "/dev/sdb1") is None
    assert mounts.mounts(system)[1] == Mount("drive", forged, "fuse", ("rw", "user_id=1000"))


@pytest.mark.parametrize("kind", ["fuse", "fuse.sshfs"])
def test_what_a_user_calls_the_device_is_not_the_device(system: System, put, kind: str) -> None:
    """fusermount -o fsname=/dev/sdb1"""
    line = f"/dev/sdb1 /home/eve/mnt {kind} rw,nosuid,nodev,user_id=1000 0 0\n"
    put("/proc/self/mounts", ROOT + line)
    assert mounts.of(system, "/dev/sdb1") is None
    put("/proc/self/mounts", f"{ROOT}{line}/dev/sdb1 /mnt fuseblk rw 0 0\n")
    found = mounts.of(system, "/dev/sdb1")
    assert found is not None and found.directory == "/mnt"


def test_names_with_spaces_are_whole(system: System, put) -> None:
    put("/proc/self/mounts", f"{ROOT}/dev/sdb1 /mnt/my\\040data\u00a0here ext4 rw 0 0\n")
    assert mounts.mounts(system)[1].directory == "/mnt/my data\u00a0here"


def test_a_device_is_known_by_all_its_names_on_the_running_system(tmp_path: Path, monkeypatch) -> None:
    """As /dev/mapper/x is a link to /dev/dm-0. In a fake root the links are gone before names are compared."""
    listed, table = tmp_path / "mounts", tmp_path / "fstab"
    listed.write_text("/dev/fd /mnt/resource ext4 rw 0 0\n")
    table.write_text("/dev/fd /mnt/resource ext4 comment=cloudconfig 0 0\n")
    monkeypatch.setattr(mounts, "LIST", str(listed))
    monkeypatch.setattr(fstab, "PATH", str(table))
    running, device = System("/"), os.path.realpath("/dev/fd")
    found, entry = mounts.of(running, device), fstab.entry_of(running, device)
    assert found is not None and found.directory == "/mnt/resource"
    assert entry is not None and entry.is_cloud_inits
