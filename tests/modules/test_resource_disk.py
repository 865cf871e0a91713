"""The resource disk, from what is found on it to what is mounted."""

from __future__ import annotations

import json
import os

import pytest

from tests.modules.conftest import load_module, settle
from tests.modules.scratch import EXT4, MKFS, MOUNT, NTFS, POINT, RECORD, RETYPE, TABLE, UNKNOWN, did
from tests.ntfs_volume import volume
from waagent.errors import DiskError
from waagent.machine import disks, scratch_disk

MODULE = "config/20-resource-disk.py"


@pytest.mark.row("provisioning", 71)
def test_row_71_the_platforms_fresh_disk_is_made_ours(module, ctx, script, disk):
    outcome = module.run(ctx)
    assert outcome.message == "made ext4 on /dev/sdb1 and mounted it on /mnt/resource"
    acted = [argv for argv in script.ran if argv[0] in ("sfdisk", "mkfs.ext4", "mount")]
    assert acted == [RETYPE, MKFS, MOUNT]
    warning = ctx.system.path(f"{POINT}/DATALOSS_WARNING_README.txt").read_text()
    assert "can be lost at any time" in warning
    assert ctx.published["resource_disk"] == {
        "owner": "waagent", "device": "/dev/sdb", "partition": "/dev/sdb1", "mount_point": POINT, "filesystem": "ext4",
    }  # fmt: skip
    assert not ctx.system.exists(RECORD)


def test_a_second_boot_with_it_mounted_changes_nothing(module, ctx, disk):
    module.run(ctx)
    settle(ctx)
    assert module.run(ctx).kind == "unchanged"
    assert ctx.system.effects == [] and ctx.published == {}


@pytest.mark.row("provisioning", 72)
def test_row_72_the_platforms_layout_of_a_large_disk_becomes_one_partition(module, ctx, script, disk, put):
    disk("", "gpt", bytes(4096))
    put("/sys/block/sdb/sdb1/size", "32768")
    put("/sys/block/sdb/sdb2/size", "41908224")
    put("/dev/sdb2", volume())
    script.on("blkid", "-p", "-o", "export", "/dev/sdb1", stdout=f"PART_ENTRY_TYPE={disks.MICROSOFT_RESERVED}\n")
    script.on("blkid", "-p", "-o", "export", "/dev/sdb2", stdout="TYPE=ntfs\nPART_ENTRY_TYPE=ebd0a0a2\n")
    assert module.run(ctx).kind == "changed"
    assert did(script, *TABLE) and did(script, *MKFS)


@pytest.mark.row("provisioning", 73)
def test_row_73_a_file_system_with_files_is_mounted_as_it_is(module, ctx, script, disk):
    disk(EXT4)
    assert module.run(ctx).message == "mounted /dev/sdb1 (ext4) on /mnt/resource"
    assert not did(script, *MKFS) and not did(script, *RETYPE)


@pytest.mark.row("provisioning", 74)
def test_row_74_bad_mount_options_never_format(module, ctx, declared, script, disk):
    declared("ResourceDisk.MountOptions=nonsense")
    disk(EXT4)
    script.on("mount", "-o", "nonsense", *MOUNT[1:], status=32, stderr="mount: bad option; for details see dmesg")
    with pytest.raises(DiskError, match=r"with options nonsense: mount: bad option.*it is left as it is"):
        module.run(ctx)
    assert not did(script, *MKFS)


@pytest.mark.row("field-demands", 60)
@pytest.mark.row("provisioning", 75)
def test_row_75_a_disk_mounted_elsewhere_is_used_there(module, ctx, script, disk, put):
    put("/scratch/x")
    disk.mounted(point="/scratch")
    module.run(ctx)
    assert ctx.published["resource_disk"]["mount_point"] == "/scratch"
    assert ctx.system.exists("/scratch/DATALOSS_WARNING_README.txt")
    assert not did(script, *MOUNT)


@pytest.mark.row("provisioning", 76)
def test_row_76_a_missing_mkfs_destroys_nothing(module, ctx, declared, script, disk):
    declared("ResourceDisk.Filesystem=xfs")
    with pytest.raises(DiskError, match=r"there is no mkfs\.xfs"):
        module.run(ctx)
    assert not did(script, *RETYPE)


