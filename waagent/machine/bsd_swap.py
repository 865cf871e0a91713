"""Swap space on BSD.

FreeBSD   a file, seen as a disk by md(4), encrypted by geli(8) where asked: ensure_file(system, path, size)
OpenBSD   a partition of the resource disk, always encrypted by the kernel: ensure_partition(system, device)

Both return whether anything changed; DiskError.

Source: provisioning 6.5.
"""

from __future__ import annotations

import re

from waagent.errors import CommandFailed, DiskError
from waagent.machine import mounts
from waagent.machine.swap import MIB, SHARE, is_whole
from waagent.system import System

ENCRYPTION = ("aesni", "cryptodev", "geom_eli")


def active(system: System) -> list[str]:
    """The devices that swapctl lists; its first line is a heading."""
    lines = system.run("swapctl", "-l", reads=True, ok=None).stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("/")]


def ensure_file(system: System, path: str, size: int, *, encrypted: bool = False) -> bool:
    """Have a file of `size` bytes in use. Raises DiskError."""
    if size <= 0:
        raise DiskError("cannot make a swap file: ResourceDisk.SwapSizeMB is 0; set the size, or EnableSwap=n")
    unit, kept = _unit(system, path), is_whole(system, path, size)
    if unit is not None:
        area = f"/dev/{unit}.eli" if encrypted else f"/dev/{unit}"
        if kept and area in active(system):
            return system.set_mode(path, 0o600)
        _release(system, unit)
    try:
        if not kept:
            _make(system, path, size)
        unit = system.run("mdconfig", "-a", "-t", "vnode", "-f", path).stdout.strip() or "md0"
        system.run("chmod", "0600", f"/dev/{unit}")
        area = f"/dev/{unit}"
        if encrypted:
            for module in ENCRYPTION:
                system.run("kldload", "-n", module, ok=None)  # what is built in cannot be loaded
            system.run("geli", "onetime", "-e", "AES-XTS", "-l", "256", "-d", area)
            area += ".eli"
            system.run("chmod", "0600", area)
        system.run("swapon", area)
    except CommandFailed as error:
        raise DiskError(f"cannot use the swap file {path}: {error}") from error
    return True


def ensure_partition(system: System, device: str) -> bool:
    if device in active(system):
        return False
    try:
        system.run("swapctl", "-a", device)
    except CommandFailed as error:
        raise DiskError(f"cannot use {device} as swap space: {error}") from error
    return True


def _make(system: System, path: str, size: int) -> None:
    directory = path.rpartition("/")[0]
    free = 0 if system.planning else mounts.free(system, directory)
    if not system.planning and size > free * SHARE:
        raise DiskError(
            f"cannot make the swap file {path}: it would take {size // MIB} MiB and {free // MIB} MiB are free on "
            f"{directory}; set a smaller ResourceDisk.SwapSizeMB"
        )
    system.remove(path)
    system.write(path, b"", mode=0o600)
    try:
        system.run("dd", "if=/dev/zero", f"of={path}", "bs=1m", f"count={size // MIB}", limit=3600)
    except CommandFailed:
        system.remove(path)
        raise


def _release(system: System, unit: str) -> None:
    for area in (f"/dev/{unit}.eli", f"/dev/{unit}"):
        if area in active(system):
            system.run("swapoff", area, ok=None, limit=600)
    system.run("mdconfig", "-d", "-u", unit, ok=None)


def _unit(system: System, path: str) -> str | None:
    """The memory disk over the file: a line `md0  vnode  16G  /mnt/resource/swapfile`."""
    told = system.run("mdconfig", "-l", "-v", reads=True, ok=None).stdout
    found = re.search(rf"^(md\d+)\s+vnode\s+\S+\s+{re.escape(path)}(?:\s|$)", told, re.MULTILINE)
    return found.group(1) if found is not None else None
