"""A swap file: of exactly the size asked for, only root's, active.

ensure(system, path, size)   changed, or unchanged; DiskError
active(system)               paths of the swap areas in use

An active file of the right size is kept, and its mode put right. One of another size is switched off and made
anew. Nothing is begun that would fill the disk: a tenth of what is free stays free.

How the file is made depends on the file system below it: ext4 and xfs by writing zeros, because swapon refuses
holes and what fallocate leaves on xfs; btrfs without copy-on-write, then allocated; others allocated, or else
written. A file that was cut off while it was made has the wrong size, or no swap signature: both show, and it is
made again.

Source: provisioning 6.5; swapon(8).
"""

from __future__ import annotations

import posixpath

from waagent.errors import CommandFailed, DiskError
from waagent.machine import mounts
from waagent.system import System

SWAPS = "/proc/swaps"
MIB = 1024 * 1024
WRITTEN = ("ext4", "xfs")
NEVER = ("tmpfs", "ramfs", "ntfs", "ntfs3", "vfat", "exfat", "nfs", "nfs4", "cifs", "overlay", "fuseblk")


def active(system: System) -> list[str]:
    try:
        lines = system.read_text(SWAPS).splitlines()[1:]
    except OSError:
        return []
    return [line.split()[0].replace("\\040", " ") for line in lines if line.split()]


def ensure(system: System, path: str, size: int) -> bool:
    """Have a swap file of `size` bytes in use; false if it was. Raises DiskError."""
    if size <= 0:
        raise DiskError("cannot make a swap file: ResourceDisk.SwapSizeMB is 0; set the size, or EnableSwap=n")
    now = _size(system, path)
    if now == size and path in active(system):
        return system.set_mode(path, 0o600)
    if now is not None and now != size:
        system.run("swapoff", path, ok=None)
        system.remove(path)
        now = None
    if now is None:
        _make(system, path, size)
    else:
        system.set_mode(path, 0o600)
    _activate(system, path)
    return True


def _make(system: System, path: str, size: int) -> None:
    directory = posixpath.dirname(path)
    filesystem = _filesystem(system, directory)
    if filesystem in NEVER:
        raise DiskError(f"cannot make the swap file {path}: {filesystem} cannot hold one")
    free = 0 if system.planning else mounts.free(system, directory)
    if not system.planning and size > free * 0.9:
        raise DiskError(
            f"cannot make the swap file {path}: it would take {size // MIB} MiB and {free // MIB} MiB are free on "
            f"{directory}; set a smaller ResourceDisk.SwapSizeMB"
        )
    system.write(path, b"", mode=0o600)
    try:
        _fill(system, path, size, filesystem)
        system.run("mkswap", path, limit=120)
    except CommandFailed as error:
        system.remove(path)
        raise DiskError(f"cannot make the swap file {path}: {error}; it is removed") from error


def _fill(system: System, path: str, size: int, filesystem: str) -> None:
    if filesystem == "btrfs":
        system.run("chattr", "+C", path)
    if filesystem not in WRITTEN and system.run("fallocate", "-l", str(size), path, ok=None, limit=600).status == 0:
        return
    blocks = size // MIB
    count = ("bs=1M", f"count={blocks}") if size % MIB == 0 else ("bs=512", f"count={size // 512}")
    system.run("dd", "if=/dev/zero", f"of={path}", *count, "conv=notrunc,fsync", limit=3600)


def _activate(system: System, path: str) -> None:
    """swapon; a file of the right size without a signature was cut off before mkswap."""
    if system.run("swapon", path, ok=None).status == 0:
        return
    try:
        system.run("mkswap", path, limit=120)
        system.run("swapon", path)
    except CommandFailed as error:
        raise DiskError(f"cannot use the swap file {path}: {error}") from error


def _size(system: System, path: str) -> int | None:
    try:
        return system.status(path).st_size
    except OSError:
        return None


def _filesystem(system: System, directory: str) -> str:
    """Type of the file system that the directory is on: the longest mount point above it."""
    best = ("", "")
    for mount in mounts.mounts(system):
        inside = directory == mount.directory or directory.startswith(mount.directory.rstrip("/") + "/")
        if inside and len(mount.directory) >= len(best[0]):
            best = (mount.directory, mount.filesystem)
    return best[1]
