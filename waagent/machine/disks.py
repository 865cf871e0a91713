"""The resource disk: which one it is, what is on it, making a file system on it.

    resource_disk(system, named)   its device, "/dev/sdb", or None where the VM size has none
    inspect(system, device)        Contents: what is on the disk, without writing to it
    verdict(contents, wanted)      Verdict(action, partition, filesystem, reason): what may be done with it
    partition, make_filesystem     the two things that destroy

Which disk: named by the admin; else the one at port 1 of the IDE controller (generation 1) or at LUN 1 of the
first SCSI controller (generation 2) of the VMBus; else the first NVMe disk that says it is local; else the one to
which udev rules have given the platform's name. Never a disk that holds a part of the running system.

What may be done (`action`):

    mount       a file system is there: mounted as it is, whatever made it
    format      one partition, empty or the platform's fresh NTFS: mkfs
    partition   nothing at all on the disk, or the platform's layout of a large disk: new table, mkfs
    leave       anything else: data of the owner may be there; DiskError with `reason`

The platform delivers a disk with one NTFS partition (large ones: GPT with a reserved partition before it) and
replaces it by a fresh one when the VM moves. Whether that partition has files of the owner is the module's to
find out: it mounts it read-only and asks `only_platform_files`.

A power cut between making the table and making the file system leaves a partition that says nothing. The intent
that was written down before (`intend`) tells ours from one of which nothing is known.

Source: provisioning 6.1, 6.2; field demands 119 to 129.
"""

from __future__ import annotations

import json
import posixpath
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, DiskError
from waagent.machine import mounts
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

VMBUS = "/sys/bus/vmbus/devices"
BLOCK = "/sys/block"
IDE_PORT_1 = "00000000-0001"
SCSI_0 = "f8b3781a-1e82-4818-a1c3-63d806ec15bb"
RESOURCE_LUN = "1"
LOCAL_NVME = "Microsoft NVMe Direct Disk"
LINKS = ("/dev/disk/azure/resource", "/dev/disk/cloud/azure_resource")

# What the platform puts on a new disk; files of these names (any case) are nobody's data.
PLATFORM_FILESYSTEM = "ntfs"
PLATFORM_FILES = ("dataloss_warning_readme.txt", "system volume information", "$recycle.bin")

# What blkid calls a "TYPE" and nobody can mount: a part of something larger, or swap.
NO_MOUNT = ("crypto_LUKS", "BitLocker", "LVM2_member", "linux_raid_member", "swap", "zfs_member", "bcache")

# MBR counts sectors in 32 bits: 2 TiB.
LARGEST_FOR_MBR = 2 * 1024**4
MICROSOFT_RESERVED = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
LINUX = {"dos": "83", "gpt": "0fc63daf-8483-4772-8e79-3d69d8477de4"}

PROBED = 1024 * 1024
WAIT_FOR_PARTITION = 25.0


class Part(NamedTuple):
    device: str
    kind: str  # type of the table's entry: 7, 83, or a GUID
    filesystem: str  # what blkid finds in it; "" for nothing it knows
    identity: str  # PARTUUID
    blank: bool  # the first MiB is zero


class Contents(NamedTuple):
    device: str
    table: str  # dos, gpt, "" for none
    filesystem: str  # on the disk as a whole
    blank: bool
    parts: tuple[Part, ...]
    used_by: str  # who uses the disk below a mount: dm-0, md0; "" for nobody


class Verdict(NamedTuple):
    action: str  # mount, format, partition, leave
    partition: str = ""
    filesystem: str = ""
    reason: str = ""


def resource_disk(system: System, named: str | None = None) -> str | None:
    """The device, or None. Raises DiskError when the admin named one that is not there or is the system's."""
    if named:
        return _named(system, named)
    system_disks = _system_disks(system)
    for find in (_on_ide, _on_scsi, _on_nvme, _by_link):
        for name in find(system):
            if name not in system_disks and system.exists(f"/dev/{name}"):
                return f"/dev/{name}"
    return None


