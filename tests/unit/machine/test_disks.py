"""The resource disk: which it is, and what may be done with what is on it."""

from __future__ import annotations

import pytest

from tests.conftest import Script
from waagent.errors import DiskError
from waagent.machine import disks
from waagent.machine.disks import Contents, Part, Verdict
from waagent.system import System

IDE_0, IDE_1 = "{00000000-0000-8899-0000-000000000000}", "{00000000-0001-8899-0000-000000000000}"
SCSI_0, SCSI_1 = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", "{f8b3781b-1e82-4818-a1c3-63d806ec15bb}"
MSR = disks.MICROSOFT_RESERVED


@pytest.fixture
def channel(put):
    """A storage channel of the VMBus with disks: channel(GUID, {"0:0:1": "sdb"}) (host:channel:target left to it)."""
    numbers = iter(range(100))

    def make(guid: str, luns: dict[str, str]) -> None:
        number = next(numbers)
        base = f"/sys/bus/vmbus/devices/{number:04d}-guid"
        put(f"{base}/device_id", f"{guid}\n")
        for lun, name in luns.items():
            put(f"{base}/host{number}/target{number}:0:0/{number}:0:0:{lun}/block/{name}/size", "0")
            put(f"/sys/block/{name}/size", "41943040")
            put(f"/dev/{name}")

    return make


def test_row_69_generation_1_has_it_at_port_1_of_the_ide_controller(system: System, channel) -> None:
    channel(SCSI_0, {"0": "sdc", "1": "sdd"})  # data disks of the owner
    channel(IDE_0, {"0": "sda"})
    channel(IDE_1, {"0": "sdb"})
    assert disks.resource_disk(system) == "/dev/sdb"


def test_row_69_generation_2_has_it_at_lun_1_of_the_first_scsi_controller(system: System, channel) -> None:
    channel(SCSI_1, {"0": "sdc", "1": "sdd"})
    channel(SCSI_0, {"0": "sda", "1": "sdb", "2": "sr0"})
    assert disks.resource_disk(system) == "/dev/sdb"


def test_row_69_old_kernels_name_the_disk_in_the_directory(system: System, put) -> None:
    base = "/sys/bus/vmbus/devices/vmbus_0_2"
    put(f"{base}/device_id", f"{IDE_1}\n")
    put(f"{base}/host3/target3:0:0/3:0:0:0/block:sdb/size")
    put("/dev/sdb")
    assert disks.resource_disk(system) == "/dev/sdb"


@pytest.mark.parametrize("link", disks.LINKS)
def test_without_a_vmbus_it_is_what_udev_rules_call_so(system: System, put, link: str) -> None:
    put("/sys/block/sdb/size", "41943040")
    put("/dev/sdb")
    named = system.path(link)
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sdb")
    assert disks.resource_disk(system) == "/dev/sdb"


def test_a_name_of_udev_never_makes_the_system_s_disk_scratch_space(system: System, put) -> None:
    put("/sys/block/sda/sda1/size")
    put("/dev/sda")
    put("/dev/sda1")
    put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    named = system.path("/dev/disk/azure/resource")
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sda")
    assert disks.resource_disk(system) is None


def test_the_vmbus_counts_more_than_a_name_of_udev(system: System, put, channel) -> None:
    channel(SCSI_0, {"0": "sda", "1": "sdb"})
    channel(SCSI_1, {"0": "sdc"})
    named = system.path("/dev/disk/cloud/azure_resource")
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sdc")
    assert disks.resource_disk(system) == "/dev/sdb"


def test_row_70_a_size_without_one_has_none(system: System, channel) -> None:
    channel(SCSI_0, {"0": "sda", "2": "sr0"})
    channel(SCSI_1, {"1": "sdc"})
    assert disks.resource_disk(system) is None
    assert disks.resource_disk(System(system.root)) is None


def test_a_local_nvme_disk_is_one_and_a_remote_one_is_not(system: System, put) -> None:
    for name, model in (("nvme0n1", "MSFT NVMe Accelerator v1.0"), ("nvme1n1", "Microsoft NVMe Direct Disk v2")):
        put(f"/sys/block/{name}/device/model", f"{model}        \n")
        put(f"/dev/{name}")
    assert disks.resource_disk(system) == "/dev/nvme1n1"
    assert disks.part_name("/dev/nvme1n1") == "/dev/nvme1n1p1"


@pytest.mark.parametrize("root", ["/dev/sdb1", "/dev/sdb", "/dev/mapper/vg-root"])
def test_the_disk_that_the_system_runs_from_is_never_it(system: System, channel, put, root: str) -> None:
    channel(SCSI_0, {"1": "sdb"})
    put("/sys/block/sdb/sdb1/size")
    put("/dev/sdb1")
    put("/dev/dm-0")
    put("/sys/block/dm-0/slaves/sdb1")
    (system.path("/dev") / "mapper").mkdir()
    (system.path("/dev/mapper") / "vg-root").symlink_to("../dm-0")
    put("/proc/self/mounts", f"{root} / ext4 rw 0 0\n")
    assert disks.resource_disk(system) is None
    with pytest.raises(DiskError, match=r"the running system is on it"):
        disks.resource_disk(system, "/dev/sdb")


