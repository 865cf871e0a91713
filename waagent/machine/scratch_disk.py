"""The resource disk from what is found to what is mounted: at the boot, and later for a disk that came late.

have(system, config, profile, lib, note) -> Scratch(kind, told, fact): changed, unchanged or skipped, with the
sentence that says so, and the fact resource_disk; DiskError. `note` takes what is worth knowing besides.

awaited(system)    why there was no disk when it was looked for in this boot; "" when there was one

The order: withdrawing what an earlier boot wrote down (unfinished); whose disk it is; where it is mounted already;
else what is on it, and what that allows (disks.verdict, superblock); looking into the platform's NTFS; writing down
what is about to be destroyed; making; mounting.

Source: provisioning 6; field demands 60, 119 to 130.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from waagent.errors import DiskError
from waagent.machine import (
    cloud_init_stages,
    disk_search,
    disks,
    fstab,
    loss_notice,
    mounts,
    ntfs_root,
    stripe,
    superblock,
    unfinished,
)
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile

AWAITED = "/run/waagent/resource-disk-awaited"
# Nothing is mounted on these: what they hold would be hidden, and the system is lost without.
OF_THE_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys",
    "/usr", "/var",
)  # fmt: skip
NEW_ID = "/proc/sys/kernel/random/uuid"

Note = Callable[[str], None]
Fact = Optional["dict[str, Any]"]


class Scratch(NamedTuple):
    kind: str
    told: str
    fact: Fact = None


class _Work(NamedTuple):
    """What all of it is about."""

    system: System
    config: Config
    profile: DistroProfile
    lib: str
    note: Note
    begun: unfinished.Record  # what a power cut interrupted

    @property
    def filesystem(self) -> str:
        return self.config.text("ResourceDisk.Filesystem") or "ext4"


def have(system: System, config: Config, profile: DistroProfile, lib: str, note: Note) -> Scratch:
    """Raises DiskError that says what was found and what to do."""
    begun = unfinished.taken(system, lib)
    ours = config.switch("ResourceDisk.Format")
    try:
        found = disk_search.candidates(system, config.text("ResourceDisk.Device"))
    except DiskError as error:
        if ours:
            _await(system, error.message)
            raise
        found = []  # a wrong name does no harm where the disk is not to be touched
    if not found:
        told = "this VM size has no resource disk" if ours else "ResourceDisk.Format=n"
        _await(system, told if ours else "")
        return Scratch("skipped", told)
    entry = fstab.entry_of(system, *disks.above(system, found[0]))
    if not ours or (entry is not None and entry.is_cloud_inits):
        _await(system, "")
        fact = _of_others(system, found[0], "cloud-init" if ours else "administrator")
        if ours:
            return Scratch("skipped", "cloud-init looks after the resource disk (it is in /etc/fstab)", fact)
        return Scratch("skipped", "ResourceDisk.Format=n", fact)
    stage = cloud_init_stages.pending(system)
    if stage:
        told = f"cloud-init has not ended its stage {stage}, in which it may take the resource disk"
        _await(system, told)
        return Scratch("skipped", told)
    _await(system, "")
    if entry is not None and not entry.is_stable:
        note(f"/etc/fstab names {entry.device}, which may be another disk at the next boot, or none: "
             "/dev/disk/azure/resource-part1 with the option nofail is safe")  # fmt: skip
    with disks.held(system, found):
        return _ours(_Work(system, config, profile, lib, note, begun), found)


def awaited(system: System) -> str:
    try:
        return system.read_text(AWAITED).strip()
    except OSError:
        return ""


def _await(system: System, reason: str) -> None:
    """Have it known, until the next boot, that a disk which comes later has not been seen; "" for one that has."""
    quietly = system.quietly()
    if reason:
        quietly.make_directory("/run/waagent")
        quietly.write(AWAITED, reason + "\n")
    else:
        quietly.remove(AWAITED)


def _ours(work: _Work, found: list[str]) -> Scratch:
    system = work.system
    if not mounts.mounts(system):
        raise DiskError(f"cannot use the resource disk: {mounts.LIST} does not tell what is mounted; it is left")
    device = _of_several(work, found) if len(found) > 1 else found[0]
    mounted = mounts.of(system, *disks.above(system, device))
    if mounted is not None:
        wrote = loss_notice.wrote(system, mounted.directory, work.note)
        fact = _fact(device, mounted.device, mounted.directory, mounted.filesystem)
        told = f"{mounted.device} is mounted on {mounted.directory}"
        return Scratch("changed", f"{told}; wrote the warning", fact) if wrote else Scratch("unchanged", told, fact)
    directory = mounts.real(system, work.config.text("ResourceDisk.MountPoint") or "/mnt/resource")
    _require_free(work, directory)
    partition, filesystem, made = _prepare(work, device)
    if not system.is_directory(directory):
        system.make_directory(directory)
    command = work.profile.command("resource-disk.mount", type=filesystem, device=partition, directory=directory)
    mounts.mount(system, command, partition, directory, work.config.text("ResourceDisk.MountOptions"))
    loss_notice.wrote(system, directory, work.note)
    how = f"made {filesystem} on {partition} and mounted it" if made else f"mounted {partition} ({filesystem})"
    return Scratch("changed", f"{how} on {directory}", _fact(device, partition, directory, filesystem))


def _of_several(work: _Work, found: list[str]) -> str:
    """One array of all of them where that is asked for, else the first."""
    if work.config.switch("ResourceDisk.Stripe"):
        return stripe.have(work.system, [disks.inspect(work.system, device) for device in found])
    work.note(f"of {len(found)} local disks {found[0]} is used and {', '.join(found[1:])} left: "
              "ResourceDisk.Stripe=y makes one of them, ResourceDisk.Device names one")  # fmt: skip
    return found[0]


def _require_free(work: _Work, directory: str) -> None:
    """Raises DiskError when nothing can be mounted on the directory."""
    system = work.system
    if directory in OF_THE_SYSTEM:
        raise DiskError(f"cannot mount the resource disk on {directory}: the system needs what is in it; set "
                        "another ResourceDisk.MountPoint")  # fmt: skip
    if system.exists(directory) and not system.is_directory(directory):
        raise DiskError(f"cannot mount the resource disk on {directory}: it is a file; remove it or set another "
                        "ResourceDisk.MountPoint")  # fmt: skip
    other = mounts.at(system, directory)
    if other is not None:
        raise DiskError(f"cannot mount the resource disk on {directory}: {other.device} is mounted there")
    if system.listing(directory):
        work.note(f"{directory} is not empty; what is in it is hidden while the resource disk is mounted")


def _prepare(work: _Work, device: str) -> tuple[str, str, bool]:
    """Have a file system on the disk: the partition, what is on it, whether it was made now."""
    system, lib = work.system, work.lib
    contents = disks.inspect(system, device)
    begun = unfinished.found(system, work.begun, contents)
    may = disks.verdict(contents, work.filesystem, begun)
    if may.action == "leave":
        raise DiskError(
            f"cannot use the resource disk: {may.reason}; data of its owner may be there, so it is left as it is. "
            "Who needs nothing of it makes a file system there (mkfs), which is then mounted"
        )
    never_mounted = may.action == "remake" and superblock.never_mounted(system, may.partition, may.filesystem)
    if may.action in ("mount", "remake") and not never_mounted:
        return may.partition, may.filesystem, False
    volume = _new_id(system)
    mkfs = disks.require_mkfs(system, work.profile, work.filesystem, volume)  # before anything is destroyed
    if may.action == "partition":
        disks.require_partitioner(system, device)
    if may.filesystem == disks.PLATFORM_FILESYSTEM:
        _require_no_files(work, may.partition, begun)
    partition = may.partition
    if may.action == "partition":
        partition = _divide(work, device)
    part = next((part for part in contents.parts if part.device == partition and may.action != "partition"), None)
    identity = part.identity if part is not None else disks.part_identity(system, partition)
    volumes = (part.volume if part else "", volume)
    before = unfinished.begin_filesystem(system, lib, device, partition, identity, volumes)
    if may.action != "partition":
        with unfinished.underway(system, lib, partition):
            disks.retype(system, work.profile, partition, device, contents.table)
    disks.let_udev_see(system)
    unfinished.require_untouched(system, lib, partition, before)
    with unfinished.underway(system, lib, partition):
        disks.make_filesystem(system, mkfs, partition)
    unfinished.done(system, lib)
    return partition, work.filesystem, True


def _divide(work: _Work, device: str) -> str:
    unfinished.begin_table(work.system, work.lib, device)
    with unfinished.underway(work.system, work.lib, device):
        return disks.partition(work.system, work.profile, device, disks.size_of(work.system, device))


def _new_id(system: System) -> str:
    try:
        return system.read_text(NEW_ID).strip()
    except OSError:
        return ""


def _require_no_files(work: _Work, partition: str, begun: unfinished.Found) -> None:
    """Raises DiskError when the platform's NTFS has files of the owner, or cannot be looked into."""
    try:
        names = disks.files_of_owner(ntfs_root.names(work.system, partition))
    except DiskError as error:
        if begun.volume:  # the very volume that had no files when we began to overwrite it
            return
        raise DiskError(f"cannot use the resource disk: {error}; it is left as it is", device=partition) from error
    if names:
        raise DiskError(
            f"cannot use the resource disk: {partition} is NTFS and has files ({', '.join(names[:5])}); "
            "it stays so. Who needs none of them makes a file system there (mkfs), which is then mounted; with "
            "ResourceDisk.Filesystem=ntfs it is mounted as it is, where this system can mount NTFS"
        )


def _of_others(system: System, device: str, owner: str) -> Fact:
    """Where somebody else mounted it, if anywhere."""
    mounted = mounts.of(system, *disks.above(system, device))
    if mounted is None:
        return {"owner": owner, "device": device}
    return _fact(device, mounted.device, mounted.directory, mounted.filesystem, owner)


def _fact(device: str, partition: str, directory: str, filesystem: str, owner: str = "waagent") -> Fact:
    told = {"owner": owner, "device": device, "partition": partition, "mount_point": directory}
    return {**told, "filesystem": filesystem}
