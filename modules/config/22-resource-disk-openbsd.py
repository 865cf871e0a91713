"""Prepare the temporary disk on OpenBSD, and mount it.

A fresh disk gets a disklabel: the file system in partition a, and, where swap space is asked for, that in partition
b. A disk that cannot be mounted is changed when it is blank, or has the platform's NTFS, whose root directory is
read and has no files of an owner; or when it is just as a power cut left our own work. Else it is left, as is one
that is in use.

Reads     ResourceDisk.Format, .Filesystem, .MountPoint, .Device, .EnableSwap, .SwapSizeMB
Changes   the table, the disklabel and the file system of a fresh disk; a mount; a warning file on the disk
Publishes resource_disk.owner, .device, .partition, .mount_point, .filesystem
Skips     when ResourceDisk.Format=n; when the VM size has no such disk
Fails     DiskError that says what was found and what to do
"""

from __future__ import annotations

from waagent.errors import DiskError
from waagent.machine import bsd_disks, loss_notice
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Format and mount the resource disk",
    frequency="always",
    reads=(
        "ResourceDisk.Format",
        "ResourceDisk.Filesystem",
        "ResourceDisk.MountPoint",
        "ResourceDisk.Device",
        "ResourceDisk.EnableSwap",
        "ResourceDisk.SwapSizeMB",
    ),
    distros=("openbsd",),
    limit=1200.0,
)

TEMPLATE = "/run/waagent/disklabel"
LARGEST_SWAP = 524288  # MiB; more than disklabel's templates take


def run(ctx: Context) -> Outcome:
    system, profile = ctx.system, ctx.profile
    if not ctx.config.switch("ResourceDisk.Format"):
        return skipped("ResourceDisk.Format=n")
    filesystem = ctx.config.text("ResourceDisk.Filesystem")
    if filesystem not in ("ufs", "ufs2", "ffs"):
        raise DiskError(f"cannot format the resource disk with {filesystem}: this system makes ufs2; "
                        "set ResourceDisk.Filesystem=ufs2")  # fmt: skip
    disk = bsd_disks.openbsd_disk(system, ctx.config.text("ResourceDisk.Device"))
    if disk is None:
        ctx.publish("resource_disk", None)
        return skipped("this VM size has no resource disk")
    part = f"/dev/{disk}a"
    directory, made = bsd_disks.mounted_on(system, part), False
    there = directory is not None
    if directory is None:
        directory = ctx.config.text("ResourceDisk.MountPoint") or "/mnt/resource"
        system.make_directory(directory)
        mount = profile.command("resource-disk.mount", device=part, directory=directory)
        made = bsd_disks.mount_or_make(
            system, mount, f"/dev/r{disk}c", _making(ctx, disk, directory),
            lambda: bsd_disks.openbsd_makeable(system, disk), ctx.lib,
        )  # fmt: skip
    wrote = loss_notice.wrote(system, directory, ctx.note)
    told = {"owner": "waagent", "device": f"/dev/{disk}", "partition": part, "mount_point": directory,
            "filesystem": "ffs"}  # fmt: skip
    if told != ctx.facts.get("resource_disk"):
        ctx.publish("resource_disk", told)
    if there:
        message = f"{part} is mounted on {directory}"
        return changed(f"{message}; wrote the warning") if wrote else unchanged(message)
    how = f"made ffs on {part} and mounted it" if made else f"mounted {part}"
    return changed(f"{how} on {directory}")


def _making(ctx: Context, disk: str, directory: str) -> tuple[tuple[str, ...], ...]:
    """A table with one partition over all of the disk, a disklabel in it, a file system."""
    size = ctx.config.integer("ResourceDisk.SwapSizeMB") if ctx.config.switch("ResourceDisk.EnableSwap") else 0
    lines = [f"{directory} 1G-* {50 if size else 100}%"]
    if size:
        lines.append(f"swap 1-{min(size, LARGEST_SWAP)}M 50%")
    ctx.system.make_directory("/run/waagent")
    ctx.system.write(TEMPLATE, "".join(f"{line}\n" for line in lines), mode=0o600)
    return (
        ("fdisk", "-yi", disk),
        ("disklabel", "-w", "-A", "-T", TEMPLATE, disk),
        ctx.profile.command("resource-disk.mkfs", device=f"{disk}a"),
    )
