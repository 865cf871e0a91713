"""The resource disk on BSD: which one it is, what is on it, where it is mounted.

freebsd_disk(system, named)                  its name, da1; None where the VM size has none; DiskError
openbsd_disk(system, named)                  its name, wd1, in the same way
freebsd_partition(system, disk)              da1s1 of an MBR, da1p2 of a GPT (p1 is reserved); DiskError
mounted_on(system, device)                   where, by what mount(8) prints; None
content_of(head)                             Content(kind, at): blank, platform, ufs or other, by the first bytes
                                             of a disk or partition; where its NTFS begins
freebsd_makeable(system, disk, part)         DiskError where nothing may be made
openbsd_makeable(system, disk)               the same
mount_or_make(…)                             mount it; what is blank or the platform's gets a file system first

There is no sysfs and no blkid here: the kernel is asked by sysctl(8), camcontrol(8) and geom(8), and what a disk
holds is read from the disk. A partition with nothing at all, or with the platform's NTFS that has no files of an
owner, may be formatted; anything else is left, also when it cannot be mounted. Nothing is made on a disk that is in
use.

A power cut between the programs that make a table, a label and a file system leaves neither of those. What each
of them left is written down (the first two MiB, as a hash, in <lib>/resource-disk.json); a disk that is exactly so
at the next boot is made anew, one that somebody has worked on is not.

Source: provisioning 6.3; field demand 124.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from waagent.errors import CommandFailed, DiskError
from waagent.machine import disks, ntfs_root
from waagent.system import System

IDE_PORT_1 = "deviceid=00000000-0001"
# Where disks of the second generation are, on systems whose sysctl does not lead to them.
ADDRESSES = ("2:1:0", "3:1:0")
HEAD = 2 * 1024 * 1024
RECORD = "resource-disk.json"
SECTOR = 512
NTFS = 0x07
# Super blocks of UFS: where, and the number at their end.
UFS = ((65536, 0x19540119), (8192, 0x00011954), (262144, 0x19540119))
UFS_MAGIC = 1372
# Types of partitions, as gpart(8) calls them, on which a file system may be made.
MAKEABLE = ("ntfs", "ms-basic-data", "freebsd-ufs")
OF_THE_SYSTEM = ("/", "/boot", "/boot/efi", "/usr", "/usr/local", "/var", "/home")


class Content(NamedTuple):
    kind: str
    at: int = 0


def freebsd_disk(system: System, named: str | None = None) -> str | None:
    """By its name, or by the channel of the VMBus that is port 1 of the IDE controller; else by address."""
    if named:
        return _not_the_system_s(system, named.removeprefix("/dev/"))
    disk = _freebsd_disk(system)
    return None if disk is None else _not_the_system_s(system, disk)


def _freebsd_disk(system: System) -> str | None:
    told = _asked(system, "sysctl", "dev.storvsc")
    channel = re.search(rf"^dev\.storvsc\.(\d+)\.%pnpinfo:.*{IDE_PORT_1}", told, re.MULTILINE)
    if channel is not None:
        buses = _asked(system, "camcontrol", "devlist", "-b")
        for driver in ("blkvsc", "storvsc"):
            bus = re.search(rf"^(scbus\d+) on {driver}{channel.group(1)} ", buses, re.MULTILINE)
            disk = _disk_at(_asked(system, "camcontrol", "devlist"), bus.group(1)) if bus is not None else None
            if disk is not None:
                return disk
    known = re.findall(r"^Geom name: (\S+)", _asked(system, "gpart", "list"), re.MULTILINE)
    for address in ADDRESSES:
        for name in re.findall(r"^([a-z]+\d+):", _asked(system, "camcontrol", "periphlist", address), re.MULTILINE):
            if name in known:
                return str(name)
    return None


def openbsd_disk(system: System, named: str | None = None) -> str | None:
    names = _asked(system, "sysctl", "-n", "hw.disknames").strip().split(",")
    known = [name.split(":", 1)[0] for name in names]
    if not named:
        return _not_the_system_s(system, "wd1") if "wd1" in known else None
    found = re.fullmatch(r"(?:/dev/)?r?([a-z]+\d+)[a-p]?", named)
    if found is None or found.group(1) not in known:
        raise DiskError(f"cannot find the resource disk: there is no {named}, which ResourceDisk.Device names")
    return _not_the_system_s(system, found.group(1))


def _not_the_system_s(system: System, disk: str) -> str:
    for device, directory in _mounts(system):
        if _is_part_of(device, disk) and directory in OF_THE_SYSTEM:
            raise DiskError(f"cannot use {disk} as the resource disk: the running system is on it ({directory})")
    return disk


def freebsd_partition(system: System, disk: str) -> str:
    shown = _asked(system, "gpart", "show", "-p", disk)
    scheme = re.search(rf"^=>\s+\d+\s+\d+\s+{disk}\s+(\S+)", shown, re.MULTILINE)
    part = {"MBR": f"{disk}s1", "GPT": f"{disk}p2"}.get(scheme.group(1) if scheme is not None else "")
    if part is None:
        what = f"a table of kind {scheme.group(1)}" if scheme is not None else "no partition table"
        raise DiskError(f"cannot use the resource disk: {disk} has {what}; it is left as it is", device=disk)
    if not re.search(rf"\s{part}\s", shown):
        raise DiskError(
            f"cannot use the resource disk: {disk} has no partition {part}; it is left as it is", device=disk
        )
    return part


def freebsd_makeable(system: System, disk: str, part: str) -> None:
    """Raises DiskError unless nobody has the disk open and the partition is of a kind for file systems."""
    mode = re.search(r"^\s*Mode: (\S+)", _asked(system, "geom", "disk", "list", disk), re.MULTILINE)
    if mode is None or mode.group(1) != "r0w0e0":
        told = f"it is in use ({mode.group(1)})" if mode is not None else "geom does not say whether it is in use"
        raise DiskError(f"cannot format the resource disk {disk}: {told}; it is left as it is", device=disk)
    shown = _asked(system, "gpart", "show", "-p", disk)
    kind = re.search(rf"\s{part.removeprefix('/dev/')}\s+(\S+)", shown)
    if kind is None or kind.group(1) not in MAKEABLE:
        told = kind.group(1) if kind is not None else "not there"
        raise DiskError(f"cannot format the resource disk: {part} is {told}; it is left as it is", device=disk)


def openbsd_makeable(system: System, disk: str) -> None:
    """Raises DiskError when a partition of the disk is mounted or swapped to."""
    swapped = re.findall(r"^(/dev/\S+)", _asked(system, "swapctl", "-l"), re.MULTILINE)
    used = next((each for each in (*dict(_mounts(system)), *swapped) if _is_part_of(each, disk)), None)
    if used is not None:
        raise DiskError(
            f"cannot format the resource disk {disk}: {used} is in use; it is left as it is", device=disk
        )


def mounted_on(system: System, device: str) -> str | None:
    return dict(_mounts(system)).get(device)


def content_of(head: bytes) -> Content:
    """Pure. A whole disk with one NTFS partition, or that partition itself, is the platform's."""
    for at, magic in UFS:
        if head[at + UFS_MAGIC : at + UFS_MAGIC + 4] in (struct.pack("<I", magic), struct.pack(">I", magic)):
            return Content("ufs")
    if not any(head):
        return Content("blank")
    if _is_ntfs(head, 0):
        return Content("platform")
    if head[510:512] != b"\x55\xaa":
        return Content("other")
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    used = [(entry[4], struct.unpack("<I", entry[8:12])[0]) for entry in entries if entry[4]]
    if len(used) == 1 and used[0][0] == NTFS and _is_ntfs(head, used[0][1] * SECTOR):
        return Content("platform", used[0][1] * SECTOR)
    return Content("other")


