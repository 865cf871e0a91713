"""Have swap space, as a rule on the resource disk.

Who mounted the resource disk does not matter: this agent, cloud-init, the administrator. A disk that is mounted
after this step has run gets its swap space by the periodic step of the same name.

Reads     ResourceDisk.EnableSwap, .SwapSizeMB, .SwapFallback, .EnableSwapEncryption, .MountPoint; the mount that
          the step resource-disk found or made
Changes   <mount point>/swapfile, 0600, of exactly the size asked for, in use, directly or through an encrypted
          mapping. With SwapFallback=os and no resource disk: <Lib.Dir>/swapfile, of which nothing stays when there
          is a resource disk again
Publishes swap.path
Skips     when EnableSwap=n; without a resource disk and without a fallback; when it is to be encrypted and there is
          no cryptsetup
Fails     DiskError: no size, no room, a file system that cannot hold one
"""

from __future__ import annotations

from waagent.machine import swap_space
from waagent.module import Context, Module, Outcome, skipped

MODULE = Module(
    summary="Make swap space",
    frequency="always",
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
    space = swap_space.have(ctx.system, ctx.config, ctx.fact("resource_disk.mount_point"), ctx.lib)
    if (space.path or None) != ctx.fact("swap.path"):
        ctx.publish("swap", {"path": space.path} if space.path else None)
    return Outcome(space.kind, space.told)