def parts_of(system: System, device: str) -> list[str]:
    """The devices of its partitions, in order of their numbers."""
    name = posixpath.basename(device)
    found = []
    for entry in system.listing(f"{BLOCK}/{name}"):
        match = re.fullmatch(re.escape(name) + r"p?(\d+)", entry)
        if match:
            found.append((int(match.group(1)), f"/dev/{entry}"))
    return [part for _, part in sorted(found)]


def table_of(device: str) -> str:
    """The intent while the table itself is being made."""
    return f"table of {device}"


def part_name(device: str, number: int = 1) -> str:
    return f"{device}p{number}" if device[-1].isdigit() else f"{device}{number}"


def inspect(system: System, device: str) -> Contents:
    """Look at the disk. Raises DiskError when it cannot be read."""
    whole = _blkid(system, device)
    parts = []
    for part in parts_of(system, device):
        found = _blkid(system, part)
        filesystem = found.get("TYPE", "")
        blank = not filesystem and _is_blank(system, part)
        kind = found.get("PART_ENTRY_TYPE", "").removeprefix("0x")
        parts.append(Part(part, kind.lower(), filesystem, found.get("PART_ENTRY_UUID", ""), blank))
    table = whole.get("PTTYPE", "")
    filesystem = "" if table else whole.get("TYPE", "")
    blank = not table and not filesystem and not parts and _is_blank(system, device)
    return Contents(device, table, filesystem, blank, tuple(parts), _holders(system, device))


def verdict(contents: Contents, wanted: str, intended: str = "") -> Verdict:
    """What may be done with a disk that is not mounted. Pure. `intended` is what `intend` had written down."""
    device, parts = contents.device, contents.parts
    if contents.used_by:
        return Verdict("leave", reason=f"{contents.used_by} uses {device}")
    if contents.filesystem:
        if contents.filesystem in NO_MOUNT or contents.filesystem == PLATFORM_FILESYSTEM != wanted:
            return Verdict("leave", reason=f"{device} holds {contents.filesystem} without a partition table")
        return Verdict("mount", device, contents.filesystem)
    if not parts:
        if contents.blank or (contents.table and intended == table_of(device)):
            return Verdict("partition", part_name(device))
        what = f"an empty {contents.table} partition table" if contents.table else "something blkid does not know"
        return Verdict("leave", reason=f"{device} holds {what}")
    if len(parts) > 1:
        return _verdict_of_many(contents, wanted)
    return _verdict_of_one(parts[0], wanted, intended and intended in (parts[0].identity, table_of(device)))


def _verdict_of_many(contents: Contents, wanted: str) -> Verdict:
    """Several partitions: the platform's layout of a large disk, or somebody's."""
    foreign = [part.device for part in contents.parts if not _is_platforms(part)]
    if contents.table != "gpt" or foreign:
        told = ", ".join(foreign) or "in an MBR"
        return Verdict("leave", reason=f"{contents.device} has {len(contents.parts)} partitions, {told}")
    ntfs = next((part.device for part in contents.parts if part.filesystem == PLATFORM_FILESYSTEM), "")
    if ntfs and wanted == PLATFORM_FILESYSTEM:
        return Verdict("mount", ntfs, PLATFORM_FILESYSTEM)
    return Verdict("partition", ntfs or part_name(contents.device), PLATFORM_FILESYSTEM if ntfs else "")


def _verdict_of_one(part: Part, wanted: str, ours: object) -> Verdict:
    """One partition. `ours`: we set out to format it and were cut off, so what it says counts for less."""
    if part.filesystem in NO_MOUNT:
        return Verdict("leave", reason=f"{part.device} holds {part.filesystem}")
    if part.filesystem == PLATFORM_FILESYSTEM and wanted != PLATFORM_FILESYSTEM:
        return Verdict("format", part.device, "" if ours else PLATFORM_FILESYSTEM)
    if part.filesystem:
        return Verdict("mount", part.device, part.filesystem)
    if part.blank or ours:
        return Verdict("format", part.device)
    return Verdict("leave", reason=f"{part.device} holds something blkid does not know")


def only_platform_files(names: list[str]) -> bool:
    """Whether a directory listing shows nothing but what the platform puts on a fresh disk."""
    return all(name.lower() in PLATFORM_FILES for name in names)