def mount_or_make(
    system: System,
    mount: tuple[str, ...],
    looked_at: str,
    make: tuple[tuple[str, ...], ...],
    makeable: Callable[[], None],
    lib: str,
) -> bool:
    """Mount; where that fails and what is on `looked_at` allows it, run the commands of `make` and mount.

    True if made. `makeable` raises DiskError when it may not be, whatever is on it. Raises DiskError.
    """
    answer = system.run(*mount, ok=None, limit=120)
    begun = _begun(system, lib, looked_at)
    _done(system, lib)
    if answer.status == 0 and not system.planning:
        return False
    told = (answer.stderr.strip() or f"status {answer.status}").splitlines()[0]
    makeable()
    _require_nobody_s(system, looked_at, begun, f"cannot mount {mount[-2]} on {mount[-1]}: {told}")
    try:
        for command in make:
            system.run(*command, limit=900)
            _leave(system, lib, looked_at)
        _done(system, lib)
        system.run(*mount, limit=900)
    except CommandFailed as error:
        raise DiskError(f"cannot make a file system on {mount[-2]}: {error}; the next boot tries again") from error
    return True


def _require_nobody_s(system: System, device: str, begun: bool, told: str) -> None:
    """Raises DiskError, which begins with `told`, when something is on it that may be somebody's."""
    content = _content(system, device)
    if content.kind == "platform":
        names = disks.files_of_owner(ntfs_root.names(system, device, content.at))
        if names:
            shown = ", ".join(names[:5])
            raise DiskError(f"{told}; it is NTFS and has files ({shown}), it is left", device=device)
    elif content.kind == "ufs":
        raise DiskError(f"{told}; it holds UFS, which fsck may mend; it is left as it is", device=device)
    elif content.kind != "blank" and not begun:
        raise DiskError(
            f"{told}; data of its owner may be there, so it is left. Zero the first 2 MiB with dd to have "
            "it formatted",
            device=device,
        )


