"""For tests about the resource disk: a generation-2 disk as programs and the kernel show it, and what was run.

    the fixture disk(partition, table, content)   /dev/sdb with one partition (conftest.py)
    did(script, *argv)                            whether just this was run
"""

from __future__ import annotations

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