def require_mkfs(system: System, profile: DistroProfile, filesystem: str) -> tuple[str, ...]:
    """The command but for its device; before anything is destroyed. Raises DiskError when it is not installed."""
    force = profile.mapping("resource-disk.force")
    words = {"type": filesystem, "force": force.get(filesystem, force.get("other", "")), "device": "{device}"}
    command = tuple(word for word in profile.command("resource-disk.mkfs", **words) if word)
    if not command or system.which(command[0]) is None:
        raise DiskError(
            f"cannot format the resource disk with {filesystem}: there is no {command[0] if command else 'mkfs'}; "
            "install it, or set another ResourceDisk.Filesystem"
        )
    return command


def partition(system: System, profile: DistroProfile, device: str, size: int) -> str:
    """Give the disk a new table with one partition over all of it; returns that partition. Raises DiskError."""
    table = "gpt" if size > LARGEST_FOR_MBR else "dos"
    script = f"label: {table}\ntype={LINUX[table]}\n"
    try:
        system.run("sfdisk", "--wipe", "always", "--wipe-partitions", "always", device, stdin=script, limit=300)
    except CommandFailed as error:
        raise DiskError(
            f"cannot partition {device}: {error}; it is left, the next boot tries again", device=device
        ) from error
    return _await_partition(system, profile, device)


def retype(system: System, profile: DistroProfile, part: str, device: str, table: str) -> None:
    """Say in the table that the partition is Linux's. Raises DiskError."""
    kind = LINUX.get(table)
    if kind is None:
        return
    number = re.sub(r".*?(\d+)$", r"\1", part)
    try:
        system.run("sfdisk", "--part-type", device, number, kind, limit=60)
    except CommandFailed as error:
        raise DiskError(f"cannot change the type of {part}: {error}", device=device) from error
    reread(system, profile, device, part)


def make_filesystem(system: System, command: tuple[str, ...], part: str, limit: float = 900.0) -> None:
    """Run mkfs on the partition. Raises DiskError."""
    argv = tuple(word.replace("{device}", part) for word in command)
    try:
        system.run(*argv, limit=limit)
    except CommandFailed as error:
        raise DiskError(
            f"cannot make a file system on {part}: {error}; the next boot tries again", device=part
        ) from error


def reread(system: System, profile: DistroProfile, device: str, part: str) -> None:
    """Have the kernel read the table again, in one way after the other until the partition is there."""
    for command in profile.commands("resource-disk.reread", device=device):
        if system.which(command[0]) is not None:
            answer = system.run(*command, ok=None)
            if answer.status == 0 and system.exists(part):
                return


def size_of(system: System, device: str) -> int:
    """Bytes; the kernel counts sectors of 512 whatever the disk's are. 0 where it does not say."""
    try:
        return int(system.read_text(f"{BLOCK}/{posixpath.basename(device)}/size").strip()) * 512
    except (OSError, ValueError):
        return 0


def part_identity(system: System, part: str) -> str:
    return _blkid(system, part).get("PART_ENTRY_UUID", "")


def intend(system: System, lib: str, identity: str) -> None:
    """Write down which partition is about to be formatted; "" when it is done."""
    path = posixpath.join(lib, "resource-disk.json")
    if identity:
        system.write(path, json.dumps({"formatting": identity}) + "\n", mode=0o600)
    else:
        system.remove(path)


def intended(system: System, lib: str) -> str:
    try:
        return str(json.loads(system.read(posixpath.join(lib, "resource-disk.json"))).get("formatting", ""))
    except (OSError, ValueError, AttributeError):
        return ""


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


def _named(system: System, named: str) -> str:
    """The disk that the admin names: a device, a link, LABEL=name (then the disk of that partition)."""
    path = f"/dev/disk/by-label/{named[len('LABEL=') :]}" if named.startswith("LABEL=") else named
    if not system.exists(path):
        raise DiskError(f"cannot find the resource disk: there is no {path}, which ResourceDisk.Device names")
    name = posixpath.basename(str(system.path(path).resolve()))
    if not system.exists(f"{BLOCK}/{name}"):
        owner = next((disk for disk in system.listing(BLOCK) if name in system.listing(f"{BLOCK}/{disk}")), None)
        if owner is None:
            raise DiskError(f"cannot use {path} as the resource disk: it is no disk and no partition of one")
        name = owner
    if name in _system_disks(system):
        raise DiskError(f"cannot use /dev/{name} as the resource disk: the running system is on it")
    return f"/dev/{name}"


