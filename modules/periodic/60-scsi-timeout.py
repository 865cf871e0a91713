"""Give disks that were added while the machine runs the time limit that the others got at boot.

Reads     OS.RootDeviceScsiTimeout, OS.RootDeviceScsiTimeoutPeriod
Changes   the SCSI time limit of every sd* disk
Skips     when the option is not set
"""

from __future__ import annotations

from waagent.machine import kernel
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Keep the time limit of disk requests",
    frequency="always",
    every="OS.RootDeviceScsiTimeoutPeriod",
    watching=("/sys/block/sd*/device/timeout",),
    reads=("OS.RootDeviceScsiTimeout", "OS.RootDeviceScsiTimeoutPeriod"),
)


def run(ctx: Context) -> Outcome:
    seconds = ctx.config.integer("OS.RootDeviceScsiTimeout")
    if not seconds:
        return skipped("OS.RootDeviceScsiTimeout is not set")
    disks = kernel.set_scsi_timeout(ctx.system, ctx.profile, seconds)
    if not disks:
        return unchanged(f"{seconds} s on every SCSI disk")
    return changed(f"{seconds} s on {', '.join(disks)}")
