"""What may be done with what is on a disk, and the programs that do it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tests.conftest import Script
from waagent.errors import DiskError
from waagent.machine import disks
from waagent.machine.disks import Contents, Part
from waagent.machine.unfinished import NOTHING, Found
from waagent.system import System

MSR, BASIC = disks.MICROSOFT_RESERVED, "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
TABLE, PARTITION, VOLUME = Found(table=True), Found(partition=True), Found(partition=True, volume=True)


def one(
    filesystem: str = "",
    table: str = "dos",
    kind: str = "7",
    identity: str = "id-01",
    blank: bool = False,
    disk: str = "",
) -> Contents:
    return Contents("/dev/sdb", table, disk, False, (Part("/dev/sdb1", kind, filesystem, identity, blank),), "")


def whole(filesystem: str = "", table: str = "", blank: bool = False, used_by: str = "") -> Contents:
    return Contents("/dev/sdb", table, filesystem, blank, (), used_by)


def many(*parts: tuple[str, str], table: str = "gpt", gap: int = 3 * 1024**2) -> Contents:
    listed = tuple(
        Part(f"/dev/sdb{n}", kind, fs.replace("blank", ""), f"id-{n}", fs == "blank")
        for n, (kind, fs) in enumerate(parts, 1)
    )
    return Contents("/dev/sdb", table, "", False, listed, "", gap)


@pytest.mark.row("field-demands", 127)
@pytest.mark.parametrize(
    ("contents", "wanted", "begun", "action", "partition", "filesystem"),
    [
        # rows 71, 73: the platform's fresh disk becomes ours; a file system stays, whatever was asked for
        (one("ntfs"), "ext4", NOTHING, "format", "/dev/sdb1", "ntfs"),
        (one("ext4", kind="83"), "ext4", NOTHING, "mount", "/dev/sdb1", "ext4"),
        (one("xfs", kind="83"), "ext4", NOTHING, "mount", "/dev/sdb1", "xfs"),
        (one("ext4"), "ext4", NOTHING, "mount", "/dev/sdb1", "ext4"),
        (one("ntfs"), "ntfs", NOTHING, "mount", "/dev/sdb1", "ntfs"),
        (one("vfat"), "ext4", NOTHING, "mount", "/dev/sdb1", "vfat"),
        # row 72: the platform's layout of a large disk
        (many((MSR, "blank"), (BASIC, "ntfs")), "ext4", NOTHING, "partition", "/dev/sdb2", "ntfs"),
        (many((MSR, "blank"), (BASIC, "ntfs")), "ntfs", NOTHING, "mount", "/dev/sdb2", "ntfs"),
        # … and what only looks like it: data in the reserved one, a second NTFS, one that is said to be reserved
        (many((MSR, ""), (BASIC, "ntfs")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "ntfs"), (BASIC, "ntfs")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "blank"), (BASIC, "ntfs"), (BASIC, "ntfs")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "blank"), (BASIC, "ntfs"), (BASIC, "blank")), "ext4", NOTHING, "leave", "", ""),
        (many((BASIC, "ntfs"), (BASIC, "ntfs")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "blank"), (MSR, "blank")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "ext4"), (BASIC, "ntfs")), "ext4", TABLE, "leave", "", ""),
        (many(("0fc6", "ext4"), ("0fc6", "")), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, ""), ("0fc6", "ext4")), "ext4", NOTHING, "leave", "", ""),
        (many(("7", "ntfs"), ("7", "ntfs"), table="dos"), "ext4", NOTHING, "leave", "", ""),
        (many((MSR, "blank"), (BASIC, "ntfs"), gap=1024**3), "ext4", NOTHING, "leave", "", ""),
        # a table that stands in the first sector of a file system: neither can be told to be the left-over
        (one("", blank=True, disk="ext4"), "ext4", NOTHING, "leave", "", ""),
        (one("", blank=True, disk="ext4"), "ext4", PARTITION, "leave", "", ""),
        (one("xfs", disk="btrfs"), "ext4", NOTHING, "leave", "", ""),
        (one("ntfs", disk="iso9660"), "ext4", NOTHING, "leave", "", ""),
        # an entry for something that holds partitions, which the kernel does not find
        (one("", kind="5", blank=True), "ext4", NOTHING, "leave", "", ""),
        (one("", kind="f", blank=True), "ext4", NOTHING, "leave", "", ""),
        (one("", kind="ee", blank=True), "ext4", NOTHING, "leave", "", ""),
        # row 78: a blank disk, and what only looks like one
        (whole(blank=True), "ext4", NOTHING, "partition", "/dev/sdb1", ""),
        (whole(), "ext4", NOTHING, "leave", "", ""),
        (whole(table="gpt"), "ext4", NOTHING, "leave", "", ""),
        (whole(table="gpt"), "ext4", TABLE, "partition", "/dev/sdb1", ""),
        (whole("ext4"), "ext4", NOTHING, "mount", "/dev/sdb", "ext4"),
        (whole("ntfs"), "ext4", NOTHING, "leave", "", ""),
        (whole("LVM2_member"), "ext4", NOTHING, "leave", "", ""),
        # a partition that says nothing: empty, ours and cut off, or unknown
        (one("", blank=True), "ext4", NOTHING, "format", "/dev/sdb1", ""),
        (one(""), "ext4", NOTHING, "leave", "", ""),
        (one(""), "ext4", PARTITION, "format", "/dev/sdb1", ""),
        (one(""), "ext4", TABLE, "format", "/dev/sdb1", ""),
        (one("ntfs"), "ext4", VOLUME, "format", "/dev/sdb1", "ntfs"),
        (one("ext4"), "ext4", PARTITION, "mount", "/dev/sdb1", "ext4"),
        (one("ext4"), "ext4", VOLUME, "remake", "/dev/sdb1", "ext4"),
        (one("crypto_LUKS"), "ext4", VOLUME, "leave", "", ""),
        (one("swap"), "ext4", NOTHING, "leave", "", ""),
        # somebody uses it without mounting it
        (whole(blank=True, used_by="dm-0"), "ext4", NOTHING, "leave", "", ""),
    ],
)
def test_row_127_what_may_be_done_with_a_disk(contents, wanted, begun, action, partition, filesystem) -> None:
    found = disks.verdict(contents, wanted, begun)
    assert found[:3] == (action, partition, filesystem)
    assert bool(found.reason) == (action == "leave")


HELD = ("blank", "", "ntfs", "ext4", "xfs", "btrfs", "vfat", "exfat", "crypto_LUKS", "LVM2_member", "swap", "zfs_member")
KINDS = (MSR, BASIC, "7", "83", "82", "5", "0fc63daf-8483-4772-8e79-3d69d8477de4")


@settings(max_examples=1000)
@given(
    table=some.sampled_from(("", "dos", "gpt")),
    held=some.sampled_from(HELD),
    parts=some.lists(some.tuples(some.sampled_from(KINDS), some.sampled_from(HELD)), max_size=4),
    used_by=some.sampled_from(("", "", "", "dm-0")),
    wanted=some.sampled_from(("ext4", "xfs", "ntfs")),
    begun=some.sampled_from((NOTHING, NOTHING, TABLE, PARTITION, VOLUME)),
)
def test_no_verdict_ever_destroys_what_may_be_an_owner_s(table, held, parts, used_by, wanted, begun) -> None:
    """Whatever is on a disk: what a verdict destroys is blank, or NTFS that is looked into first, or was begun by us."""
    listed = many(*parts).parts if table else ()
    whole_disk = held.replace("blank", "")
    contents = Contents("/dev/sdb", table, whole_disk, not table and held == "blank", listed, used_by)
    may = disks.verdict(contents, wanted, begun)
    destroyed = {
        "partition": listed, "format": listed[:1], "remake": listed[:1], "mount": (), "leave": (),
    }[may.action]  # fmt: skip
    for part in destroyed:
        looked_at = part.filesystem == may.filesystem == "ntfs" and part.device == may.partition
        resumed = len(listed) == 1 and part.filesystem == "" and (begun.table or begun.partition)
        half = may.action == "remake" and begun.volume and part.filesystem == may.filesystem
        assert part.blank or looked_at or resumed or half
    if may.action == "partition" and not listed:
        assert (contents.blank or begun.table) and not whole_disk
    if used_by or (table and whole_disk):
        assert may.action == "leave"
    if may.action in ("format", "remake"):
        assert listed[0].kind != "5" or listed[0].filesystem


@pytest.mark.parametrize(
    ("names", "fresh"),
    [
        ([], True),
        (["DATALOSS_WARNING_README.txt", "System Volume Information", "$RECYCLE.BIN"], True),
        (["thesis.doc"], False),
    ],
)
def test_what_the_platform_puts_there_is_nobodys_data(names: list[str], fresh: bool) -> None:
    assert (not disks.files_of_owner(names)) is fresh


def test_blkid_is_asked_for_each_partition(system: System, script: Script, channel, put, program) -> None:
    channel("{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", {"1": "sdb"})
    put("/sys/block/sdb/sdb1/size", "41940992")
    put("/dev/sdb1", b"\0" * 4096)
    program("blkid")
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout="DEVNAME=/dev/sdb\nPTUUID=12\nPTTYPE=dos\n")
    script.on(
        "blkid", "-p", "-o", "export", "/dev/sdb1", stdout="UUID=1A51\nTYPE=ntfs\nPART_ENTRY_TYPE=0x7\nPART_ENTRY_UUID=12-01\n"
    )
    assert disks.inspect(system, "/dev/sdb") == Contents(
        "/dev/sdb", "dos", "", False, (Part("/dev/sdb1", "7", "ntfs", "12-01", False, "1A51"),), "", 1024**2
    )


@pytest.mark.parametrize(("status", "why"), [(8, "finds several things at once"), (4, "cannot read /dev/sdb")])
def test_a_disk_that_blkid_cannot_judge_is_left_alone(
    system: System, script: Script, channel, program, status, why
) -> None:
    channel("{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", {"1": "sdb"})
    program("blkid")
    script.on("blkid", "-p", "-o", "export", "/dev/sdb", status=status)
    with pytest.raises(DiskError, match=why):
        disks.inspect(system, "/dev/sdb")


def test_without_blkid_nothing_is_touched(system: System, channel) -> None:
    channel("{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", {"1": "sdb"})
    with pytest.raises(DiskError, match=r"there is no blkid"):
        disks.inspect(system, "/dev/sdb")


@pytest.mark.parametrize(("size", "label"), [(2 * 1024**4, "dos"), (2 * 1024**4 + 512, "gpt")])
def test_a_disk_above_two_tebibytes_gets_a_gpt(
    system: System, script: Script, profile, put, program, size: int, label: str
) -> None:
    program("sfdisk")
    put("/dev/sdb1")
    script.on("sfdisk", "--wipe", "always", "--wipe-partitions", "always", "/dev/sdb")
    assert disks.partition(system, profile, "/dev/sdb", size) == "/dev/sdb1"
    assert (script.inputs[0] or b"").startswith(f"label: {label}\n".encode())


@pytest.mark.row("provisioning", 76)
def test_row_76_a_missing_mkfs_is_told_before_anything_is_destroyed(system: System, profile, program) -> None:
    with pytest.raises(DiskError, match=r"there is no mkfs\.ext4; install it"):
        disks.require_mkfs(system, profile, "ext4")
    program("mkfs.ext4", "mkfs.xfs")
    assert disks.require_mkfs(system, profile, "ext4") == ("mkfs.ext4", "-F", "{device}")
    assert disks.require_mkfs(system, profile, "xfs") == ("mkfs.xfs", "-f", "{device}")
    assert disks.require_mkfs(system, profile, "xfs", "id") == ("mkfs.xfs", "-f", "-muuid=id", "{device}")


@pytest.mark.parametrize(("size", "label"), [(2 * 1024**4, "msdos"), (2 * 1024**4 + 512, "gpt")])
def test_without_sfdisk_parted_makes_the_table(
    system: System, script: Script, profile, put, program, size: int, label: str
) -> None:
    program("parted")
    put("/dev/sdb1")
    script.on("parted", "--script", "/dev/sdb", "mklabel", label, "mkpart", "primary", "0%", "100%")
    assert disks.partition(system, profile, "/dev/sdb", size) == "/dev/sdb1"
    disks.retype(system, profile, "/dev/sdb1", "/dev/sdb", "dos")  # says nothing that Linux would read
    assert len(script.ran) == 1


@pytest.mark.row("provisioning", 78)
def test_row_78_without_either_nothing_is_begun(system: System, script: Script, profile) -> None:
    with pytest.raises(DiskError, match="there is neither sfdisk nor parted; install one of them"):
        disks.partition(system, profile, "/dev/sdb", 0)
    assert script.ran == []


@pytest.mark.parametrize(("there", "what"), [(True, "the next boot tries again"), (False, "/dev/sdb1 has gone meanwhile")])
def test_a_disk_that_goes_while_it_is_formatted_is_told(system: System, script: Script, put, there, what) -> None:
    if there:
        put("/dev/sdb1")
    script.on("mkfs.ext4", "-F", "/dev/sdb1", status=1, stderr="mkfs.ext4: No such device or address")
    with pytest.raises(DiskError, match=f"No such device or address.*; {what}"):
        disks.make_filesystem(system, ("mkfs.ext4", "-F", "{device}"), "/dev/sdb1")


def test_a_table_that_is_not_finished_is_told(system: System, script: Script, profile, put, program) -> None:
    program("sfdisk")
    put("/dev/sdb")
    table = ("sfdisk", "--wipe", "always", "--wipe-partitions", "always", "/dev/sdb")
    script.on(*table, status=1, stderr="sfdisk: /dev/sdb: Re-reading the partition table failed.: Device or resource busy")
    with pytest.raises(DiskError, match=r"cannot partition /dev/sdb: .*busy.*; the next boot tries again"):
        disks.partition(system, profile, "/dev/sdb", 0)


def test_what_is_built_on_a_disk_is_found_through_all_layers(system: System, put) -> None:
    put("/sys/block/sdb/sdb1/holders/md0")
    put("/sys/block/md0/md0p1/holders/dm-0")
    put("/sys/block/dm-0/size")
    assert disks.above(system, "/dev/sdb") == ["/dev/sdb", "/dev/sdb1", "/dev/md0", "/dev/md0p1", "/dev/dm-0"]
