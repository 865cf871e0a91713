"""The smallest volume that is NTFS for who reads its root directory: boot sector and record 5, whose index is in it.

volume(names, large, leads)   the bytes; real ones are made by mkntfs where the test has it. large: the index says
                              that it has blocks; leads: its last entry leads to one. There are none
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

TABLE, RECORD, ROOT = 4 * 512, 1024, 5
PLATFORM = ("DATALOSS_WARNING_README.txt", "System Volume Information")


def volume(names: Iterable[str] = PLATFORM, *, large: bool = False, leads: bool = False) -> bytes:
    boot = bytearray(512)
    boot[:11] = b"\xeb\x52\x90NTFS    "
    struct.pack_into("<HB", boot, 11, 512, 1)
    struct.pack_into("<QQb", boot, 48, TABLE // 512, TABLE // 512, -10)
    boot[510:] = b"\x55\xaa"
    return bytes(boot) + bytes(TABLE + ROOT * RECORD - 512) + _root(names, large, leads) + bytes(4096)


def _root(names: Iterable[str], large: bool, leads: bool) -> bytes:
    entries = b"".join(_entry(number, name) for number, name in enumerate([".", *names], ROOT))
    entries += _entry(0, "", 2, bytes(8) if leads else b"")
    header = struct.pack("<IIII", 16, 16 + len(entries), 16 + len(entries), large)
    value = struct.pack("<IIIB3x", 0x30, 1, 4096, 1) + header + entries
    length = -(-(32 + len(value)) // 8) * 8
    name = "$I30".encode("utf-16-le")
    attribute = struct.pack("<IIBBHHHIHH", 0x90, length, 0, 4, 24, 0, 0, len(value), 32, 0) + name + value
    record = bytearray(RECORD)
    record[:8] = struct.pack("<4sHH", b"FILE", 48, 3)
    struct.pack_into("<HHII", record, 20, 56, 3, 56 + length + 8, RECORD)
    record[56 : 56 + length + 4] = attribute.ljust(length, b"\0") + struct.pack("<I", 0xFFFFFFFF)
    record[48:50] = b"\x01\x00"
    for sector in (1, 2):
        record[48 + 2 * sector : 50 + 2 * sector] = record[512 * sector - 2 : 512 * sector]
        record[512 * sector - 2 : 512 * sector] = b"\x01\x00"
    return bytes(record)


def _entry(number: int, name: str, flags: int = 0, block: bytes = b"") -> bytes:
    key = b"" if flags & 2 else bytes(64) + struct.pack("<BB", len(name), 1) + name.encode("utf-16-le")
    length = -(-(16 + len(key)) // 8) * 8 + len(block)
    record = number if number == ROOT else number + 30
    return (struct.pack("<QHHHH", record, length, len(key), flags | bool(block), 0) + key).ljust(length - len(block), b"\0") + block
