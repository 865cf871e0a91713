"""Prepare the temporary disk on FreeBSD, and mount it.

A partition that cannot be mounted as UFS is formatted when it is blank or has the platform's NTFS, whose root
directory is read: with files of an owner it is left, as is whatever else is there, and a disk that is in use.

Reads     ResourceDisk.Format, .Filesystem, .MountPoint, .Device
Changes   the file system of a fresh disk; a mount; a warning file on the disk
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
    reads=("ResourceDisk.Format", "ResourceDisk.Filesystem", "ResourceDisk.MountPoint", "ResourceDisk.Device"),
    distros=("freebsd",),
    limit=1200.0,
)


def run(ctx: Context) -> Outcome:
    system, profile = ctx.system, ctx.profile
    if profile.text("resource-disk.method") != "freebsd":
        return skipped("this system leaves disks alone")
    if not ctx.config.switch("ResourceDisk.Format"):
        return skipped("ResourceDisk.Format=n")
    filesystem = ctx.config.text("ResourceDisk.Filesystem")
    if filesystem != "ufs":
        raise DiskError(f"cannot format the resource disk with {filesystem}: this system makes ufs; "
                        "set ResourceDisk.Filesystem=ufs")  # fmt: skip
    disk = bsd_disks.freebsd_disk(system, ctx.config.text("ResourceDisk.Device"))
    if disk is None:
        ctx.publish("resource_disk", None)
        return skipped("this VM size has no resource disk")
    part = f"/dev/{bsd_disks.freebsd_partition(system, disk)}"
    directory, made = bsd_disks.mounted_on(system, part), False
    there = directory is not None
    if directory is None:
        directory = ctx.config.text("ResourceDisk.MountPoint") or "/mnt/resource"
        system.make_directory(directory)
        mount = profile.command("resource-disk.mount", device=part, directory=directory)
        newfs = profile.command("resource-disk.mkfs", device=part)
        made = bsd_disks.mount_or_make(
            system, mount, part, (newfs,), lambda: bsd_disks.freebsd_makeable(system, disk, part), ctx.lib
        )
    wrote = loss_notice.wrote(system, directory, ctx.note)
    told = {"owner": "waagent", "device": f"/dev/{disk}", "partition": part, "mount_point": directory,
            "filesystem": "ufs"}  # fmt: skip
    if told != ctx.facts.get("resource_disk"):
        ctx.publish("resource_disk", told)
    if there:
        message = f"{part} is mounted on {directory}"
        return changed(f"{message}; wrote the warning") if wrote else unchanged(message)
    how = f"made ufs on {part} and mounted it" if made else f"mounted {part}"
    return changed(f"{how} on {directory}")
