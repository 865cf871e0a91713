"""Whether a device has nothing on it: where it is looked, and what real file systems leave there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.machine.conftest import REAL_PATH, real
from waagent.machine.blank import HEAD, MIB, is_blank
from waagent.system import System

GIB = 1024 * MIB


def device(system: System, size: int, *marks: int) -> str:
    with open(system.path("/dev/sdb"), "wb") as stream:
        stream.truncate(size)
        for place in marks:
            stream.seek(place)
            stream.write(b"x")
    return "/dev/sdb"


@pytest.mark.parametrize("size", [0, 8192, 4 * MIB, GIB + 512, 2048 * GIB])
def test_what_is_zero_is_blank(system: System, size: int) -> None:
    assert is_blank(system, device(system, size))


@pytest.mark.parametrize(
    ("size", "mark"),
    [
        (8192, 0), (8192, 8191), (2 * GIB, 0), (2 * GIB, MIB), (2 * GIB, HEAD - 1), (2 * GIB, 2 * GIB - 1), (100 * MIB, 77 * MIB),
        (700 * GIB, 64 * MIB + 64), (700 * GIB, 128 * MIB), (700 * GIB, 175 * GIB), (700 * GIB, 175 * GIB - 4096), (700 * GIB, 350 * GIB),
    ],
)  # fmt: skip
def test_what_has_something_where_file_systems_have_is_not(system: System, size: int, mark: int) -> None:
    assert not is_blank(system, device(system, size, mark))


def test_what_cannot_be_read_is_not(system: System) -> None:
    assert not is_blank(system, "/dev/sdb")


@pytest.mark.parametrize("zeroed", [1, 8])
@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs", "ntfs"])
def test_a_file_system_whose_beginning_was_zeroed_is_not(system: System, filesystem: str, zeroed: int) -> None:
    real(f"mkfs.{filesystem}")
    path = Path(system.path(device(system, 400 * MIB)))
    quick = {"ext4": ["-q", "-F"], "xfs": ["-q"], "btrfs": ["-q"], "ntfs": ["-Q", "-F"]}[filesystem]
    subprocess.run([f"mkfs.{filesystem}", *quick, path], check=True, capture_output=True, env={"PATH": REAL_PATH})
    with open(path, "r+b") as stream:
        stream.write(bytes(zeroed * MIB))
    assert not is_blank(system, "/dev/sdb")
