"""A swap file: of exactly the size asked for, only root's, active.

ensure(system, path, size)   changed, or unchanged; DiskError
drop(system, path)           it is not used any more and gone; false if there was none
active(system)               paths of the swap areas in use
in_use(system, path)         whether the file is one of them, directly or through its encrypted mapping
is_whole(system, path, size) whether it is a file that need not be made anew

An active file of the right size is kept, and its mode put right. One of another size, with holes (it was copied)
or of somebody else's is switched off and made anew. Nothing is begun that would fill the disk: it may take no more
than `share` of what is free.

How the file is made depends on the file system below it: ext4 and xfs by writing zeros, because swapon refuses
holes and what fallocate leaves on xfs; btrfs without copy-on-write, then allocated; others allocated, or else
written. A file that was cut off while it was made has the wrong size, or no swap signature: both show, and it is
made again.

With encryption the area in use is a mapping of dm-crypt (plain mode) over the file, with a key from the kernel that
is kept nowhere: after a restart the file is noise, and gets another key.

Source: provisioning 6.5; swapon(8), cryptsetup-open(8).
"""

from __future__ import annotations

import os
import posixpath
import stat

from waagent.errors import CommandFailed, DiskError
from waagent.machine import mounts, selinux
from waagent.system import System
from waagent.system.files import unescaped

SWAPS = "/proc/swaps"
MIB = 1024 * 1024
SHARE = 0.9
WRITTEN = ("ext4", "xfs")
NEVER = (
    "tmpfs", "ramfs", "ntfs", "ntfs3", "vfat", "msdos", "exfat", "nfs", "nfs4", "cifs", "9p", "virtiofs", "overlay",
    "fuseblk", "zfs", "bcachefs", "squashfs",
)  # fmt: skip
MAPPING = "waagent-swap"
MAPPED = f"/dev/mapper/{MAPPING}"
ENCRYPT = (
    "cryptsetup", "open", "--type", "plain", "--cipher", "aes-xts-plain64", "--key-size", "512",
    "--key-file", "/dev/urandom", "--batch-mode",
)  # fmt: skip


def active(system: System) -> list[str]:
    try:
        lines = system.read_text(SWAPS).splitlines()[1:]
    except OSError:
        return []
    return [unescaped(line.split()[0]) for line in lines if line.split()]


def in_use(system: System, path: str) -> bool:
    return _is_active(system, path) or _is_active(system, MAPPED)


def can_encrypt(system: System) -> bool:
    return system.which("cryptsetup") is not None


def ensure(system: System, path: str, size: int, *, encrypted: bool = False, share: float = SHARE) -> bool:
    """Have a swap file of `size` bytes in use; false if it was. Raises DiskError."""
    if size <= 0:
        raise DiskError("cannot make a swap file: ResourceDisk.SwapSizeMB is 0; set the size, or EnableSwap=n")
    kept = is_whole(system, path, size)
    if kept and _is_active(system, MAPPED if encrypted else path):
        return system.set_mode(path, 0o600)
    _release(system, path)
    if kept:
        system.set_mode(path, 0o600)
    else:
        system.remove(path)
        _make(system, path, size, share)
    _encrypt(system, path) if encrypted else _activate(system, path, new=not kept)
    return True


def drop(system: System, path: str) -> bool:
    if _status(system, path) is None:
        return False
    _release(system, path)
    return system.remove(path)


def _release(system: System, path: str) -> None:
    """Have neither the file nor the mapping over it in use. Raises DiskError when the system cannot do without."""
    for area in (MAPPED, path):
        if _is_active(system, area):
            try:
                system.run("swapoff", area, limit=600)
            except CommandFailed as error:
                raise DiskError(
                    f"cannot take the swap file {path} out of use: {error}; it stays as it is"
                ) from error
    if system.exists(MAPPED):
        system.run("cryptsetup", "close", MAPPING, ok=None)


def _is_active(system: System, area: str) -> bool:
    """The kernel names a mapping by its node, /dev/dm-0."""
    node = f"/dev/{posixpath.basename(str(system.path(area).resolve()))}"
    used = active(system)
    return area in used or (system.exists(area) and node in used)


def _make(system: System, path: str, size: int, share: float) -> None:
    """The file, full of zeros."""
    directory = posixpath.dirname(path)
    filesystem = _filesystem(system, directory)
    if filesystem in NEVER:
        raise DiskError(f"cannot make the swap file {path}: {filesystem} cannot hold one")
    free = 0 if system.planning else mounts.free(system, directory)
    if not system.planning and size > free * share:
        raise DiskError(
            f"cannot make the swap file {path}: it would take {size // MIB} MiB and {free // MIB} MiB are free on "
            f"{directory}, of which it may take {share:.0%}; set a smaller ResourceDisk.SwapSizeMB"
        )
    system.write(path, b"", mode=0o600)
    selinux.mark(system, "swapfile_t", path)
    try:
        _fill(system, path, size, filesystem)
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


def _activate(system: System, path: str, new: bool) -> None:
    """mkswap and swapon; a file of the right size without a signature was cut off before mkswap."""
    if not new and system.run("swapon", path, ok=None).status == 0:
        return
    try:
        system.run("mkswap", path, limit=120)
        system.run("swapon", path)
    except CommandFailed as error:
        raise DiskError(f"cannot use the swap file {path}: {error}{_hint(system, path)}") from error


def _encrypt(system: System, path: str) -> None:
    try:
        system.run(*ENCRYPT, path, MAPPING)
        system.run("mkswap", MAPPED, limit=120)
        system.run("swapon", MAPPED)
    except CommandFailed as error:
        if system.exists(MAPPED):
            system.run("cryptsetup", "close", MAPPING, ok=None)
        raise DiskError(f"cannot encrypt the swap file {path}: {error}; there is no swap space") from error


def _hint(system: System, path: str) -> str:
    filesystem = _filesystem(system, posixpath.dirname(path))
    return f"; the file is on {filesystem}, ext4 or xfs hold one" if filesystem not in WRITTEN else ""


def is_whole(system: System, path: str, size: int) -> bool:
    """A plain file of this size, without holes, that nobody else can read by another name or as its owner."""
    status = _status(system, path)
    if status is None or not stat.S_ISREG(status.st_mode) or status.st_blocks * 512 < size:
        return False
    return (status.st_size, status.st_uid, status.st_nlink) == (size, os.geteuid(), 1)


def _status(system: System, path: str) -> os.stat_result | None:
    try:
        return system.status(path)
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
