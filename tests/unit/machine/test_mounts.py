"""What is mounted where, as the kernel lists it."""

from __future__ import annotations

import pytest

from waagent.machine import mounts
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


def test_names_with_spaces_are_whole(system: System, put) -> None:
    put("/proc/self/mounts", f"{ROOT}/dev/sdb1 /mnt/my\\040data\u00a0here ext4 rw 0 0\n")
    assert mounts.mounts(system)[1].directory == "/mnt/my data\u00a0here"
