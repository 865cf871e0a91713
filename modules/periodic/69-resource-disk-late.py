"""Prepare a resource disk that was not there at the boot, or that cloud-init might have taken then.

Only what the step resource-disk of the stage config waits for: a disk that it has seen is not looked at again
before the next boot, so that nobody who works on it by hand is disturbed.

Reads     what that step reads, and what it waits for
Changes   what that step changes
Publishes resource_disk, as that step does
Skips     when nothing is waited for, while it has not come, and as that step does
Fails     as that step does, once
"""

from __future__ import annotations

from waagent.errors import DiskError
from waagent.machine import scratch_disk, unfinished
from waagent.module import Context, Module, Outcome, skipped

MODULE = Module(
    summary="Format and mount a resource disk that came late",
    frequency="always",
    every=60,
    watching=(
        "/run/waagent/resource-disk-awaited",
        "/dev/disk/azure/resource",
        "/dev/disk/cloud/azure_resource",
        "/sys/block/nvme*/device/model",
        "/run/cloud-init/status.json",
    ),
    reads=("ResourceDisk.*",),
    limit=1200.0,
)


def run(ctx: Context) -> Outcome:
    if ctx.profile.text("resource-disk.method") not in ("linux", "openwrt"):
        return skipped("disks of this system are looked after at the boot alone")
    unfinished.settle(ctx.system.quietly(), ctx.lib)
    if not scratch_disk.awaited(ctx.system):
        return skipped("there was a resource disk at the boot, or none is wanted")
    try:
        disk = scratch_disk.have(ctx.system, ctx.config, ctx.profile, ctx.lib, ctx.note)
    except DiskError:
        if reason := scratch_disk.awaited(ctx.system):  # the disk that the administrator names is still not there
            return skipped(reason)
        raise
    if disk.fact != ctx.facts.get("resource_disk"):
        ctx.publish("resource_disk", disk.fact)
    return Outcome(disk.kind, disk.told)
