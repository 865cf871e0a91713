"""Which disk is the resource disk: topologies of the platform, names of the administrator and of udev."""

from __future__ import annotations

import os

import pytest

from waagent.errors import DiskError
from waagent.machine import disk_search, disks
from waagent.system import System

IDE_0, IDE_1 = "{00000000-0000-8899-0000-000000000000}", "{00000000-0001-8899-0000-000000000000}"
SCSI_0, SCSI_1 = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", "{f8b3781b-1e82-4818-a1c3-63d806ec15bb}"


@pytest.mark.row("provisioning", 69)
@pytest.mark.row("field-demands", 125)
def test_row_69_generation_1_has_it_at_port_1_of_the_ide_controller(system: System, channel) -> None:
    channel(SCSI_0, {"0": "sdc", "1": "sdd"})  # data disks of the owner
    channel(IDE_0, {"0": "sda"})
    channel(IDE_1, {"0": "sdb"})
    assert disk_search.resource_disk(system) == "/dev/sdb"


@pytest.mark.row("provisioning", 69)
@pytest.mark.row("field-demands", 125)
def test_row_69_generation_2_has_it_at_lun_1_of_the_first_scsi_controller(system: System, channel) -> None:
    channel(SCSI_1, {"0": "sdc", "1": "sdd"})
    channel(SCSI_0, {"0": "sda", "1": "sdb", "2": "sr0"})
    assert disk_search.resource_disk(system) == "/dev/sdb"


@pytest.mark.row("provisioning", 69)
@pytest.mark.row("field-demands", 125)
def test_row_69_old_kernels_name_the_disk_in_the_directory(system: System, put) -> None:
    base = "/sys/bus/vmbus/devices/vmbus_0_2"
    put(f"{base}/device_id", f"{IDE_1}\n")
    put(f"{base}/host3/target3:0:0/3:0:0:0/block:sdb/size")
    put("/dev/sdb")
    assert disk_search.resource_disk(system) == "/dev/sdb"


@pytest.mark.parametrize("link", disk_search.LINKS)
def test_without_a_vmbus_it_is_what_udev_rules_call_so(system: System, put, link: str) -> None:
    put("/sys/block/sdb/size", "41943040")
    put("/dev/sdb")
    named = system.path(link)
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sdb")
    assert disk_search.resource_disk(system) == "/dev/sdb"


def test_a_name_of_udev_never_makes_the_system_s_disk_scratch_space(system: System, put) -> None:
    put("/sys/block/sda/sda1/size")
    put("/dev/sda")
    put("/dev/sda1")
    put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    named = system.path("/dev/disk/azure/resource")
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sda")
    assert disk_search.resource_disk(system) is None


def test_the_vmbus_counts_more_than_a_name_of_udev(system: System, put, channel) -> None:
    channel(SCSI_0, {"0": "sda", "1": "sdb"})
    channel(SCSI_1, {"0": "sdc"})
    named = system.path("/dev/disk/cloud/azure_resource")
    named.parent.mkdir(parents=True)
    named.symlink_to("../../sdc")
    assert disk_search.resource_disk(system) == "/dev/sdb"


@pytest.mark.row("provisioning", 70)
@pytest.mark.row("field-demands", 120)
def test_row_70_a_size_without_one_has_none(system: System, channel) -> None:
    channel(SCSI_0, {"0": "sda", "2": "sr0"})
    channel(SCSI_1, {"1": "sdc"})
    assert disk_search.resource_disk(system) is None
    assert disk_search.resource_disk(System(system.root)) is None


@pytest.mark.row("field-demands", 124)
def test_row_124_a_data_disk_is_named_by_its_logical_unit(system: System, channel) -> None:
    channel(SCSI_0, {"0": "sda", "1": "sdb", "3": "sdx"})
    channel(SCSI_1, {"0": "sdc", "3": "sdd"})
    assert disk_search.resource_disk(system, "LUN=3") == "/dev/sdd"
    with pytest.raises(DiskError, match=r"no data disk has LUN=7, which ResourceDisk\.Device names"):
        disk_search.resource_disk(system, "LUN=7")


