"""Prepare the temporary disk that the platform attaches to many VM sizes, and mount it.

The disk is scratch space. It survives a reboot and is replaced, empty, when the VM moves to another host; a
replaced disk arrives with one NTFS partition. What it holds is looked at anew at each boot, and data of the owner
is never touched: what has a file system is mounted as it is, and what cannot be told from data is left alone.

It has one owner: this agent, cloud-init where an entry in /etc/fstab says so, or the administrator
(ResourceDisk.Format=n). Whoever it is, where it is mounted is published for the step swap. /etc/fstab is never
written: the disk is found anew at each boot, by what it is and not by its name.

Reads     ResourceDisk.Format, .Filesystem, .MountPoint, .MountOptions, .Device, .Stripe; /etc/fstab
Changes   the table and the file system of a fresh disk; an array of several fresh NVMe disks; a mount; a warning
          file on the disk
Publishes resource_disk.owner, .device, .partition, .mount_point, .filesystem
Skips     when ResourceDisk.Format=n; when the VM size has no such disk; when cloud-init looks after it
Fails     DiskError that says what was found and what to do
"""

from __future__ import annotations

from waagent.errors import DiskError
from waagent.machine import disk_search, disks, fstab, loss_notice, mounts, stripe
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Format and mount the resource disk",
    frequency="always",
    reads=("ResourceDisk.*",),
    limit=1200.0,
)

LOOK = "/run/waagent/resource-disk"


def run(ctx: Context) -> Outcome:
    method = ctx.profile.text("resource-disk.method")
    if method not in ("linux", "openwrt"):
        return skipped(f"disks of this system ({method}) are looked after by a step of its own")
    ours = ctx.config.switch("ResourceDisk.Format")
    found = _candidates(ctx, ours)
    if not found:
        ctx.publish("resource_disk", None)
        return skipped("this VM size has no resource disk" if ours else "ResourceDisk.Format=n")
    system, device = ctx.system, found[0]
    entry = fstab.entry_of(system, *disks.above(system, device))
    if not ours or (entry is not None and entry.is_cloud_inits):
        _publish_of_others(ctx, device, "administrator" if not ours else "cloud-init")
        return skipped("ResourceDisk.Format=n" if not ours else
                       "cloud-init looks after the resource disk (it is in /etc/fstab)")  # fmt: skip
    if entry is not None and not entry.is_stable:
        ctx.note(f"/etc/fstab names {entry.device}, which may be another disk at the next boot, or none: "
                 "/dev/disk/azure/resource-part1 with the option nofail is safe")  # fmt: skip
    if len(found) > 1:
        device = _of_several(ctx, found)
    mounted = mounts.of(system, *disks.above(system, device))
    if mounted is not None:
        wrote = loss_notice.write(system, mounted.directory)
        _publish(ctx, device, mounted.device, mounted.directory, mounted.filesystem)
        told = f"{mounted.device} is mounted on {mounted.directory}"
        return changed(f"{told}; wrote the warning") if wrote else unchanged(told)
    directory = ctx.config.text("ResourceDisk.MountPoint") or "/mnt/resource"
    _require_free(ctx, directory)
    partition, filesystem, made = _prepare(ctx, device)
    if not system.is_directory(directory):
        system.make_directory(directory)
    intent = "" if made else disks.intended(system, ctx.lib)
    cut_off = bool(intent) and intent == disks.part_identity(system, partition)
    try:
        _mount(ctx, partition, filesystem, directory)
    except DiskError:
        if not cut_off:
            raise
    else:
        cut_off = cut_off and _let_go_of_nothing(ctx, directory)
    if cut_off:
        filesystem, made = _format(ctx, partition), True
        _mount(ctx, partition, filesystem, directory)
    disks.intend(system, ctx.lib, "")
    loss_notice.write(system, directory)
    _publish(ctx, device, partition, directory, filesystem)
    how = f"made {filesystem} on {partition} and mounted it" if made else f"mounted {partition} ({filesystem})"
    return changed(f"{how} on {directory}")


def _mount(ctx: Context, partition: str, filesystem: str, directory: str) -> None:
    command = ctx.profile.command("resource-disk.mount", type=filesystem, device=partition, directory=directory)
    mounts.mount(ctx.system, command, partition, directory, ctx.config.text("ResourceDisk.MountOptions"))


def _let_go_of_nothing(ctx: Context, directory: str) -> bool:
    """Whether a file system that we were cut off while we made has no file and is not mounted any more.

    Half a file system may look whole even to mount. Without files nothing is lost when it is made anew; with files
    somebody has used it since.
    """
    if ctx.system.planning or set(ctx.system.listing(directory)) - {"lost+found"}:
        return False
    return ctx.system.run("umount", directory, ok=None).status == 0


def _candidates(ctx: Context, ours: bool) -> list[str]:
    try:
        return disk_search.candidates(ctx.system, ctx.config.text("ResourceDisk.Device"))
    except DiskError:
        if ours:
            raise
        return []  # a wrong name does no harm where the disk is not to be touched


