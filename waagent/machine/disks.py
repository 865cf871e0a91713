"""What is on a disk that may be used as scratch space, what may be done with it, making a file system on it.

    inspect(system, device)              Contents: what is on the disk, without writing to it
    verdict(contents, wanted, begun)     Verdict(action, partition, filesystem, reason): what may be done with it
    above(system, device)                the disk, its partitions, and what is built on them (dm-0, md0)
    held(system, devices)                nobody else gets the names of these disks meanwhile
    partition, retype, make_filesystem   the three that write
    let_udev_see(system)                 what is to be done before the last of them

What may be done (`action`); `begun` is what a power cut interrupted (unfinished.py):

    mount       a file system is there: mounted as it is, whatever made it
    format      one partition, blank, or begun and not known to anybody: mkfs. With filesystem=ntfs: the platform's,
                once its root directory has shown that no file of an owner is there
    remake      the very file system that mkfs was making: mkfs when it is certain that nobody can have mounted it
                (superblock.py), else mounted
    partition   nothing at all on the disk, or the platform's layout of a large disk (a reserved partition that is
                blank, and one with NTFS that is looked into): new table, mkfs
    leave       anything else: data of the owner may be there; DiskError with `reason`

Whoever acts on a verdict with filesystem=ntfs has to look into that partition first (ntfs_root.py), and holds the
disk from the look to the end of the work (held).

Source: provisioning 6.2; field demands 119 to 129.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, DiskError
from waagent.machine import blank
from waagent.machine.unfinished import NOTHING, Found
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

BLOCK = "/sys/block"

# What the platform puts on a new disk; files of these names (any case) are nobody's data.
PLATFORM_FILESYSTEM = "ntfs"
PLATFORM_FILES = ("dataloss_warning_readme.txt", "system volume information", "$recycle.bin")

# What blkid calls a "TYPE" and nobody can mount: a part of something larger, or swap.
NO_MOUNT = ("crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member", "swap", "zfs_member", "bcache")

# MBR counts sectors in 32 bits: 2 TiB.
LARGEST_FOR_MBR = 2 * 1024**4
MICROSOFT_RESERVED = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
LINUX = {"dos": "83", "gpt": "0fc63daf-8483-4772-8e79-3d69d8477de4"}

# Entries that hold further tables, or stand for one that this kernel did not find: what they span is not seen here.
CONTAINERS = ("5", "f", "85", "ee")
# The platform's layout of a large disk leaves two or three MiB to no partition.
LARGEST_GAP = 64 * 1024**2

WAIT_FOR_PARTITION = 25.0
WAIT_FOR_UDEV = 15


class Part(NamedTuple):
    device: str
    kind: str  # type of the table's entry: 7, 83, or a GUID
    filesystem: str  # what blkid finds in it; "" for nothing it knows
    identity: str  # PARTUUID
    blank: bool  # blank.py
    volume: str = ""  # id of the file system


class Contents(NamedTuple):
    device: str
    table: str  # dos, gpt, "" for none
    filesystem: str  # on the disk as a whole
    blank: bool
    parts: tuple[Part, ...]
    used_by: str  # who uses the disk below a mount: dm-0, md0; "" for nobody
    gap: int = 0  # bytes that belong to no partition


class Verdict(NamedTuple):
    action: str  # mount, format, remake, partition, leave
    partition: str = ""
    filesystem: str = ""
    reason: str = ""


def parts_of(system: System, device: str) -> list[str]:
    """The devices of its partitions, in order of their numbers."""
    name = posixpath.basename(device)
    found = []
    for entry in system.listing(f"{BLOCK}/{name}"):
        match = re.fullmatch(re.escape(name) + r"p?(\d+)", entry)
        if match:
            found.append((int(match.group(1)), f"/dev/{entry}"))
    return [part for _, part in sorted(found)]


def above(system: System, device: str) -> list[str]:
    """The disk, its partitions, and every mapping or array that is built on one of them, as devices."""
    found: list[str] = []
    pending = [device]
    while pending:
        disk = pending.pop(0)
        if disk in found:
            continue
        parts, place = parts_of(system, disk), f"{BLOCK}/{posixpath.basename(disk)}"
        found += [disk, *parts]
        for each in (place, *(f"{place}/{posixpath.basename(part)}" for part in parts)):
            pending += [f"/dev/{holder}" for holder in system.listing(f"{each}/holders")]
    return found


@contextlib.contextmanager
def held(system: System, devices: Sequence[str]) -> Iterator[None]:
    """Have the disks open: the kernel gives their names, sdb, to no other disk that comes meanwhile, also when they
    go. So what is looked at is what is written to.
    """
    with contextlib.ExitStack() as exits:
        for device in devices:
            with contextlib.suppress(OSError):  # gone already: the look will say so
                exits.enter_context(open(system.path(device), "rb", buffering=0))
        yield


def part_name(device: str, number: int = 1) -> str:
    return f"{device}p{number}" if device[-1].isdigit() else f"{device}{number}"


def inspect(system: System, device: str) -> Contents:
    """Look at the disk. Raises DiskError when it cannot be read."""
    whole = _blkid(system, device)
    parts = []
    for part in parts_of(system, device):
        found = _blkid(system, part)
        filesystem = found.get("TYPE", "")
        nothing = not filesystem and blank.is_blank(system, part)
        kind = found.get("PART_ENTRY_TYPE", "").removeprefix("0x")
        identity, volume = found.get("PART_ENTRY_UUID", ""), found.get("UUID", "")
        parts.append(Part(part, kind.lower(), filesystem, identity, nothing, volume))
    table, filesystem = whole.get("PTTYPE", ""), whole.get("TYPE", "")
    nothing = not table and not filesystem and not parts and blank.is_blank(system, device)
    built = above(system, device)[1 + len(parts) :]
    used_by = posixpath.basename(built[0]) if built else ""
    return Contents(device, table, filesystem, nothing, tuple(parts), used_by, _gap(system, device))


def verdict(contents: Contents, wanted: str, begun: Found = NOTHING) -> Verdict:
    """What may be done with a disk that is not mounted. Pure."""
    device, parts = contents.device, contents.parts
    if contents.used_by:
        return Verdict("leave", reason=f"{contents.used_by} uses {device}")
    if contents.filesystem and contents.table:
        content = f"{contents.filesystem} and a {contents.table} partition table, one of which is a left-over"
        return Verdict("leave", reason=f"{device} holds {content}")
    if contents.filesystem:
        if contents.filesystem in NO_MOUNT or contents.filesystem == PLATFORM_FILESYSTEM != wanted:
            return Verdict("leave", reason=f"{device} holds {contents.filesystem} without a partition table")
        return Verdict("mount", device, contents.filesystem)
    if not parts:
        if contents.blank or begun.table:
            return Verdict("partition", part_name(device))
        what = f"an empty {contents.table} partition table" if contents.table else "something blkid does not know"
        return Verdict("leave", reason=f"{device} holds {what}")
    if len(parts) > 1:
        return _verdict_of_many(contents, wanted)
    return _verdict_of_one(parts[0], wanted, begun)


def _verdict_of_many(contents: Contents, wanted: str) -> Verdict:
    """Several partitions: the platform's layout of a large disk, or somebody's."""
    reserved = [part for part in contents.parts if part.kind == MICROSOFT_RESERVED and part.blank]
    ntfs = [part.device for part in contents.parts if part.filesystem == PLATFORM_FILESYSTEM]
    if contents.table != "gpt" or (len(reserved), len(ntfs), len(contents.parts)) != (1, 1, 2):
        content = ", ".join(f"{part.device} {_shown(part)}" for part in contents.parts)
        return Verdict("leave", reason=f"{contents.device} has {len(contents.parts)} partitions ({content})")
    if wanted == PLATFORM_FILESYSTEM:
        return Verdict("mount", ntfs[0], PLATFORM_FILESYSTEM)
    if contents.gap > LARGEST_GAP:
        content = f"{contents.gap // 1024**2} MiB that belong to no partition"
        return Verdict("leave", reason=f"{contents.device} has {content}")
    return Verdict("partition", ntfs[0], PLATFORM_FILESYSTEM)


def _verdict_of_one(part: Part, wanted: str, begun: Found) -> Verdict:
    if part.filesystem in NO_MOUNT:
        return Verdict("leave", reason=f"{part.device} holds {part.filesystem}")
    if part.filesystem == PLATFORM_FILESYSTEM and wanted != PLATFORM_FILESYSTEM:
        return Verdict("format", part.device, PLATFORM_FILESYSTEM)
    if part.filesystem:
        return Verdict("remake" if begun.volume else "mount", part.device, part.filesystem)
    if part.kind in CONTAINERS:
        return Verdict("leave", reason=f"{part.device} is of type {part.kind}, which holds further partitions")
    if part.blank or begun.table or begun.partition:
        return Verdict("format", part.device)
    return Verdict("leave", reason=f"{part.device} holds something blkid does not know")


def _shown(part: Part) -> str:
    return part.filesystem or ("blank" if part.blank else "unknown")


def files_of_owner(names: list[str]) -> list[str]:
    """What a directory listing shows beside that which the platform puts on a fresh disk."""
    return [name for name in names if name.lower() not in PLATFORM_FILES]


def require_mkfs(system: System, profile: DistroProfile, filesystem: str, volume: str = "") -> tuple[str, ...]:
    """The command but for its device; before anything is destroyed. Raises DiskError when it is not installed.

    `volume`: the id that the file system gets, where its mkfs lets us choose.
    """
    force, named = profile.mapping("resource-disk.force"), profile.mapping("resource-disk.volume")
    words = {"type": filesystem, "force": force.get(filesystem, force.get("other", "")), "device": "{device}"}
    words["volume"] = str(named.get(filesystem, "")).replace("{id}", volume) if volume else ""
    command = tuple(word for word in profile.command("resource-disk.mkfs", **words) if word)
    if not command or system.which(command[0]) is None:
        raise DiskError(
            f"cannot format the resource disk with {filesystem}: there is no {command[0] if command else 'mkfs'}; "
            "install it, or set another ResourceDisk.Filesystem"
        )
    return command


def require_partitioner(system: System, device: str) -> str:
    """Raises DiskError where there is none; before anything is destroyed."""
    for name in ("sfdisk", "parted"):
        if system.which(name) is not None:
            return name
    raise DiskError(
        f"cannot partition {device}: there is neither sfdisk nor parted; install one of them", device=device
    )


def partition(system: System, profile: DistroProfile, device: str, size: int) -> str:
    """Give the disk a new table with one partition over all of it; returns that partition. Raises DiskError."""
    table, program = "gpt" if size > LARGEST_FOR_MBR else "dos", require_partitioner(system, device)
    try:
        if program == "sfdisk":
            script = f"label: {table}\ntype={LINUX[table]}\n"
            system.run("sfdisk", "--wipe", "always", "--wipe-partitions", "always", device, stdin=script, limit=300)
        else:
            label = "msdos" if table == "dos" else table
            system.run("parted", "--script", device, "mklabel", label, "mkpart", "primary", "0%", "100%", limit=300)
    except CommandFailed as error:
        raise DiskError(
            f"cannot partition {device}: {error}; {_what_is_left(system, device)}", device=device
        ) from error
    return _await_partition(system, profile, device)


def retype(system: System, profile: DistroProfile, part: str, device: str, table: str) -> None:
    """Say in the table that the partition is Linux's, for who reads it; Linux itself does not. Raises DiskError."""
    kind = LINUX.get(table)
    if kind is None or system.which("sfdisk") is None:  # parted learnt it late
        return
    number = re.sub(r".*?(\d+)$", r"\1", part)
    try:
        system.run("sfdisk", "--part-type", device, number, kind, limit=60)
    except CommandFailed as error:
        raise DiskError(
            f"cannot change the type of {part}: {error}; {_what_is_left(system, device)}", device=device
        ) from error
    reread(system, profile, device, part)


