"""Swap space on the resource disk, and where there is none."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from tests.modules.scratch import MOUNT, POINT
from waagent.errors import DiskError
from waagent.machine import mounts

MODULE = "config/20-resource-disk.py"


@pytest.fixture
def swap(ctx, script, put, monkeypatch, disk):
    monkeypatch.setattr(mounts, "free", lambda system, directory: 4 * 1024**3)
    module = load_module("config/25-swap.py")

    def declare(directory: str = POINT) -> None:
        path = f"{directory}/swapfile"

        def grow() -> None:
            with open(ctx.system.path(path), "r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, 100 * 1024 * 1024)

        script.on("dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=100", "conv=notrunc,fsync", effect=grow)
        script.on("mkswap", path)
        script.on("swapon", path, effect=lambda: put("/proc/swaps", f"Filename\n{path} file\n"))

    declare()
    declare("/var/lib/waagent")
    module.declare = declare
    return module


@pytest.mark.row("provisioning", 79)
def test_row_79_swap_is_made_on_the_mounted_disk_once(module, ctx, declared, swap):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    module.run(ctx)
    settle(ctx)
    assert swap.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"
    assert ctx.system.path(f"{POINT}/swapfile").stat().st_size == 104857600
    assert swap.run(ctx).kind == "unchanged"


@pytest.mark.parametrize("conf", ["", "ResourceDisk.EnableSwap=y\nResourceDisk.Format=n"])
def test_swap_that_nobody_asked_for_or_has_no_place_is_not_made(ctx, declared, swap, script, conf):
    declared(conf)
    assert swap.run(ctx).kind == "skipped"
    assert script.ran == []


@pytest.mark.row("field-demands", 121)
def test_row_121_swap_does_not_ask_who_mounted_the_disk(module, ctx, declared, swap, disk, put):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100\nResourceDisk.Format=n")
    put(f"{POINT}/x")
    disk.mounted()
    assert module.run(ctx).kind == "skipped"
    settle(ctx)
    assert swap.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"


@pytest.mark.row("field-demands", 122)
def test_row_122_swap_goes_to_whatever_is_mounted_where_the_disk_should_be(ctx, declared, swap, disk, put):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    put(f"{POINT}/x")
    disk.mounted("/dev/mapper/elsewhere")
    assert swap.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"


@pytest.mark.row("field-demands", 123)
def test_row_123_a_disk_that_is_mounted_late_gets_its_swap_then(module, ctx, declared, swap, disk, put, script):
    late = load_module("periodic/70-swap.py")
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    assert swap.run(ctx).kind == late.run(ctx).kind == "skipped"
    settle(ctx)
    put(f"{POINT}/x")
    disk.mounted("/dev/mapper/resourceencrypt")
    assert late.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"
    settle(ctx)
    script.ran.clear()
    assert late.run(ctx).kind == "unchanged"
    assert script.ran == []


@pytest.mark.row("field-demands", 123)
def test_row_123_swap_that_somebody_switches_off_stays_off_until_the_next_boot(module, ctx, declared, swap, put, script):
    late = load_module("periodic/70-swap.py")
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    module.run(ctx)
    settle(ctx)
    swap.run(ctx)
    settle(ctx)
    put("/proc/swaps", "Filename\n")
    script.ran.clear()
    assert late.run(ctx).message == "/mnt/resource/swapfile has been switched off; it comes back at the next boot"
    assert script.ran == []
    ctx.system.path("/run/waagent/swap").unlink()  # the next boot
    assert swap.run(ctx).kind == "changed"


@pytest.mark.row("field-demands", 123)
def test_row_123_swap_that_went_with_its_disk_is_made_on_the_one_that_is_mounted_instead(
    module, ctx, declared, swap, disk, put, script
):
    """A disk that is encrypted after the boot: swap off, unmounted, and a mapping mounted in its place."""
    late = load_module("periodic/70-swap.py")
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    module.run(ctx)
    settle(ctx)
    swap.run(ctx)
    settle(ctx)
    put("/proc/swaps", "Filename\n")
    ctx.system.path(f"{POINT}/swapfile").unlink()
    disk.mounted("/dev/mapper/resourceencrypt")
    assert late.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"


def test_swap_is_not_put_below_a_mount_point_without_mount(ctx, declared, swap, script):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    ctx.facts["resource_disk"] = {"mount_point": POINT}
    assert swap.run(ctx).kind == "skipped"
    assert script.ran == []


FALLBACK = "ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100\nResourceDisk.SwapFallback=os"


@pytest.mark.row("field-demands", 130)
def test_row_130_without_a_disk_swap_goes_to_the_os_disk_only_where_asked(ctx, declared, swap, script):
    declared(FALLBACK.rpartition("\n")[0])
    assert swap.run(ctx).kind == "skipped"
    declared(FALLBACK)
    assert swap.run(ctx).message == "/var/lib/waagent/swapfile is in use, 100 MiB"


@pytest.mark.row("field-demands", 130)
def test_row_130_the_os_disk_keeps_half_of_its_room(ctx, declared, swap, script, monkeypatch):
    declared(FALLBACK)
    monkeypatch.setattr(mounts, "free", lambda system, directory: 199 * 1024 * 1024)
    with pytest.raises(DiskError, match="199 MiB are free on /var/lib/waagent, of which it may take 50%"):
        swap.run(ctx)
    assert script.ran == []


@pytest.mark.row("field-demands", 130)
def test_row_130_the_os_disk_gets_its_room_back(module, ctx, declared, swap, script, put):
    declared(FALLBACK)
    swap.run(ctx)
    script.on("swapoff", "/var/lib/waagent/swapfile", effect=lambda: put("/proc/swaps", "Filename\n"))
    module.run(ctx)
    settle(ctx)
    assert swap.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"
    assert not ctx.system.exists("/var/lib/waagent/swapfile")


def test_swap_that_has_to_be_encrypted_is_never_made_without(module, ctx, declared, swap, script):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100\nResourceDisk.EnableSwapEncryption=y")
    module.run(ctx)
    settle(ctx)
    script.ran.clear()
    assert swap.run(ctx).message.endswith("there is no cryptsetup: install it")
    assert script.ran == []


@pytest.mark.row("provisioning", 83)
def test_row_83_swap_without_a_size_is_an_error(module, ctx, declared, swap):
    declared("ResourceDisk.EnableSwap=y")
    module.run(ctx)
    settle(ctx)
    with pytest.raises(DiskError, match="SwapSizeMB is 0"):
        swap.run(ctx)


@pytest.mark.row("provisioning", 75)
def test_row_75_a_mount_point_that_is_a_link_is_known_by_its_real_name(module, ctx, script, disk, put, swap, declared):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100")
    put("/srv/scratch/x")
    (ctx.system.path("/mnt")).mkdir(exist_ok=True)
    (ctx.system.path("/mnt") / "resource").symlink_to("../srv/scratch")
    script.on(*MOUNT[:-1], "/srv/scratch", effect=lambda: disk.mounted(point="/srv/scratch"))
    swap.declare("/srv/scratch")
    module.run(ctx)
    assert ctx.published["resource_disk"]["mount_point"] == "/srv/scratch"
    settle(ctx)
    assert swap.run(ctx).message == "/srv/scratch/swapfile is in use, 100 MiB"
    assert swap.run(ctx).kind == "unchanged"
    ctx.facts.pop("resource_disk")
    assert swap.run(ctx).kind == "unchanged"
