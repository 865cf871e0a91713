"""What a file system says of its use, read from the device.

never_mounted(system, device, filesystem)   whether it is certain that nothing can have been put into it

mkfs that is cut off may leave what blkid takes for a whole file system. That such a one cannot be mounted says
nothing: one that was finished and used, and needs fsck, cannot be mounted either. So it tells itself:

    ext2, ext3, ext4   every mount for writing is counted and dated at once, and fsck dates itself. One that has
                       neither count nor dates holds nothing of anybody's, whether it is whole or not
    xfs                mkfs marks it as in progress until it has ended, and nobody can mount it so

Others do not tell: btrfs gets its name last of all, by which time it is whole.

Source: the kernel's fs/ext4/ext4.h, fs/xfs/libxfs/xfs_format.h.
"""

from __future__ import annotations

import struct

from waagent.system import System

EXT_PLACE, EXT_MAGIC = 1024, 0xEF53
SIZE = 1024


def never_mounted(system: System, device: str, filesystem: str) -> bool:
    """False where it cannot be read."""
    try:
        with open(system.path(device), "rb") as stream:
            content = stream.read(EXT_PLACE + SIZE)
    except OSError:
        return False
    if len(content) < EXT_PLACE + SIZE:
        return False
    if filesystem in ("ext2", "ext3", "ext4"):
        return _ext_never_mounted(content[EXT_PLACE:])
    if filesystem == "xfs":
        return content[:4] == b"XFSB" and content[126] != 0
    return False


def _ext_never_mounted(block: bytes) -> bool:
    mounted, _, times, _, magic = struct.unpack_from("<IIHHH", block, 0x2C)
    checked, made = struct.unpack_from("<I", block, 0x40)[0], struct.unpack_from("<I", block, 0x108)[0]
    where = block[0x88:0xC8].strip(b"\0")
    return magic == EXT_MAGIC and not mounted and not times and not where and checked == made != 0