@pytest.mark.row("provisioning", 77)
def test_row_77_a_file_at_the_mount_point_is_told(module, ctx, script, disk, put):
    put(POINT)
    with pytest.raises(DiskError, match="it is a file"):
        module.run(ctx)
    assert not did(script, *MKFS)


@pytest.mark.parametrize("point", ["/etc", "/var/", "/usr/../dev", "/lib"])
def test_nothing_is_mounted_on_what_the_system_needs(module, ctx, declared, script, disk, point):
    (ctx.system.path("/") / "lib").symlink_to("usr")
    declared(f"ResourceDisk.MountPoint={point}")
    with pytest.raises(DiskError, match="the system needs what is in it"):
        module.run(ctx)
    assert not did(script, *MKFS)


def test_another_file_system_at_the_mount_point_is_told(module, ctx, script, disk):
    disk.mounted("/dev/sdc1")
    with pytest.raises(DiskError, match="/dev/sdc1 is mounted there"):
        module.run(ctx)
    assert not did(script, *MKFS)


@pytest.mark.row("provisioning", 78)
def test_row_78_a_blank_disk_gets_a_table_and_a_file_system(module, ctx, script, disk, put):
    (ctx.system.path("/sys/block/sdb/sdb1") / "size").unlink()
    ctx.system.path("/sys/block/sdb/sdb1").rmdir()
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", status=2)
    assert module.run(ctx).kind == "changed"
    assert script.inputs[script.ran.index(TABLE)] == b"label: dos\ntype=83\n"
    assert did(script, *MKFS)


@pytest.mark.row("provisioning", 70)
@pytest.mark.row("field-demands", 120)
def test_row_70_a_size_without_one_is_skipped(module, ctx):
    ctx.facts["resource_disk"] = {"mount_point": POINT}
    assert module.run(ctx).message == "this VM size has no resource disk"
    settle(ctx)
    assert ctx.fact("resource_disk.mount_point") is None


@pytest.mark.row("field-demands", 129)
def test_row_129_what_the_admin_switches_off_is_not_touched(module, ctx, declared, script, disk):
    declared("ResourceDisk.Format=n\nResourceDisk.Device=/dev/nonsense")
    assert module.run(ctx).message == "ResourceDisk.Format=n"
    declared("ResourceDisk.Format=n")
    assert module.run(ctx).message == "ResourceDisk.Format=n"
    assert ctx.published["resource_disk"] == {"owner": "administrator", "device": "/dev/sdb"}
    assert script.ran == [] and ctx.system.effects == []


@pytest.mark.row("field-demands", 126)
@pytest.mark.parametrize("named", ["/dev/disk/cloud/azure_resource-part1", "/dev/sdb1"])
def test_row_126_one_owner_cloud_inits_disk_is_left_to_it(module, ctx, script, disk, put, named):
    put("/etc/fstab", f"# made by\n{named} /mnt auto defaults,nofail,comment=cloudconfig 0 2\n")
    assert module.run(ctx).message == "cloud-init looks after the resource disk (it is in /etc/fstab)"
    disk.mounted(point="/mnt")
    module.run(ctx)
    assert ctx.published["resource_disk"]["owner"] == "cloud-init"
    assert ctx.published["resource_disk"]["mount_point"] == "/mnt"
    assert script.ran == [] and ctx.system.effects == []


@pytest.mark.row("field-demands", 126)
def test_row_126_an_entry_of_cloud_init_for_another_disk_does_not_count(module, ctx, disk, put):
    put("/etc/fstab", "/dev/sdc1 /data auto defaults,nofail,comment=cloudconfig 0 2\n")
    assert module.run(ctx).kind == "changed"
    assert ctx.published["resource_disk"]["owner"] == "waagent"


@pytest.mark.row("field-demands", 128)
@pytest.mark.parametrize(
    ("entry", "told"),
    [("/dev/sdb1 /mnt/resource auto defaults,nofail 0 2", True),
     ("/dev/disk/azure/resource-part1 /mnt/resource auto defaults 0 2", True),
     ("/dev/disk/azure/resource-part1 /mnt/resource auto defaults,nofail 0 2", False)],
)  # fmt: skip
def test_row_128_an_entry_by_a_name_that_changes_is_told_and_left(module, ctx, disk, put, entry, told):
    file = put("/etc/fstab", f"{entry}\n")
    assert module.run(ctx).kind == "changed"
    assert any("/dev/disk/azure/resource-part1 with the option nofail is safe" in note for note in ctx.notes) == told
    assert file.read_text() == f"{entry}\n"


