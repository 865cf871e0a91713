"""Have swap space on BSD: a file behind a memory disk (FreeBSD), or a partition of the resource disk (OpenBSD).

Reads     ResourceDisk.EnableSwap, .SwapSizeMB, .EnableSwapEncryption; the mount that resource-disk-freebsd or
          resource-disk-openbsd found or made
Changes   FreeBSD: <mount point>/swapfile, 0600, a memory disk over it, encrypted where asked, in use. OpenBSD:
          partition b of the disk, in use
Skips     when EnableSwap=n, or without a resource disk
Fails     DiskError: no size, no room, a program that fails
"""

from __future__ import annotations

from waagent.machine import bsd_swap
from waagent.machine.swap import MIB
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Make swap space",
    frequency="always",
    reads=("ResourceDisk.EnableSwap", "ResourceDisk.SwapSizeMB", "ResourceDisk.EnableSwapEncryption"),
    distros=("freebsd", "openbsd"),
    limit=1800.0,
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("ResourceDisk.EnableSwap"):
        return skipped("ResourceDisk.EnableSwap=n")
    directory = ctx.fact("resource_disk.mount_point")
    if directory is None:
        return skipped("there is no resource disk")
    size = ctx.config.integer("ResourceDisk.SwapSizeMB")
    if ctx.profile.text("resource-disk.swap") == "partition":
        if size <= 0:
            return skipped("ResourceDisk.SwapSizeMB is 0: the disk has no partition for swap space")
        area = f"{ctx.fact('resource_disk.device')}b"
        made = bsd_swap.ensure_partition(ctx.system, area)
        return changed(f"{area} is in use") if made else unchanged(f"{area} is in use")
    path = f"{directory.rstrip('/')}/swapfile"
    encrypted = ctx.config.switch("ResourceDisk.EnableSwapEncryption")
    made = bsd_swap.ensure_file(ctx.system, path, size * MIB, encrypted=encrypted)
    told = f"{path} is in use, {size} MiB{', encrypted' if encrypted else ''}"
    return changed(told) if made else unchanged(told)