@pytest.mark.row("field-demands", 124)
@pytest.mark.parametrize("named", ["LUN=", "LUN=b", "sdb", "LABEL=", "/etc/passwd"])
def test_row_124_a_name_that_is_none_is_told(system: System, named: str) -> None:
    with pytest.raises(DiskError, match=f"ResourceDisk.Device={named} is no device, and none of LUN=number, LABEL=name"):
        disk_search.resource_disk(system, named)


@pytest.mark.row("field-demands", 124)
@pytest.mark.parametrize("link", ["/dev/disk/azure/scsi1/lun3", "/dev/disk/azure/data/by-lun/3"])
def test_row_124_without_a_vmbus_udev_knows_the_logical_unit(system: System, put, link: str) -> None:
    put("/sys/block/nvme0n2/size", "41943040")
    put("/dev/nvme0n2")
    named = system.path(link)
    named.parent.mkdir(parents=True)
    named.symlink_to("/dev/nvme0n2")
    assert disk_search.resource_disk(system, "LUN=3") == "/dev/nvme0n2"


def test_a_disk_that_goes_while_it_is_looked_for_is_none(system: System, channel, monkeypatch) -> None:
    channel(SCSI_0, {"1": "sdb"})
    monkeypatch.setattr(system, "status", lambda path: os.lstat("/nowhere"))
    assert disk_search.resource_disk(system) is None


@pytest.mark.row("field-demands", 119)
def test_row_119_sizes_with_several_local_disks_have_several_candidates(system: System, put) -> None:
    for name in ("nvme1n1", "nvme2n1"):
        put(f"/sys/block/{name}/device/model", "Microsoft NVMe Direct Disk v2\n")
        put(f"/dev/{name}")
    assert disk_search.candidates(system) == ["/dev/nvme1n1", "/dev/nvme2n1"]


@pytest.mark.row("field-demands", 119)
def test_row_119_a_local_nvme_disk_is_one_and_a_remote_one_is_not(system: System, put) -> None:
    for name, model in (("nvme0n1", "MSFT NVMe Accelerator v1.0"), ("nvme1n1", "Microsoft NVMe Direct Disk v2")):
        put(f"/sys/block/{name}/device/model", f"{model}        \n")
        put(f"/dev/{name}")
    assert disk_search.resource_disk(system) == "/dev/nvme1n1"
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
    assert disk_search.resource_disk(system) is None
    with pytest.raises(DiskError, match=r"the running system is on it"):
        disk_search.resource_disk(system, "/dev/sdb")


@pytest.mark.parametrize("named", ["/dev/sdb", "/dev/md0", "/dev/md0p1", "LABEL=root"])
def test_nor_is_what_lies_between_the_system_and_its_disk(system: System, put, named: str) -> None:
    """The system is on a partition of an array."""
    put("/sys/block/sdb/sdb1/size")
    put("/sys/block/md0/md0p1/size")
    put("/sys/block/md0/slaves/sdb1")
    for device in ("/dev/sdb", "/dev/sdb1", "/dev/md0", "/dev/md0p1"):
        put(device)
    (system.path("/dev/disk/by-label")).mkdir(parents=True)
    (system.path("/dev/disk/by-label") / "root").symlink_to("../../md0p1")
    put("/proc/self/mounts", "/dev/md0p1 / ext4 rw 0 0\n")
    with pytest.raises(DiskError, match=r"the running system is on it"):
        disk_search.resource_disk(system, named)


@pytest.mark.row("field-demands", 124)
def test_row_124_the_admin_may_name_it_by_device_link_or_label(system: System, channel, put) -> None:
    channel(SCSI_1, {"7": "sdx"})
    put("/sys/block/sdx/sdx1/size")
    put("/dev/sdx1")
    for folder in ("azure", "by-label", "by-uuid"):
        (system.path("/dev/disk") / folder).mkdir(parents=True)
    (system.path("/dev/disk/azure") / "resource").symlink_to("../../sdx")
    (system.path("/dev/disk/by-label") / "scratch").symlink_to("../../sdx1")
    (system.path("/dev/disk/by-uuid") / "0f8f").symlink_to("../../sdx1")
    for named in ("/dev/sdx", "/dev/disk/azure/resource", "LABEL=scratch", "UUID=0f8f", "/dev/sdx1"):
        assert disk_search.resource_disk(system, named) == "/dev/sdx"
    with pytest.raises(DiskError, match=r"there is no /dev/sdz, which ResourceDisk.Device names"):
        disk_search.resource_disk(system, "/dev/sdz")
