"""Have swap space on a disk that was mounted after the boot: one that is encrypted and unlocked late, say.

It is looked at when a mapping has come or gone, or a disk that was waited for has come, and once an hour. A file
that has gone with its disk is made anew where the disk is mounted now. One that is still there and out of use was
switched off by somebody: it stays so until the next boot.

Reads     what the step swap of the stage config reads, and what it has in use
Changes   <mount point>/swapfile, 0600, in use
Publishes swap.path
Skips     while nothing is mounted, and when somebody has switched it off
Fails     as that step does
"""

from __future__ import annotations

from waagent.machine import swap, swap_space
from waagent.module import Context, Module, Outcome, skipped, unchanged

MODULE = Module(
    summary="Make swap space on a disk that came late",
    frequency="always",
    every=300,
    watching=("/sys/block/dm-*/dm/name", "/run/waagent/resource-disk-awaited"),
    reads=(
        "ResourceDisk.EnableSwap",
        "ResourceDisk.SwapSizeMB",
        "ResourceDisk.SwapFallback",
        "ResourceDisk.EnableSwapEncryption",
        "ResourceDisk.MountPoint",
    ),
    limit=1800.0,
)


def run(ctx: Context) -> Outcome:
    if ctx.profile.text("resource-disk.swap") != "file":
        return skipped("swap space of this system is looked after by a step of its own")
    now = swap_space.used(ctx.system)
    if now and swap.in_use(ctx.system, now):
        return unchanged(f"{now} is in use since the boot")
    if off := swap_space.switched_off(ctx.system):
        return skipped(f"{off} has been switched off; it comes back at the next boot")
    space = swap_space.have(ctx.system, ctx.config, ctx.fact("resource_disk.mount_point"), ctx.lib)
    if space.path:
        ctx.publish("swap", {"path": space.path})
    return Outcome(space.kind, space.told)