@pytest.mark.row("field-demands", 122)
def test_row_122_a_mapping_over_the_disk_that_is_mounted_is_used_as_it_is(module, ctx, script, disk, put):
    """A disk that somebody encrypted: dm-0 on its partition is mounted."""
    disk("TYPE=crypto_LUKS\n")
    put("/sys/block/sdb/sdb1/holders/dm-0")
    put("/dev/dm-0")
    put(f"{POINT}/x")
    (ctx.system.path("/dev") / "mapper").mkdir()
    (ctx.system.path("/dev/mapper") / "resourceencrypt").symlink_to("../dm-0")
    disk.mounted("/dev/mapper/resourceencrypt")
    assert module.run(ctx).kind == "changed"  # the warning
    assert ctx.published["resource_disk"]["partition"] == "/dev/mapper/resourceencrypt"
    assert script.ran == []


def test_a_disk_that_goes_while_it_is_formatted_is_told(module, ctx, script, disk):
    script.on(*MKFS, status=1, stderr="mkfs.ext4: Input/output error", effect=ctx.system.path("/dev/sdb1").unlink)
    with pytest.raises(DiskError, match=r"Input/output error.*; /dev/sdb1 has gone meanwhile"):
        module.run(ctx)
    assert not did(script, *MOUNT)


SETTLE = ("udevadm", "settle", "--timeout=15")


def test_mkfs_waits_until_udev_has_seen_the_partition(module, ctx, script, disk, program):
    program("udevadm")
    script.on(*SETTLE, status=1)  # udev that is busy elsewhere stops nobody
    assert module.run(ctx).kind == "changed"
    assert script.ran.index(SETTLE) == script.ran.index(MKFS) - 1


def test_what_is_written_to_the_disk_after_the_look_is_not_formatted_over(module, ctx, script, disk, put, program):
    program("udevadm")
    script.on(*SETTLE, effect=lambda: put("/dev/sdb1", b"of somebody who was faster"))
    with pytest.raises(DiskError, match="somebody has written to /dev/sdb1 since it was looked at; it is left"):
        module.run(ctx)
    assert not did(script, *MKFS)
    assert not ctx.system.exists(RECORD)  # it would have the next boot go on


def test_the_disk_is_held_while_it_is_looked_at_and_formatted(module, ctx, script, disk):
    """So that the kernel gives its name to no other disk."""
    held = []
    real = ctx.system.path("/dev/sdb")

    def look() -> None:
        held.append(any(os.path.realpath(f"/proc/self/fd/{name}") == str(real) for name in os.listdir("/proc/self/fd")))

    script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout="PTTYPE=dos\n", effect=look)
    script.on(*MKFS, effect=lambda: (look(), disk(EXT4)))
    module.run(ctx)
    look()
    assert held == [True, True, False]


@pytest.mark.parametrize("listed", [None, ""])
def test_where_the_kernel_does_not_tell_what_is_mounted_nothing_is_touched(module, ctx, script, disk, put, listed):
    ctx.system.path("/proc/self/mounts").unlink()
    if listed is not None:
        put("/proc/self/mounts", listed)
    with pytest.raises(DiskError, match="does not tell what is mounted; it is left"):
        module.run(ctx)
    assert script.ran == []


def test_a_directory_with_files_is_mounted_over_and_told(module, ctx, disk, put):
    put(f"{POINT}/notes.txt")
    assert module.run(ctx).kind == "changed"
    assert any("/mnt/resource is not empty" in note for note in ctx.notes)


@pytest.mark.row("provisioning", 84)
@pytest.mark.parametrize("filesystem", ["xfs", "btrfs", "ext3"])
def test_row_84_any_file_system_with_an_mkfs_is_made(module, ctx, declared, script, disk, program, filesystem):
    declared(f"ResourceDisk.Filesystem={filesystem}\nResourceDisk.MountOptions=noatime,nodev")
    program(f"mkfs.{filesystem}")
    script.on(f"mkfs.{filesystem}", "-F" if filesystem == "ext3" else "-f", "/dev/sdb1")
    script.on("mount", "-o", "noatime,nodev", "-t", filesystem, "/dev/sdb1", POINT)
    assert module.run(ctx).message == f"made {filesystem} on /dev/sdb1 and mounted it on /mnt/resource"


# -- several local disks ---------------------------------------------------------------------------------------------


