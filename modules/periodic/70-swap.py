"""Have swap space on a disk that was mounted after the boot: one that is encrypted and unlocked late, say.

It is looked at when a mapping has come or gone, and once an hour.

Reads     what the step swap of the stage config reads, and whether it had a place
Changes   <mount point>/swapfile, 0600, in use
Publishes swap.path
Skips     when that step has made it; while nothing is mounted
Fails     as that step does
"""

from __future__ import annotations

from waagent.machine import swap_space
from waagent.module import Context, Module, Outcome, skipped, unchanged

MODULE = Module(
    summary="Make swap space on a disk that came late",
    frequency="always",
    every=300,
    watching=("/sys/block/dm-*/dm/name",),
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
    if ctx.fact("swap.path"):
        return unchanged(f"{ctx.fact('swap.path')} is in use since the boot")
    space = swap_space.have(ctx.system, ctx.config, ctx.fact("resource_disk.mount_point"), ctx.lib)
    if space.path:
        ctx.publish("swap", {"path": space.path})
    return Outcome(space.kind, space.told)
