"""Have swap space on the resource disk.

Reads     ResourceDisk.EnableSwap, .SwapSizeMB, .SwapFallback, .Format; the mount that resource-disk made
Changes   <mount point>/swapfile, 0600, of exactly the size asked for, in use. With SwapFallback=os and no resource
          disk: <Lib.Dir>/swapfile
Skips     when EnableSwap=n; without a resource disk and without a fallback
Fails     DiskError: no size, no room, a file system that cannot hold one
"""

from __future__ import annotations

from waagent.machine import mounts, swap
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Make swap space",
    frequency="always",
    reads=(
        "ResourceDisk.EnableSwap",
        "ResourceDisk.SwapSizeMB",
        "ResourceDisk.SwapFallback",
        "ResourceDisk.Format",
    ),
    limit=1800.0,
)


def run(ctx: Context) -> Outcome:
    config = ctx.config
    if not config.switch("ResourceDisk.EnableSwap"):
        return skipped("ResourceDisk.EnableSwap=n")
    if not config.switch("ResourceDisk.Format"):
        return skipped("ResourceDisk.Format=n: the resource disk is not this agent's")
    if ctx.profile.text("resource-disk.swap") != "file":
        return skipped("swap space of this system is looked after by a module of its own")
    directory = ctx.fact("resource_disk.mount_point")
    if directory is not None and mounts.at(ctx.system, directory) is None and not ctx.system.planning:
        return skipped(f"nothing is mounted on {directory}; see the step resource-disk")
    if directory is None:
        if config.text("ResourceDisk.SwapFallback") != "os":
            return skipped("there is no resource disk (ResourceDisk.SwapFallback=os would put it on the OS disk)")
        directory = ctx.lib
    size = config.integer("ResourceDisk.SwapSizeMB")
    path = f"{directory.rstrip('/')}/swapfile"
    if not swap.ensure(ctx.system, path, size * swap.MIB):
        return unchanged(f"{path} is in use, {size} MiB")
    return changed(f"{path} is in use, {size} MiB")