def test_the_admin_may_name_it_by_device_link_or_label(system: System, channel, put) -> None:
    channel(SCSI_1, {"7": "sdx"})
    put("/sys/block/sdx/sdx1/size")
    put("/dev/sdx1")
    for folder in ("azure", "by-label"):
        (system.path("/dev/disk") / folder).mkdir(parents=True)
    (system.path("/dev/disk/azure") / "resource").symlink_to("../../sdx")
    (system.path("/dev/disk/by-label") / "scratch").symlink_to("../../sdx1")
    for named in ("/dev/sdx", "/dev/disk/azure/resource", "LABEL=scratch", "/dev/sdx1"):
        assert disks.resource_disk(system, named) == "/dev/sdx"
    with pytest.raises(DiskError, match=r"there is no /dev/sdz, which ResourceDisk.Device names"):
        disks.resource_disk(system, "/dev/sdz")


def one(
    filesystem: str = "", table: str = "dos", kind: str = "7", identity: str = "id-01", blank: bool = False
) -> Contents:
    return Contents("/dev/sdb", table, "", False, (Part("/dev/sdb1", kind, filesystem, identity, blank),), "")


def whole(filesystem: str = "", table: str = "", blank: bool = False, used_by: str = "") -> Contents:
    return Contents("/dev/sdb", table, filesystem, blank, (), used_by)


def many(*parts: tuple[str, str], table: str = "gpt") -> Contents:
    listed = tuple(Part(f"/dev/sdb{n}", kind, fs, f"id-{n}", False) for n, (kind, fs) in enumerate(parts, 1))
    return Contents("/dev/sdb", table, "", False, listed, "")


@pytest.mark.parametrize(
    ("contents", "wanted", "intended", "action", "partition", "filesystem"),
    [
        # row 71: the platform's fresh disk                      row 73: a file system stays, whatever was asked for
        (one("ntfs"), "ext4", "", "format", "/dev/sdb1", "ntfs"),
        (one("ext4", kind="83"), "ext4", "", "mount", "/dev/sdb1", "ext4"),
        (one("xfs", kind="83"), "ext4", "", "mount", "/dev/sdb1", "xfs"),
        (one("ext4"), "ext4", "", "mount", "/dev/sdb1", "ext4"),
        (one("ntfs"), "ntfs", "", "mount", "/dev/sdb1", "ntfs"),
        (one("vfat"), "ext4", "", "mount", "/dev/sdb1", "vfat"),
        # row 72: the platform's layout of a large disk
        (many((MSR, ""), ("ebd0a0a2", "ntfs")), "ext4", "", "partition", "/dev/sdb2", "ntfs"),
        (many((MSR, ""), ("ebd0a0a2", "ntfs")), "ntfs", "", "mount", "/dev/sdb2", "ntfs"),
        (many(("0fc6", "ext4"), ("0fc6", "")), "ext4", "", "leave", "", ""),
        (many((MSR, ""), ("0fc6", "ext4")), "ext4", "", "leave", "", ""),
        (many(("7", "ntfs"), ("7", "ntfs"), table="dos"), "ext4", "", "leave", "", ""),
        # row 78: a blank disk, and what only looks like one
        (whole(blank=True), "ext4", "", "partition", "/dev/sdb1", ""),
        (whole(), "ext4", "", "leave", "", ""),
        (whole(table="gpt"), "ext4", "", "leave", "", ""),
        (whole(table="gpt"), "ext4", "table of /dev/sdb", "partition", "/dev/sdb1", ""),
        (whole("ext4"), "ext4", "", "mount", "/dev/sdb", "ext4"),
        (whole("ntfs"), "ext4", "", "leave", "", ""),
        (whole("LVM2_member"), "ext4", "", "leave", "", ""),
        # a partition that says nothing: empty, ours and cut off, or unknown
        (one("", blank=True), "ext4", "", "format", "/dev/sdb1", ""),
        (one(""), "ext4", "", "leave", "", ""),
        (one(""), "ext4", "id-01", "format", "/dev/sdb1", ""),
        (one(""), "ext4", "table of /dev/sdb", "format", "/dev/sdb1", ""),
        (one(""), "ext4", "id-02", "leave", "", ""),
        (one("", identity=""), "ext4", "", "leave", "", ""),
        (one("ntfs"), "ext4", "id-01", "format", "/dev/sdb1", ""),
        (one("ext4"), "ext4", "id-01", "mount", "/dev/sdb1", "ext4"),
        (one("crypto_LUKS"), "ext4", "id-01", "leave", "", ""),
        (one("swap"), "ext4", "", "leave", "", ""),
        # somebody uses it without mounting it
        (whole(blank=True, used_by="dm-0"), "ext4", "", "leave", "", ""),
    ],
)
def test_what_may_be_done_with_a_disk(contents, wanted, intended, action, partition, filesystem) -> None:
    found = disks.verdict(contents, wanted, intended)
    assert found[:3] == (action, partition, filesystem)
    assert bool(found.reason) == (action == "leave")