@pytest.fixture
def several(ctx, script, put, program):
    """Two local NVMe disks that are blank; whole("…") says what blkid finds on both."""
    program("blkid", "mkfs.ext4", "sfdisk", "blockdev")
    for name in ("nvme1n1", "nvme2n1"):
        put(f"/sys/block/{name}/device/model", "Microsoft NVMe Direct Disk v2\n")
        put(f"/dev/{name}", b"\0" * 1024)
    put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")

    def whole(*found: str) -> None:
        for name, told in zip(("nvme1n1", "nvme2n1"), found):
            script.on("blkid", "-p", "-o", "export", f"/dev/{name}", status=0 if told else 2, stdout=told)

    def array() -> None:
        put("/dev/md127", b"\0" * 1024)
        put("/sys/block/md127/size", "83886080")
        ctx.system.path("/dev/md").mkdir(exist_ok=True)
        if not ctx.system.exists("/dev/md/waagent"):
            (ctx.system.path("/dev/md") / "waagent").symlink_to("../md127")

    def table(device: str) -> None:
        put(f"/sys/block/{device}/{device}p1/size")
        put(f"/dev/{device}p1")
        script.on("blkid", "-p", "-o", "export", f"/dev/{device}p1", stdout="PART_ENTRY_UUID=12-01\n")

    for device in ("nvme1n1", "md127"):
        script.on("sfdisk", "--wipe", "always", "--wipe-partitions", "always", f"/dev/{device}",
                  effect=lambda device=device: table(device))  # fmt: skip
        script.on("mkfs.ext4", "-F", f"/dev/{device}p1")
        script.on("mount", "-t", "ext4", f"/dev/{device}p1", POINT)
    script.on("blkid", "-p", "-o", "export", "/dev/md127", status=2)
    script.on(*CREATE, effect=array)
    script.on("mdadm", "--assemble", "--run", "/dev/md/waagent", "/dev/nvme1n1", "/dev/nvme2n1", effect=array)
    whole("", "")
    whole.array = array
    return whole


CREATE = ("mdadm", "--create", "/dev/md/waagent", "--run", "--level=0", "--raid-devices=2", "--name=waagent",
          "--homehost=any", "--metadata=1.2", "/dev/nvme1n1", "/dev/nvme2n1")  # fmt: skip
MEMBER = "TYPE=linux_raid_member\nLABEL=any:waagent\n"


@pytest.mark.row("field-demands", 119)
def test_row_119_of_several_disks_the_first_is_used_and_the_others_are_told(module, ctx, several):
    assert module.run(ctx).message == "made ext4 on /dev/nvme1n1p1 and mounted it on /mnt/resource"
    assert any("of 2 local disks /dev/nvme1n1 is used and /dev/nvme2n1 left" in note for note in ctx.notes)


@pytest.mark.row("field-demands", 119)
@pytest.mark.parametrize(("found", "verb"), [("", "--create"), (MEMBER, "--assemble")])
def test_row_119_several_disks_become_one_where_asked(module, ctx, declared, several, script, program, found, verb):
    declared("ResourceDisk.Stripe=y")
    program("mdadm")
    several(found, found)
    assert module.run(ctx).message == "made ext4 on /dev/md127p1 and mounted it on /mnt/resource"
    assert [argv[1] for argv in script.ran if argv[0] == "mdadm"] == [verb]


@pytest.mark.row("field-demands", 119)
def test_row_119_an_array_that_runs_is_used(module, ctx, declared, several, script, put):
    declared("ResourceDisk.Stripe=y")
    several(MEMBER, MEMBER)
    several.array()
    for name in ("nvme1n1", "nvme2n1"):
        put(f"/sys/block/{name}/holders/md127")
    assert module.run(ctx).kind == "changed"
    assert not [argv for argv in script.ran if argv[0] == "mdadm"]


@pytest.mark.row("field-demands", 119)
@pytest.mark.parametrize(
    ("first", "second", "why"),
    [("TYPE=ext4\n", "", "/dev/nvme1n1 holds ext4"), ("", "PTTYPE=gpt\n", "/dev/nvme2n1 holds a gpt partition table"),
     (MEMBER, "", "some are blank and some are not")],
)  # fmt: skip
def test_row_119_disks_with_data_never_become_an_array(module, ctx, declared, several, script, program, first, second, why):
    declared("ResourceDisk.Stripe=y")
    program("mdadm")
    several(first, second)
    with pytest.raises(DiskError, match=f"{why}; data of the owner may be there, they are left as they are"):
        module.run(ctx)
    assert {argv[0] for argv in script.ran} == {"blkid"}