def make_filesystem(system: System, command: tuple[str, ...], part: str, limit: float = 900.0) -> None:
    """Run mkfs on the partition. Raises DiskError."""
    argv = tuple(word.replace("{device}", part) for word in command)
    try:
        system.run(*argv, limit=limit)
    except CommandFailed as error:
        raise DiskError(
            f"cannot make a file system on {part}: {error}; {_what_is_left(system, part)}", device=part
        ) from error


def reread(system: System, profile: DistroProfile, device: str, part: str) -> None:
    """Have the kernel read the table again, in one way after the other until the partition is there."""
    for command in profile.commands("resource-disk.reread", device=device):
        if system.which(command[0]) is not None:
            answer = system.run(*command, ok=None)
            if answer.status == 0 and system.exists(part):
                return


def size_of(system: System, device: str, part: str = "") -> int:
    """Bytes of the disk or its partition; the kernel counts sectors of 512 whatever the disk's are. 0 where it does
    not say.
    """
    name = posixpath.join(posixpath.basename(device), posixpath.basename(part))
    try:
        return int(system.read_text(f"{BLOCK}/{name.rstrip('/')}/size").strip()) * 512
    except (OSError, ValueError):
        return 0


def part_identity(system: System, part: str) -> str:
    return _blkid(system, part).get("PART_ENTRY_UUID", "")


