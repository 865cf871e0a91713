"""A power cut while the resource disk is prepared, and what is not one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.modules.conftest import load_module, settle
from tests.modules.scratch import BOOT, EXT4, MKFS, MOUNT, NEW_ID, NTFS, POINT, RECORD, RETYPE, TABLE, UNKNOWN, did
from tests.ntfs_volume import volume
from waagent.errors import DiskError

MODULE = "config/20-resource-disk.py"


class PowerCut(BaseException):
    """Nothing of the agent runs any more."""


NAMED = ("mkfs.ext4", "-F", "-Uid-of-ours", "/dev/sdb1")
OURS = EXT4 + "UUID=id-of-ours\n"
LOOK = ("mount", "-o", "ro,nosuid,nodev,noexec", "-t", "ext4", "/dev/sdb1", "/run/waagent/resource-disk")


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


def test_what_a_killed_agent_left_is_withdrawn_before_the_boot_ends(module, ctx, put, disk, cut, monkeypatch):
    late = load_module("periodic/69-resource-disk-late.py")
    cut(NAMED, lambda: disk(UNKNOWN), boot="boot 1")
    began = json.loads(ctx.system.read(RECORD))["began"]
    for later, there in ((60.0, True), (1600.0, False)):
        monkeypatch.setattr(type(ctx.system.clock), "boot", lambda self, later=later: began + later)
        assert late.run(ctx).kind == "skipped"
        assert ctx.system.exists(RECORD) == there


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
    cut(NAMED, lambda: disk(OURS))
    script.on(*LOOK, status=32, stderr="mount: bad superblock")
    assert module.run(ctx).message.startswith("made ext4")


def test_cut_off_within_mkfs_what_can_be_mounted_and_is_empty_is_made_anew(module, ctx, script, disk, cut, put):
    cut(NAMED, lambda: disk(OURS))
    script.on(*LOOK, effect=lambda: put("/run/waagent/resource-disk/lost+found/.keep"))
    script.on("umount", "/run/waagent/resource-disk")
    assert module.run(ctx).message.startswith("made ext4")
    assert script.ran.index(LOOK) < script.ran.index(("umount", LOOK[-1])) < script.ran.index(NAMED)


def test_cut_off_within_mkfs_what_has_files_since_is_kept(module, ctx, script, disk, cut, put):
    """Somebody mounted it by hand and used it."""
    cut(NAMED, lambda: disk(OURS))
    script.on(*LOOK, effect=lambda: put("/run/waagent/resource-disk/orders"))
    script.on("umount", "/run/waagent/resource-disk")
    assert module.run(ctx).message == "mounted /dev/sdb1 (ext4) on /mnt/resource"
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


def test_a_look_that_was_left_mounted_is_undone(module, ctx, script, disk, put):
    put("/run/waagent/resource-disk/.keep")
    disk.mounted(point="/run/waagent/resource-disk")
    script.on("umount", "/run/waagent/resource-disk", effect=lambda: put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n"))
    disk(EXT4)
    assert module.run(ctx).message == "mounted /dev/sdb1 (ext4) on /mnt/resource"
    script.on("umount", "/run/waagent/resource-disk", status=32, stderr="umount: target is busy.")
    disk.mounted(point="/run/waagent/resource-disk")
    with pytest.raises(DiskError, match="target is busy"):
        module.run(ctx)