def _on_ide(system: System) -> list[str]:
    return [
        name
        for guid, path in _channels(system)
        if guid.startswith(IDE_PORT_1)
        for name in _disks_below(system, path)
    ]


def _on_scsi(system: System) -> list[str]:
    return [
        name
        for guid, path in _channels(system)
        if guid == SCSI_0
        for name in _disks_below(system, path, lun=RESOURCE_LUN)
    ]


def _on_nvme(system: System) -> list[str]:
    found = []
    for name in system.listing(BLOCK):
        if name.startswith("nvme"):
            model = _line(system, f"{BLOCK}/{name}/device/model")
            if model.startswith(LOCAL_NVME):
                found.append(name)
    return found


def _by_link(system: System) -> list[str]:
    """What udev rules, ours or cloud-init's, call the resource disk where the kernel shows no VMBus."""
    names = [posixpath.basename(str(system.path(link).resolve())) for link in LINKS if system.exists(link)]
    return [name for name in names if system.exists(f"{BLOCK}/{name}")]


def _channels(system: System) -> list[tuple[str, str]]:
    """The storage channels of the VMBus: GUID of the controller in small letters, directory."""
    return [
        (_line(system, f"{VMBUS}/{name}/device_id").strip("{}").lower(), f"{VMBUS}/{name}")
        for name in system.listing(VMBUS)
    ]


def _disks_below(system: System, path: str, lun: str | None = None, depth: int = 0) -> list[str]:
    """The disks in `block` directories below a channel; with a LUN only those of host:channel:target:lun."""
    found: list[str] = []
    for name in system.listing(path):
        below = f"{path}/{name}"
        if name.startswith("block:"):  # kernels before 2.6.26
            if lun is None or posixpath.basename(path).rsplit(":", 1)[-1] == lun:
                found.append(name.split(":", 1)[1])
        elif name == "block":
            if lun is None or posixpath.basename(path).rsplit(":", 1)[-1] == lun:
                found += system.listing(below)
        elif depth < 4 and re.match(r"(host|target)?\d+[\d:]*$", name) and _is_real(system, below):
            found += _disks_below(system, below, lun, depth + 1)
    return found


def _is_real(system: System, path: str) -> bool:
    """Whether it is a directory and no link: sysfs is full of links that lead round in circles."""
    return stat.S_ISDIR(system.status(path).st_mode)


def _system_disks(system: System) -> set[str]:
    """Names of disks that carry what the system runs from, seen through partitions and mappings."""
    disks: set[str] = set()
    pending = []
    for mount in mounts.mounts(system):
        if mount.directory in ("/", "/boot", "/boot/efi", "/usr", "/var", "/efi") and mount.device.startswith(
            "/dev/"
        ):
            pending.append(posixpath.basename(str(system.path(mount.device).resolve())))
    while pending:
        name = pending.pop()
        below = system.listing(f"{BLOCK}/{name}/slaves")
        if below:
            pending += below
            continue
        owner = next((disk for disk in system.listing(BLOCK) if name in system.listing(f"{BLOCK}/{disk}")), name)
        disks.add(owner)
    return disks


def _holders(system: System, device: str) -> str:
    name = posixpath.basename(device)
    for path in (
        f"{BLOCK}/{name}",
        *(f"{BLOCK}/{name}/{posixpath.basename(part)}" for part in parts_of(system, device)),
    ):
        holders = system.listing(f"{path}/holders")
        if holders:
            return holders[0]
    return ""


def _is_platforms(part: Part) -> bool:
    return part.kind == MICROSOFT_RESERVED or part.filesystem == PLATFORM_FILESYSTEM


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


def _is_blank(system: System, device: str) -> bool:
    """Whether the first MiB is zero. A device that cannot be read is not blank."""
    try:
        return not any(system.read(device, PROBED))
    except OSError:
        return False


def _line(system: System, path: str) -> str:
    try:
        return system.read_text(path).strip()
    except OSError:
        return ""
