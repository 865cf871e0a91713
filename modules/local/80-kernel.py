"""Give disks the time that the platform may need to answer; keep an old kernel from virtual NUMA.

At each boot, before anything mounts data disks; disks that are added later are found by the periodic step
scsi-timeout. Kernels up to 2.6.37 do not come up on a VM with several virtual NUMA nodes: the boot loader is told
to give them numa=off.

Reads     OS.RootDeviceScsiTimeout; the kernel's release
Changes   the SCSI time limit of every sd* disk; with an old kernel the configuration of the boot loader
Skips     when the option is not set and the kernel is none of the old ones
Fails     MachineError when the boot loader of an old kernel is none that is known, or cannot be told
"""

from __future__ import annotations

from waagent.machine import boot_loader, kernel
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Set the time limit of disk requests, and what old kernels need",
    frequency="always",
    reads=("OS.RootDeviceScsiTimeout",),
)


def run(ctx: Context) -> Outcome:
    seconds = ctx.config.integer("OS.RootDeviceScsiTimeout")
    disks = kernel.set_scsi_timeout(ctx.system, ctx.profile, seconds) if seconds else []
    done = [f"{seconds} s on {', '.join(disks)}"] if disks else []
    if kernel.stumbles_over_numa(ctx.system):
        files = boot_loader.add(ctx.system, ctx.profile, ctx.lib, (kernel.NUMA_OFF,), "numa=off")
        done += [f"{kernel.NUMA_OFF} in {', '.join(files)} from the next boot on"] if files else []
    if done:
        return changed("; ".join(done))
    if not seconds:
        return skipped("OS.RootDeviceScsiTimeout is not set")
    return unchanged(f"{seconds} s on every SCSI disk")
