"""Prepare the temporary disk that the platform attaches to many VM sizes, and mount it.

The disk is scratch space. It survives a reboot and is replaced, empty, when the VM moves to another host; a
replaced disk arrives with one NTFS partition. What it holds is looked at anew at each boot, and data of the owner
is never touched: what has a file system is mounted as it is, and what cannot be told from data is left alone.

It has one owner: this agent, cloud-init where an entry in /etc/fstab says so, or the administrator
(ResourceDisk.Format=n). Whoever it is, where it is mounted is published for the step swap. /etc/fstab is never
written: the disk is found anew at each boot, by what it is and not by its name. While cloud-init may still take the
disk it is not touched; the periodic step resource-disk-late comes back to it.

Reads     ResourceDisk.Format, .Filesystem, .MountPoint, .MountOptions, .Device, .Stripe; /etc/fstab; how far
          cloud-init has come
Changes   the table and the file system of a fresh disk; an array of several fresh NVMe disks; a mount; a warning
          file on the disk
Publishes resource_disk.owner, .device, .partition, .mount_point, .filesystem
Skips     when ResourceDisk.Format=n; when the VM size has no such disk; when cloud-init looks after it, or may yet
Fails     DiskError that says what was found and what to do
"""

from __future__ import annotations

from waagent.machine import scratch_disk
from waagent.module import Context, Module, Outcome, skipped

MODULE = Module(
    summary="Format and mount the resource disk",
    frequency="always",
    reads=("ResourceDisk.*",),
    limit=1200.0,
)


def run(ctx: Context) -> Outcome:
    method = ctx.profile.text("resource-disk.method")
    if method not in ("linux", "openwrt"):
        return skipped(f"disks of this system ({method}) are looked after by a step of its own")
    disk = scratch_disk.have(ctx.system, ctx.config, ctx.profile, ctx.lib, ctx.note)
    if disk.fact is None or disk.fact != ctx.facts.get("resource_disk"):
        ctx.publish("resource_disk", disk.fact)
    return Outcome(disk.kind, disk.told)