@pytest.mark.row("field-demands", 119)
def test_row_119_without_mdadm_nothing_is_begun(module, ctx, declared, several):
    declared("ResourceDisk.Stripe=y")
    with pytest.raises(DiskError, match=r"there is no mdadm; install it, or set ResourceDisk.Stripe=n"):
        module.run(ctx)


# -- left alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["", "ResourceDisk.Device=/dev/sdb"])
@pytest.mark.parametrize(
    ("names", "told"), [(["thesis.doc"], "thesis.doc"), (["System Volume Information", "backup"], "backup")]
)
def test_an_ntfs_partition_with_files_of_the_owner_is_never_formatted(
    module, ctx, declared, script, disk, put, names, told, named
):
    """No driver for NTFS is needed to see them: kernels of clouds have none."""
    declared(named)
    put("/dev/sdb1", volume(names))
    with pytest.raises(DiskError, match=rf"is NTFS and has files \({told}\); it stays so. .*mkfs.*=ntfs"):
        module.run(ctx)
    assert {argv[0] for argv in script.ran} == {"blkid"}


def test_an_ntfs_partition_that_cannot_be_looked_into_is_left(module, ctx, script, disk, put):
    put("/dev/sdb1", volume()[:4096])
    with pytest.raises(DiskError, match=r"cannot look into /dev/sdb1: its NTFS is damaged .*; it is left as it is"):
        module.run(ctx)
    assert {argv[0] for argv in script.ran} == {"blkid"}


@pytest.mark.parametrize("reserved", [True, False])
def test_of_two_ntfs_partitions_neither_is_formatted(module, ctx, script, disk, put, reserved):
    """The first is empty and the second has files; one of them may even have the type of a reserved one."""
    disk(NTFS, "gpt")
    put("/sys/block/sdb/sdb2/size")
    put("/dev/sdb2", volume(["thesis.doc"]))
    kind = disks.MICROSOFT_RESERVED if reserved else "ebd0a0a2"
    script.on("blkid", "-p", "-o", "export", "/dev/sdb2", stdout=f"TYPE=ntfs\nPART_ENTRY_TYPE={kind}\n")
    with pytest.raises(DiskError, match=r"has 2 partitions \(/dev/sdb1 ntfs, /dev/sdb2 ntfs\)"):
        module.run(ctx)
    assert {argv[0] for argv in script.ran} == {"blkid"}


def test_content_that_nobody_knows_is_left(module, ctx, script, disk):
    disk("PART_ENTRY_UUID=12-01\n")
    with pytest.raises(DiskError, match=r"holds something blkid does not know.*makes a file system there"):
        module.run(ctx)
    assert not did(script, *MKFS)


# -- where it is mounted ---------------------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 75)
def test_row_75_a_mount_point_that_is_a_link_to_a_mounted_directory_is_not_mounted_over(module, ctx, script, disk, put):
    put("/srv/x")
    (ctx.system.path("/mnt")).mkdir(exist_ok=True)
    (ctx.system.path("/mnt") / "resource").symlink_to("/srv")
    disk.mounted("/dev/sdc1", "/srv")
    with pytest.raises(DiskError, match="cannot mount the resource disk on /srv: /dev/sdc1 is mounted there"):
        module.run(ctx)
    assert {argv[0] for argv in script.ran} == set()


def test_a_warning_that_cannot_be_written_is_no_failure(module, ctx, script, disk, put):
    """A disk that is mounted read-only, or full: it is published all the same, and may have swap space."""
    put(f"{POINT}/DATALOSS_WARNING_README.txt/x")
    disk(EXT4)
    assert module.run(ctx).kind == "changed"
    assert ctx.published["resource_disk"]["mount_point"] == POINT
    assert any("the warning on the resource disk is not written" in note for note in ctx.notes)
    settle(ctx)
    assert module.run(ctx).kind == "unchanged"


# -- a disk that comes late ------------------------------------------------------------------------------------------


@pytest.fixture
def late(ctx, disk):
    """The periodic step; the disk has no node until show()."""
    module = load_module("periodic/69-resource-disk-late.py")
    content = ctx.system.path("/dev/sdb").read_bytes()
    ctx.system.path("/dev/sdb").unlink()
    module.show = lambda: ctx.system.path("/dev/sdb").write_bytes(content)
    return module