def test_no_verdict_ever_destroys_a_file_system_that_is_not_the_platforms() -> None:
    for filesystem in (
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "vfat",
        "exfat",
        "crypto_LUKS",
        "LVM2_member",
        "swap",
        "f2fs",
    ):
        for contents in (
            one(filesystem),
            whole(filesystem),
            many((MSR, ""), ("x", filesystem)),
            many(("x", filesystem), ("7", "ntfs")),
        ):
            for wanted in ("ext4", "xfs", "ntfs"):
                for intended in ("", "id-01", "id-1", "table of /dev/sdb"):
                    assert disks.verdict(contents, wanted, intended).action in ("mount", "leave"), (
                        contents,
                        wanted,
                        intended,
                    )


@pytest.mark.parametrize(
    ("names", "fresh"),
    [
        ([], True),
        (["DATALOSS_WARNING_README.txt", "System Volume Information", "$RECYCLE.BIN"], True),
        (["thesis.doc"], False),
    ],
)
def test_what_the_platform_puts_there_is_nobodys_data(names: list[str], fresh: bool) -> None:
    assert disks.only_platform_files(names) is fresh


def test_blkid_is_asked_for_each_partition(system: System, script: Script, channel, put, program) -> None:
    channel(SCSI_0, {"1": "sdb"})
    put("/sys/block/sdb/sdb1/size")
    put("/dev/sdb1", b"\0" * 4096)
    program("blkid")
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout="DEVNAME=/dev/sdb\nPTUUID=12\nPTTYPE=dos\n")
    script.on(
        "blkid", "-p", "-o", "export", "/dev/sdb1", stdout="TYPE=ntfs\nPART_ENTRY_TYPE=0x7\nPART_ENTRY_UUID=12-01\n"
    )
    assert disks.inspect(system, "/dev/sdb") == Contents(
        "/dev/sdb", "dos", "", False, (Part("/dev/sdb1", "7", "ntfs", "12-01", False),), ""
    )


@pytest.mark.parametrize(("status", "why"), [(8, "finds several things at once"), (4, "cannot read /dev/sdb")])
def test_a_disk_that_blkid_cannot_judge_is_left_alone(
    system: System, script: Script, channel, program, status, why
) -> None:
    channel(SCSI_0, {"1": "sdb"})
    program("blkid")
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", status=status)
    with pytest.raises(DiskError, match=why):
        disks.inspect(system, "/dev/sdb")


def test_without_blkid_nothing_is_touched(system: System, channel) -> None:
    channel(SCSI_0, {"1": "sdb"})
    with pytest.raises(DiskError, match=r"there is no blkid"):
        disks.inspect(system, "/dev/sdb")


@pytest.mark.parametrize(("size", "label"), [(2 * 1024**4, "dos"), (2 * 1024**4 + 512, "gpt")])
def test_a_disk_above_two_tebibytes_gets_a_gpt(
    system: System, script: Script, profile, put, size: int, label: str
) -> None:
    put("/dev/sdb1")
    script.on("sfdisk", "--wipe", "always", "--wipe-partitions", "always", "/dev/sdb")
    assert disks.partition(system, profile, "/dev/sdb", size) == "/dev/sdb1"
    assert (script.inputs[0] or b"").startswith(f"label: {label}\n".encode())


def test_row_76_a_missing_mkfs_is_told_before_anything_is_destroyed(system: System, profile, program) -> None:
    with pytest.raises(DiskError, match=r"there is no mkfs\.ext4; install it"):
        disks.require_mkfs(system, profile, "ext4")
    program("mkfs.ext4", "mkfs.xfs")
    assert disks.require_mkfs(system, profile, "ext4") == ("mkfs.ext4", "-F", "{device}")
    assert disks.require_mkfs(system, profile, "xfs") == ("mkfs.xfs", "-f", "{device}")


def test_an_intent_is_kept_and_forgotten(system: System) -> None:
    system.make_directory("/var/lib/waagent")
    assert disks.intended(system, "/var/lib/waagent") == ""
    disks.intend(system, "/var/lib/waagent", "id-01")
    assert disks.intended(system, "/var/lib/waagent") == "id-01"
    disks.intend(system, "/var/lib/waagent", "")
    assert disks.intended(system, "/var/lib/waagent") == ""
    assert Verdict("leave").partition == ""
