"""Whether a device has nothing on it.

is_blank(system, device)   zero in its first 16 MiB, its last MiB, and 1 MiB at each of 130 places between them

To read all of a disk takes minutes. A file system whose beginning was overwritten by mistake can often be had back
by what lies behind it: its tables, and copies of its superblock. These lie at round fractions of the device (xfs),
at 64 MiB (btrfs), at multiples of 128 MiB (ext4), in the last MiB (NTFS, GPT, RAID, ZFS). So this is where it is
looked. A device up to some 130 MiB is read as a whole.

Source: the layouts as in mkfs of each, and the kernel's fs/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from waagent.system import System

MIB = 1024 * 1024
HEAD = 16 * MIB
COPIES = (64 * MIB, 128 * MIB)
FRACTIONS = 128


def is_blank(system: System, device: str) -> bool:
    """A device that cannot be read is not blank."""
    try:
        with open(system.path(device), "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            return all(_is_zero(stream, start, length) for start, length in _places(size) if start <= size)
    except OSError:
        return False


def _places(size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) in bytes, the likely ones first."""
    yield 0, MIB
    yield max(0, size - MIB), MIB
    yield MIB, HEAD - MIB
    for place in (*COPIES, *(size * number // FRACTIONS for number in range(1, FRACTIONS))):
        yield max(0, place - MIB // 2), MIB  # file systems round a fraction down or up


def _is_zero(stream: BinaryIO, start: int, length: int) -> bool:
    stream.seek(start)
    for _ in range(0, length, MIB):
        content = stream.read(MIB)
        if content != bytes(len(content)):
            return False
    return True
