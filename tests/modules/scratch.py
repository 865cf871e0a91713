"""For tests about the resource disk: a generation-2 disk as programs and the kernel show it, and what was run.

    the fixture disk(partition, table, content)   /dev/sdb with one partition (conftest.py)
    did(script, *argv)                            whether just this was run
    ext4(mounted, checked)                        the beginning of a file system that was mounted or checked so often
"""

from __future__ import annotations

import struct

POINT = "/mnt/resource"
RECORD = "/var/lib/waagent/resource-disk.json"
BOOT, NEW_ID = "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/random/uuid"
MKFS = ("mkfs.ext4", "-F", "/dev/sdb1")
MOUNT = ("mount", "-t", "ext4", "/dev/sdb1", POINT)
RETYPE = ("sfdisk", "--part-type", "/dev/sdb", "1", "83")
TABLE = ("sfdisk", "--wipe", "always", "--wipe-partitions", "always", "/dev/sdb")
NTFS = "TYPE=ntfs\nUUID=1A51E5D3\nPART_ENTRY_TYPE=0x7\nPART_ENTRY_UUID=12-01\n"
UNKNOWN = "PART_ENTRY_UUID=12-01\n"
EXT4 = "TYPE=ext4\nPART_ENTRY_TYPE=0x83\nPART_ENTRY_UUID=12-01\n"


def did(script, *argv: str) -> bool:
    return argv in script.ran


def ext4(mounted: int = 0, checked: int = 0) -> bytes:
    made = 1_800_000_000
    block = bytearray(1024)
    struct.pack_into("<IIHHH", block, 0x2C, made + 60 if mounted else 0, made, mounted, 0xFFFF, 0xEF53)
    struct.pack_into("<I", block, 0x40, made + checked)
    struct.pack_into("<I", block, 0x108, made)
    return bytes(1024) + bytes(block)
