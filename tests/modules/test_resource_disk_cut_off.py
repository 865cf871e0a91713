"""A power cut while the resource disk is prepared, and what is not one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.modules.conftest import load_module, settle
from tests.modules.scratch import (
    BOOT,
    EXT4,
    MKFS,
    MOUNT,
    NEW_ID,
    NTFS,
    POINT,
    RECORD,
    RETYPE,
    TABLE,
    UNKNOWN,
    did,
    ext4,
)
from tests.ntfs_volume import volume
from waagent.errors import DiskError

MODULE = "config/20-resource-disk.py"


class PowerCut(BaseException):
    """Nothing of the agent runs any more."""


NAMED = ("mkfs.ext4", "-F", "-Uid-of-ours", "/dev/sdb1")
OURS = EXT4 + "UUID=id-of-ours\n"
BAD = {"status": 32, "stderr": "mount: bad superblock"}


@pytest.fixture
def cut(module, ctx, script, disk, put):
    """The power goes while this program runs, and leaves what `leaves` does; the machine has booted again."""

    def run(program: tuple[str, ...], leaves: Callable[[], object] = lambda: None, boot: str = "boot 2") -> None:
        def strike() -> None:
            leaves()
            raise PowerCut

        put(NEW_ID, "id-of-ours\n")
        script.on(*NAMED, effect=lambda: disk(OURS))
        script.on(*program, effect=strike)
        with pytest.raises(PowerCut):
            module.run(ctx)
        settle(ctx)
        put(BOOT, boot)
        script.ran.clear()
        script.on(*NAMED, effect=lambda: disk(OURS))
        script.on(*TABLE, effect=lambda: disk(UNKNOWN))

    return run


@pytest.fixture
def blank(ctx, script, disk):
    (ctx.system.path("/sys/block/sdb/sdb1") / "size").unlink()
    ctx.system.path("/sys/block/sdb/sdb1").rmdir()
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", status=2)


def table_without_partition(script, put):
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout="PTTYPE=dos\n")
    put("/dev/sdb", b"\0" * 510 + b"\x55\xaa")


def test_cut_off_within_the_table_it_is_made_anew(module, ctx, script, put, cut, blank):
    cut(TABLE, lambda: table_without_partition(script, put))
    assert module.run(ctx).message.startswith("made ext4")
    assert did(script, *TABLE)


def test_cut_off_within_the_table_what_somebody_has_done_since_is_left(module, ctx, script, put, cut, blank):
    cut(TABLE, lambda: table_without_partition(script, put))
    put("/dev/sdb", b"\0" * 1024 * 1024 + b"what an owner wrote")
    with pytest.raises(DiskError, match="data of its owner may be there"):
        module.run(ctx)
    assert not ctx.system.exists(RECORD)


def test_cut_off_within_the_table_another_disk_is_left(module, ctx, script, put, cut, blank):
    cut(TABLE, lambda: table_without_partition(script, put))
    put("/sys/block/sdb/device/wwid", "naa.60022481\n")
    with pytest.raises(DiskError, match="data of its owner may be there"):
        module.run(ctx)


def test_cut_off_between_table_and_file_system_it_goes_on(module, ctx, script, disk, cut, blank):
    cut(TABLE, lambda: disk(UNKNOWN))
    assert module.run(ctx).message.startswith("made ext4")
    assert not did(script, *TABLE) and not ctx.system.exists(RECORD)


def test_cut_off_within_mkfs_what_nobody_knows_is_formatted(module, ctx, script, disk, cut):
    cut(NAMED, lambda: disk(UNKNOWN))
    assert module.run(ctx).message.startswith("made ext4")


def test_an_agent_that_was_killed_is_no_power_cut(module, ctx, script, disk, cut):
    cut(NAMED, lambda: disk(UNKNOWN), boot="boot 1")
    with pytest.raises(DiskError, match="holds something blkid does not know"):
        module.run(ctx)
    assert not ctx.system.exists(RECORD)


def test_what_a_killed_agent_left_is_withdrawn_before_the_boot_ends(module, ctx, put, disk, cut):
    late = load_module("periodic/69-resource-disk-late.py")
    cut(NAMED, lambda: disk(UNKNOWN), boot="boot 1")
    assert ctx.system.exists(RECORD)
    assert late.run(ctx).kind == "skipped"
    assert not ctx.system.exists(RECORD)


@pytest.mark.parametrize("boot", ["boot 1", "boot 2"])
def test_what_a_failed_program_left_is_kept_for_the_next_boot_and_no_longer(module, ctx, script, put, disk, boot):
    late = load_module("periodic/69-resource-disk-late.py")
    script.on(*MKFS, status=1, stderr="mkfs.ext4: Input/output error", effect=lambda: disk(UNKNOWN, content=b"half"))
    with pytest.raises(DiskError, match=r"Input/output error"):
        module.run(ctx)
    put(BOOT, boot)
    late.run(ctx)
    assert ctx.system.exists(RECORD) == (boot == "boot 1")


def busy(ctx, declared, disk, put):
    disk.mounted("/dev/sdc1")
    return lambda: put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")


def switched_off(ctx, declared, disk, put):
    declared("ResourceDisk.Format=n")
    return declared


def no_disk(ctx, declared, disk, put):
    place = "/sys/bus/vmbus/devices/x/device_id"
    there = ctx.system.read_text(place)
    put(place, "{}\n")
    return lambda: put(place, there)


def wrong_name(ctx, declared, disk, put):
    declared("ResourceDisk.Device=/dev/nonsense")
    return declared


def of_cloud_init(ctx, declared, disk, put):
    put("/etc/fstab", "/dev/sdb1 /mnt auto defaults,nofail,comment=cloudconfig 0 2\n")
    return lambda: put("/etc/fstab")


def cloud_init_pending(ctx, declared, disk, put):
    put("/run/cloud-init/status.json", '{"v1": {"init": {"start": 1, "finished": null}}}')
    return ctx.system.path("/run/cloud-init/status.json").unlink


@pytest.mark.parametrize(
    "hindrance", [busy, switched_off, no_disk, wrong_name, of_cloud_init, cloud_init_pending, None],
    ids=lambda hindrance: hindrance.__name__ if hindrance else "no_agent",
)  # fmt: skip
@pytest.mark.parametrize("holds", [UNKNOWN, OURS], ids=["raw", "ours"])
def test_a_boot_in_which_the_disk_is_left_alone_ends_the_record(
    module, ctx, declared, script, disk, cut, put, hindrance, holds
):
    """The owner has the disk meanwhile: raw data, or the file system that mkfs had finished and that needs fsck."""
    cut(NAMED, lambda: disk(UNKNOWN))
    if hindrance is not None:
        end = hindrance(ctx, declared, disk, put)
        try:
            assert module.run(ctx).kind == "skipped"
        except DiskError as error:
            assert "is mounted there" in error.message or "nonsense" in error.message
        assert not ctx.system.exists(RECORD) and not did(script, *NAMED)
        end()
        settle(ctx)
    else:  # a boot without the agent
        record = json.loads(ctx.system.read(RECORD))
        put(RECORD, json.dumps({**record, "began": record["began"] - 3700}))
    disk(holds, content=b"the owner's raw data" * 100_000)
    script.on(*MOUNT, **BAD)
    put(BOOT, "boot 3")
    with pytest.raises(DiskError, match="holds something blkid does not know" if holds == UNKNOWN else "bad superblock"):
        module.run(ctx)
    assert not did(script, *NAMED)


@pytest.mark.parametrize(
    "record", ["", "{", "[]", '{"disk": 1}', '{"disk": "naa.60022480 41943040"}', '{"formatting": "12-01"}',
               '{"disk": "naa.60022480 41943040", "partition": "12-01", "began": 1.0, "volumes": "12"}']
)  # fmt: skip
def test_a_record_that_says_nothing_clear_counts_for_nothing(module, ctx, script, disk, put, record):
    put(RECORD, record)
    disk(UNKNOWN)
    with pytest.raises(DiskError, match="holds something blkid does not know"):
        module.run(ctx)
    assert not did(script, *MKFS)


def test_cut_off_within_mkfs_another_partition_is_left(module, ctx, script, disk, cut):
    cut(NAMED, lambda: disk("PART_ENTRY_UUID=99-01\n"))
    with pytest.raises(DiskError, match="holds something blkid does not know"):
        module.run(ctx)


def test_cut_off_within_mkfs_half_a_file_system_is_made_anew(module, ctx, script, disk, cut):
    cut(NAMED, lambda: disk(OURS, content=ext4()))
    assert module.run(ctx).message.startswith("made ext4")
    assert not ctx.system.exists(RECORD)


@pytest.mark.parametrize("content", [ext4(mounted=1), ext4(checked=1), b"x" * 4096, b""])
@pytest.mark.parametrize("can", [True, False])
def test_cut_off_within_mkfs_what_may_have_been_used_since_is_never_made_anew(
    module, ctx, script, disk, cut, content, can
):
    """It was finished, somebody mounted it by hand, and maybe it needs fsck by now."""
    cut(NAMED, lambda: disk(OURS, content=content))
    if can:
        assert module.run(ctx).message == "mounted /dev/sdb1 (ext4) on /mnt/resource"
    else:
        script.on(*MOUNT, **BAD)
        with pytest.raises(DiskError, match="bad superblock; it is left as it is"):
            module.run(ctx)
    assert not did(script, *NAMED) and not ctx.system.exists(RECORD)


def test_cut_off_within_mkfs_a_file_system_of_somebody_else_is_never_made_anew(module, ctx, script, disk, cut):
    cut(NAMED, lambda: disk(EXT4 + "UUID=of-the-owner\n"))
    script.on(*MOUNT, status=32, stderr="mount: bad superblock")
    with pytest.raises(DiskError, match="bad superblock"):
        module.run(ctx)
    assert not did(script, *NAMED)


def test_cut_off_before_mkfs_ntfs_with_files_is_left(module, ctx, script, disk, cut, put):
    cut(RETYPE)
    put("/dev/sdb1", volume(["thesis.doc"]))
    with pytest.raises(DiskError, match="is NTFS and has files"):
        module.run(ctx)


@pytest.mark.parametrize(("identity", "goes_on"), [("1A51E5D3", True), ("OF-OTHERS", False)])
def test_cut_off_within_mkfs_the_rest_of_the_same_ntfs_is_formatted(module, ctx, script, disk, cut, put, identity, goes_on):
    cut(NAMED)
    disk(NTFS.replace("1A51E5D3", identity))
    put("/dev/sdb1", volume()[:4096])
    if goes_on:
        assert module.run(ctx).message.startswith("made ext4")
    else:
        with pytest.raises(DiskError, match="its NTFS is damaged"):
            module.run(ctx)


def test_wrong_mount_options_at_the_first_boot_never_cost_a_file(module, ctx, declared, script, disk, put):
    """mkfs has done its work, mount fails; the owner mounts it by hand, and the next boots fail in the same way."""
    declared("ResourceDisk.MountOptions=nonsense")
    script.on("mount", "-o", "nonsense", *MOUNT[1:], status=32, stderr="mount: bad option")
    with pytest.raises(DiskError, match="bad option"):
        module.run(ctx)
    assert did(script, *MKFS) and not ctx.system.exists(RECORD)
    script.ran.clear()
    put(BOOT, "boot 2")
    with pytest.raises(DiskError, match="bad option"):
        module.run(ctx)
    assert not did(script, *MKFS)


def test_a_disk_that_is_mounted_is_not_unfinished(module, ctx, disk, put, cut):
    cut(NAMED, lambda: disk(OURS))
    put(f"{POINT}/x")
    disk.mounted()
    module.run(ctx)
    assert not ctx.system.exists(RECORD)


def test_a_program_that_has_not_written_leaves_nothing_unfinished(module, ctx, script, put, blank):
    script.on(*TABLE, status=1, stderr="sfdisk: This disk is currently in use - repartitioning is probably a bad idea.")
    with pytest.raises(DiskError, match="currently in use"):
        module.run(ctx)
    assert not ctx.system.exists(RECORD)


def test_without_a_program_for_tables_nothing_is_unfinished(module, ctx, blank):
    (ctx.system.path("/usr/bin") / "sfdisk").unlink()
    with pytest.raises(DiskError, match="neither sfdisk nor parted"):
        module.run(ctx)
    assert not ctx.system.exists(RECORD)


@pytest.mark.parametrize("touched", [False, True])
def test_what_a_failed_mkfs_has_left_is_tried_again_as_long_as_nobody_touches_it(
    module, ctx, script, disk, put, touched
):
    script.on(*MKFS, status=1, stderr="mkfs.ext4: Input/output error", effect=lambda: disk(UNKNOWN, content=b"half"))
    with pytest.raises(DiskError, match=r"Input/output error.*; the next boot tries again"):
        module.run(ctx)
    script.ran.clear()
    script.on(*MKFS, effect=lambda: disk(EXT4))
    if touched:
        put("/dev/sdb1", b"what an owner wrote")
        with pytest.raises(DiskError, match="data of its owner may be there"):
            module.run(ctx)
        assert not did(script, *MKFS)
    else:
        assert module.run(ctx).message.startswith("made ext4")
