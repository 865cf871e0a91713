"""The resource disk and its swap, from what is found on it to what is mounted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.modules.conftest import load_module, settle
from tests.ntfs_volume import volume
from waagent.errors import DiskError
from waagent.machine import disks, mounts, scratch_disk

MODULE = "config/20-resource-disk.py"
POINT = "/mnt/resource"
RECORD = "/var/lib/waagent/resource-disk.json"
BOOT, NEW_ID = "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/random/uuid"
MKFS = ("mkfs.ext4", "-F", "/dev/sdb1")
MOUNT = ("mount", "-t", "ext4", "/dev/sdb1", POINT)
RETYPE = ("sfdisk", "--part-type", "/dev/sdb", "1", "83")
TABLE = ("sfdisk", "--wipe", "always", "--wipe-partitions", "always", "/dev/sdb")
NTFS = "TYPE=ntfs\nUUID=1A51E5D3\nPART_ENTRY_TYPE=0x7\nPART_ENTRY_UUID=12-01\n"
EXT4 = "TYPE=ext4\nPART_ENTRY_TYPE=0x83\nPART_ENTRY_UUID=12-01\n"


@pytest.fixture
def disk(ctx, script, put, program):
    """A generation-2 resource disk /dev/sdb with one partition; changes of it are what the programs would do."""
    program("blkid", "mkfs.ext4", "sfdisk", "blockdev")
    base = "/sys/bus/vmbus/devices/x"
    put(f"{base}/device_id", "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}\n")
    put(f"{base}/host0/target0:0:0/0:0:0:1/block/sdb/size")
    put("/sys/block/sdb/size", "41943040")
    put("/sys/block/sdb/device/wwid", "naa.60022480\n")
    put("/dev/sdb", b"\0" * 1024)
    put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    put(BOOT, "boot 1\n")

    def holds(partition: str, table: str = "dos", content: bytes = b"x" * 1024) -> None:
        put("/sys/block/sdb/sdb1/size")
        put("/dev/sdb1", volume() if "=ntfs" in partition else content)
        script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout=f"PTTYPE={table}\n")
        script.on("blkid", "-p", "-o", "export", "/dev/sdb1", status=0 if partition else 2, stdout=partition)

    def mounted(device: str = "/dev/sdb1", point: str = POINT, kind: str = "ext4") -> None:
        put("/proc/self/mounts", f"/dev/sda1 / ext4 rw 0 0\n{device} {point} {kind} rw 0 0\n")

    script.on(*MKFS, effect=lambda: holds(EXT4))
    script.on(*MOUNT, effect=mounted)
    script.on(*RETYPE)
    script.on(*TABLE, effect=lambda: holds("PART_ENTRY_UUID=12-01\n"))
    script.on("blockdev", "--rereadpt", "/dev/sdb")
    holds(NTFS)
    holds.mounted = mounted
    return holds


def did(script, *argv: str) -> bool:
    return argv in script.ran


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
    put("/sys/block/sdb/sdb2/size")
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
@pytest.mark.parametrize("names", [["thesis.doc"], ["System Volume Information", "backup"]])
def test_an_ntfs_partition_with_files_of_the_owner_is_never_formatted(
    module, ctx, declared, script, disk, put, names, named
):
    """No driver for NTFS is needed to see them: kernels of clouds have none."""
    declared(named)
    put("/dev/sdb1", volume(names))
    with pytest.raises(DiskError, match="is NTFS and has files"):
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


# -- a power cut, and what is not one --------------------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing of the agent runs any more."""


UNKNOWN = "PART_ENTRY_UUID=12-01\n"
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


# -- swap --------------------------------------------------------------------------------------------------------


@pytest.fixture
def swap(ctx, script, put, monkeypatch, disk):
    monkeypatch.setattr(mounts, "free", lambda system, directory: 4 * 1024**3)
    module = load_module("config/25-swap.py")

    def declare(directory: str = POINT) -> None:
        path = f"{directory}/swapfile"

        def grow() -> None:
            with open(ctx.system.path(path), "r+b") as stream:
                stream.truncate(100 * 1024 * 1024)

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