@pytest.mark.row("field-demands", 60, 120)
def test_row_60_a_disk_that_the_bus_shows_is_waited_for_until_udev_is_done(module, ctx, script, program, late):
    program("udevadm")
    script.on("udevadm", "settle", "--timeout=30", "--exit-if-exists=/dev/sdb", effect=late.show)
    script.on("udevadm", "settle", "--timeout=15")
    assert module.run(ctx).message.startswith("made ext4")
    assert scratch_disk.awaited(ctx.system) == ""
    assert late.run(ctx).kind == "skipped"


@pytest.mark.row("field-demands", 60, 127)
def test_row_60_a_disk_that_comes_after_the_boot_is_prepared_then(module, ctx, late):
    assert module.run(ctx).message == late.run(ctx).message == "this VM size has no resource disk"
    late.show()
    assert late.run(ctx).message.startswith("made ext4")
    assert ctx.published["resource_disk"]["mount_point"] == POINT
    settle(ctx)
    assert late.run(ctx).kind == "skipped"


def test_a_disk_by_name_that_is_not_there_fails_at_the_boot_and_is_waited_for(module, ctx, declared, late):
    declared("ResourceDisk.Device=/dev/sdb")
    with pytest.raises(DiskError, match=r"there is no /dev/sdb"):
        module.run(ctx)
    assert "there is no /dev/sdb" in late.run(ctx).message
    late.show()
    assert late.run(ctx).message.startswith("made ext4")


def test_a_disk_that_was_seen_and_left_is_not_looked_at_again_in_this_boot(module, ctx, script, late, disk):
    module.run(ctx)
    late.show()
    disk(UNKNOWN)
    with pytest.raises(DiskError, match="data of its owner may be there"):
        late.run(ctx)
    script.ran.clear()
    assert late.run(ctx).kind == "skipped" and script.ran == []


# -- cloud-init ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stages(put):
    def say(**stages: str) -> None:
        told = {name.replace("_", "-"): {"start": 1.0 if how else None, "finished": 2.0 if how == "done" else None}
                for name, how in stages.items()}  # fmt: skip
        put("/run/cloud-init/status.json", json.dumps({"v1": {"stage": None, "datasource": None, **told}}))

    return say


@pytest.mark.row("field-demands", 126)
def test_row_126_while_cloud_init_may_take_the_disk_it_is_not_touched(module, ctx, script, disk, put, stages):
    late = load_module("periodic/69-resource-disk-late.py")
    put("/run/cloud-init/enabled")
    assert module.run(ctx).message.startswith("cloud-init has not ended its stage init,")
    for told in ({"init": ""}, {"init": "now"}, {"init": "done", "modules_config": "now"}):
        stages(**told)
        assert module.run(ctx).message.startswith("cloud-init has not ended its stage ")
        assert late.run(ctx).kind == "skipped"
    assert script.ran == []
    stages(init="done", modules_config="done")
    assert late.run(ctx).message.startswith("made ext4")


@pytest.mark.row("field-demands", 126)
def test_row_126_a_disk_that_cloud_init_took_meanwhile_is_its_own(module, ctx, script, disk, put, stages):
    late = load_module("periodic/69-resource-disk-late.py")
    stages(init="now")
    assert module.run(ctx).kind == "skipped"
    put("/etc/fstab", "/dev/disk/cloud/azure_resource-part1 /mnt auto defaults,nofail,comment=cloudconfig 0 2\n")
    stages(init="done", modules_config="")
    assert late.run(ctx).message.startswith("cloud-init looks after the resource disk")
    assert ctx.published["resource_disk"]["owner"] == "cloud-init"
    assert script.ran == []


@pytest.mark.parametrize("told", ["{", "[]", '{"v1": 1}', '{"v1": {}}'])
def test_what_cloud_init_says_and_nobody_understands_counts_as_far_as_it_is_clear(module, ctx, disk, put, told):
    put("/run/cloud-init/status.json", told)
    assert module.run(ctx).kind == ("skipped" if told == '{"v1": {}}' else "changed")


def test_disks_of_other_systems_have_modules_of_their_own(module, ctx, declared, script, disk):
    declared(distro="freebsd")
    assert module.run(ctx).kind == "skipped"
    assert script.ran == []