def _leave(system: System, lib: str, device: str) -> None:
    """Write down what the disk looks like now that one of the programs has done its work."""
    record = {"disk": device, "head": _hash(system, device)}
    system.write(posixpath.join(lib, RECORD), json.dumps(record) + "\n", mode=0o600)


def _begun(system: System, lib: str, device: str) -> bool:
    try:
        record = json.loads(system.read(posixpath.join(lib, RECORD)))
        return bool(record == {"disk": device, "head": _hash(system, device)})
    except (OSError, ValueError):
        return False


def _done(system: System, lib: str) -> None:
    system.remove(posixpath.join(lib, RECORD))


def _hash(system: System, device: str) -> str:
    try:
        return hashlib.sha256(system.read(device, HEAD)).hexdigest()
    except OSError:
        return ""


def _mounts(system: System) -> list[tuple[str, str]]:
    """(device, directory) as mount(8) prints them."""
    return re.findall(r"^(/dev/\S+) on (.+?) (?:\(|type )", _asked(system, "mount"), re.MULTILINE)


def _is_part_of(device: str, disk: str) -> bool:
    return re.fullmatch(rf"/dev/{re.escape(disk)}([sp]\d+)?[a-p]?", device) is not None


def _content(system: System, device: str) -> Content:
    try:
        return content_of(system.read(device, HEAD))
    except OSError as error:
        raise DiskError(f"cannot read {device}: {error.strerror}; it is left as it is", device=device) from error


def _disk_at(devices: str, bus: str) -> str | None:
    """The name in `<Msft Virtual Disk 1.0>  at scbus3 target 0 lun 0 (pass1,da1)`."""
    for names in re.findall(rf" at {bus} .*\(([^)]*)\)", devices):
        for name in names.split(","):
            if not name.startswith("pass"):
                return str(name)
    return None


def _is_ntfs(head: bytes, at: int) -> bool:
    return head[at + 3 : at + 11] == b"NTFS    "


def _asked(system: System, *argv: str) -> str:
    answer = system.run(*argv, reads=True, ok=None, limit=60)
    return answer.stdout if answer.status == 0 else ""