def _await_partition(system: System, profile: DistroProfile, device: str) -> str:
    """Wait until the first partition's node is there."""
    part = part_name(device)
    if system.planning:
        return part
    began = system.clock.monotonic()
    while not system.exists(part):
        if system.clock.monotonic() - began > WAIT_FOR_PARTITION:
            raise DiskError(
                f"cannot use {part}: it has not appeared in {WAIT_FOR_PARTITION:.0f} s",
                device=device,
            )
        reread(system, profile, device, part)
        if not system.exists(part):
            system.clock.sleep(1.0)
    return part


def let_udev_see(system: System) -> None:
    """Let udev end with what a new table has made. It watches a device only then: a file system that is ready
    earlier gets no name in /dev/disk/by-uuid, and lsblk does not know it.
    """
    if system.which("udevadm") is not None:
        system.run("udevadm", "settle", f"--timeout={WAIT_FOR_UDEV}", reads=True, ok=None, limit=WAIT_FOR_UDEV + 5)


def _what_is_left(system: System, device: str) -> str:
    """What follows when a program that writes to the disk has failed."""
    if not system.exists(device):
        return f"{device} has gone meanwhile"
    return "the next boot tries again"


def _blkid(system: System, device: str) -> dict[str, str]:
    """What blkid finds by probing the device itself, not its cache. Nothing found is status 2."""
    if system.which("blkid") is None:
        raise DiskError(f"cannot tell what is on {device}: there is no blkid; install util-linux", device=device)
    answer = system.run("blkid", "-p", "-o", "export", device, reads=True, ok=None, limit=60)
    if answer.status == 8:
        raise DiskError(
            f"cannot tell what is on {device}: blkid finds several things at once; it is left as it is",
            device=device,
        )
    if answer.status not in (0, 2):
        raise DiskError(
            f"cannot read {device}: {answer.stderr.strip() or f'blkid says {answer.status}'}", device=device
        )
    pairs = (line.partition("=") for line in answer.stdout.splitlines())
    return {name: value for name, _, value in pairs}


def _gap(system: System, device: str) -> int:
    """Bytes of the disk that belong to no partition."""
    return size_of(system, device) - sum(size_of(system, device, part) for part in parts_of(system, device))