def _of_several(ctx: Context, found: list[str]) -> str:
    """One array of all of them where that is asked for, else the first."""
    if ctx.config.switch("ResourceDisk.Stripe"):
        return stripe.have(ctx.system, [disks.inspect(ctx.system, device) for device in found])
    ctx.note(f"of {len(found)} local disks {found[0]} is used and {', '.join(found[1:])} left: "
             "ResourceDisk.Stripe=y makes one of them, ResourceDisk.Device names one")  # fmt: skip
    return found[0]


def _require_free(ctx: Context, directory: str) -> None:
    """Raises DiskError when nothing can be mounted on the directory."""
    if ctx.system.exists(directory) and not ctx.system.is_directory(directory):
        raise DiskError(f"cannot mount the resource disk on {directory}: it is a file; remove it or set another "
                        "ResourceDisk.MountPoint")  # fmt: skip
    other = mounts.at(ctx.system, directory)
    if other is not None:
        raise DiskError(f"cannot mount the resource disk on {directory}: {other.device} is mounted there")
    if ctx.system.listing(directory):
        ctx.note(f"{directory} is not empty; what is in it is hidden while the resource disk is mounted")


def _prepare(ctx: Context, device: str) -> tuple[str, str, bool]:
    """Have a file system on the disk: the partition, what is on it, whether it was made now."""
    system, profile, wanted = ctx.system, ctx.profile, ctx.config.text("ResourceDisk.Filesystem") or "ext4"
    contents = disks.inspect(system, device)
    may = disks.verdict(contents, wanted, disks.intended(system, ctx.lib))
    if may.action == "leave":
        raise DiskError(
            f"cannot use the resource disk: {may.reason}; data of its owner may be there, so it is left as it is. "
            "Erase it with wipefs --all to have it formatted"
        )
    if may.action == "mount":
        return may.partition, may.filesystem, False
    disks.require_mkfs(system, profile, wanted)  # before anything is destroyed
    if may.filesystem == disks.PLATFORM_FILESYSTEM:
        _require_no_files(ctx, may.partition)
    partition = may.partition
    if may.action == "partition":
        disks.intend(system, ctx.lib, disks.table_of(device))
        partition = disks.partition(system, profile, device, disks.size_of(system, device))
    disks.intend(system, ctx.lib, disks.part_identity(system, partition))
    if may.action == "format":
        disks.retype(system, profile, partition, device, contents.table)
    return partition, _format(ctx, partition), True


def _format(ctx: Context, partition: str) -> str:
    wanted = ctx.config.text("ResourceDisk.Filesystem") or "ext4"
    disks.make_filesystem(ctx.system, disks.require_mkfs(ctx.system, ctx.profile, wanted), partition)
    return wanted


def _require_no_files(ctx: Context, partition: str) -> None:
    """Raises DiskError when the platform's NTFS partition has files of the owner, or does not let us look."""
    system, answers = ctx.system, []
    if system.planning:
        ctx.note(f"the files on {partition} are looked at before it is formatted")
        return
    system.make_directory(LOOK, 0o700)
    for kind in ("ntfs3", "ntfs"):
        answer = system.run("mount", "-o", "ro,nosuid,nodev,noexec", "-t", kind, partition, LOOK, ok=None, limit=60)
        if answer.status == 0:
            names = system.listing(LOOK)
            system.run("umount", LOOK, ok=None)
            if not disks.only_platform_files(names):
                shown = ", ".join(names[:5])
                raise DiskError(
                    f"cannot use the resource disk: {partition} is NTFS and has files ({shown}); it stays so. "
                    "Set ResourceDisk.Filesystem=ntfs to mount it"
                )
            return
        answers.append(answer.stderr.lower())
    if not all("unknown filesystem type" in answer or "not found" in answer for answer in answers):
        raise DiskError(f"cannot use the resource disk: {partition} is NTFS and cannot be looked into "
                        f"({answers[0].strip() or 'mount failed'}); it is left as it is")  # fmt: skip
    # A system without NTFS cannot have written there: it is the platform's fresh partition.


def _publish_of_others(ctx: Context, device: str, owner: str) -> None:
    """Where somebody else mounted it, if anywhere."""
    mounted = mounts.of(ctx.system, *disks.above(ctx.system, device))
    if mounted is None:
        ctx.publish("resource_disk", {"owner": owner, "device": device})
    else:
        _publish(ctx, device, mounted.device, mounted.directory, mounted.filesystem, owner)


def _publish(
    ctx: Context, device: str, partition: str, directory: str, filesystem: str, owner: str = "waagent"
) -> None:
    told = {"owner": owner, "device": device, "partition": partition, "mount_point": directory}
    told["filesystem"] = filesystem
    if told != ctx.facts.get("resource_disk"):
        ctx.publish("resource_disk", told)
