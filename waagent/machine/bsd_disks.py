"""The resource disk on BSD: which one it is, what is on it, where it is mounted.

freebsd_disk(system), openbsd_disk(system)   its name, da1 or wd1; None where the VM size has none
freebsd_partition(system, disk)              da1s1 of an MBR, da1p2 of a GPT (p1 is reserved); DiskError
mounted_on(system, device)                   where, by what mount(8) prints; None
content_of(head)                             blank, platform or other: from the first bytes of a disk or partition
mount_or_make(…)                             mount it; what is blank or the platform's gets a file system first

There is no sysfs and no blkid here: the kernel is asked by sysctl(8) and camcontrol(8), and what a disk holds is
read from the disk. A partition with the platform's fresh NTFS, or nothing at all, may be formatted; anything else
is left, also when it cannot be mounted.

Source: provisioning 6.3.
"""

from __future__ import annotations

import re
import struct

from waagent.errors import CommandFailed, DiskError
from waagent.system import System

IDE_PORT_1 = "deviceid=00000000-0001"
# Where disks of the second generation are, on systems whose sysctl does not lead to them.
ADDRESSES = ("2:1:0", "3:1:0")
HEAD = 2 * 1024 * 1024
SECTOR = 512
NTFS = 0x07


def freebsd_disk(system: System) -> str | None:
    """By the channel of the VMBus that is port 1 of the IDE controller; else by address."""
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


def openbsd_disk(system: System) -> str | None:
    names = _asked(system, "sysctl", "-n", "hw.disknames").strip().split(",")
    return "wd1" if "wd1" in [name.split(":", 1)[0] for name in names] else None


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


def mounted_on(system: System, device: str) -> str | None:
    found = re.search(rf"^{re.escape(device)} on (.+?) (?:\(|type )", _asked(system, "mount"), re.MULTILINE)
    return found.group(1) if found is not None else None


def content_of(head: bytes) -> str:
    """Pure. A whole disk with one NTFS partition, or that partition itself, is the platform's."""
    if not any(head):
        return "blank"
    if _is_ntfs(head, 0):
        return "platform"
    if head[510:512] != b"\x55\xaa":
        return "other"
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    used = [(entry[4], struct.unpack("<I", entry[8:12])[0]) for entry in entries if entry[4]]
    if len(used) == 1 and used[0][0] == NTFS and _is_ntfs(head, used[0][1] * SECTOR):
        return "platform"
    return "other"


def mount_or_make(
    system: System,
    mount: tuple[str, ...],
    looked_at: str,
    make: tuple[tuple[str, ...], ...],
) -> bool:
    """Mount; where that fails and `looked_at` allows it, run the commands of `make` and mount. True if made.

    Raises DiskError.
    """
    answer = system.run(*mount, ok=None, limit=120)
    if answer.status == 0 and not system.planning:
        return False
    content = _content(system, looked_at)
    if content == "other":
        told = (answer.stderr.strip() or f"status {answer.status}").splitlines()[0]
        raise DiskError(
            f"cannot mount {mount[-2]} on {mount[-1]}: {told}; data of its owner may be there, so it is left",
            device=mount[-2],
        )
    try:
        for command in (*make, mount):
            system.run(*command, limit=900)
    except CommandFailed as error:
        raise DiskError(f"cannot make a file system on {mount[-2]}: {error}; the next boot tries again") from error
    return True


def _content(system: System, device: str) -> str:
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
