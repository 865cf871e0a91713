"""The temporary disk in all its states, and the disks of an owner: put into one machine while it runs.

The rule that all of this is about: nothing of an owner's is ever formatted. What was on a disk is compared byte by
byte with what is on it afterwards. The kernel is the one of Debian's cloud images, and has no driver for NTFS.

The machine has none at first, and a hard first boot: its DVD cannot be read in the beginning and has no UDF, and its
fabric is where DHCP says, not at the usual address.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import discs
from bed.vm import VirtualMachine
from bed.vm_bed import VmBed
from bed.vm_scratch import LIMIT, LOG, POINT, SWAP, exchange, prepare, set_options, swap_of

MIB = 1024 * 1024
TIB = MIB * MIB
PERSONAL = {"thesis.txt": "two years of work\n"}
LOCAL_NVME = "Microsoft NVMe Direct Disk"
ELSEWHERE = "168.63.129.77"
EMPTY_DRIVE = 10.0


@pytest.fixture(scope="module")
def vm() -> Iterator[VirtualMachine]:
    with VmBed(wire_server=ELSEWHERE) as bed:
        machine = bed.machine(media=None, host_name="vm-disks", user="ada", ssh_keys=[bed.make_key()[1]])
        for name in ("one", "two"):
            path = discs.blank(bed.disk(f"nvme-{name}"), 128 * MIB)
            bed.vm.options += ["-drive", f"file={path},if=none,id={name},format=raw"]
            bed.vm.options += ["-device", f"nvme,serial={name},drive={name}"]
        set_options(bed.vm, *swap_of(32))
        bed.vm.boot()
        bed.vm.wait_until_succeeds(f"grep -q local/provisioning-agent {LOG}", timeout=LIMIT)
        time.sleep(EMPTY_DRIVE)
        bed.vm.insert(bed.disc("iso9660"))
        machine.wait_for("ready", timeout=480)
        bed.vm.run("waagent status --wait --timeout 400", timeout=420)
        bed.vm.hold_periodic()
        yield bed.vm
        assert not bed.fabric.simulator.violations


def written(path: Path) -> str:
    """What is on a disk, in short."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_left_alone(vm: VirtualMachine, path: Path) -> str:
    """Offer the disk to the agent; what it said, when the disk has stayed as it was."""
    before = written(path)
    exchange(vm, path)
    said = prepare(vm)
    vm.run("sync")
    assert written(path) == before
    assert not vm.exists(SWAP) and vm.succeed("swapon --show=NAME --noheadings") == ""
    return said


def of(vm: VirtualMachine, name: str) -> Path:
    return vm.disk.with_name(name)


# -- the first boot -----------------------------------------------------------------------------------------


def test_a_disc_that_cannot_be_read_at_first_is_read_as_soon_as_it_can_be(vm: VirtualMachine) -> None:
    steps = [line for line in vm.read(LOG).splitlines() if "local/instance-media" in line]
    assert "read ovf-env.xml from /dev/sr0" in steps[-1]
    seconds = float(steps[-1].rsplit("(", 1)[1].split()[0])
    assert EMPTY_DRIVE <= seconds < EMPTY_DRIVE + 25


def test_the_disc_has_iso_9660_alone_and_is_ejected(vm: VirtualMachine) -> None:
    assert "ISO 9660" in vm.succeed("dmesg | grep -i 'iso 9660'")
    assert vm.tray() == "open"


def test_the_endpoint_is_option_245_of_the_lease(vm: VirtualMachine) -> None:
    assert "OPTION_245=a83f814d" in vm.succeed("cat /run/systemd/netif/leases/*")
    assert vm.read("/var/lib/waagent/WireServerEndpoint") == ELSEWHERE


def test_a_machine_without_a_resource_disk_boots_without_failures(vm: VirtualMachine) -> None:
    assert "this VM size has no resource disk" in vm.succeed("waagent status --long")
    assert vm.succeed("hostname") == "vm-disks\n"
    assert vm.succeed("systemctl list-units --failed --no-legend") == ""


# -- sizes without one ---------------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 70)
@pytest.mark.row("field-demands", 120)
def test_row_70_without_a_resource_disk_the_agent_says_so(vm: VirtualMachine) -> None:
    assert prepare(vm) == ""
    foreseen = vm.succeed("waagent stage config --only resource-disk --only swap --force --dry-run")
    assert "resource-disk: skipped: this VM size has no resource disk" in foreseen
    assert "swap: skipped: no resource disk is mounted" in foreseen


@pytest.mark.row("field-demands", 130)
def test_swap_space_falls_back_to_the_os_disk_until_there_is_a_resource_disk(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32), "ResourceDisk.SwapFallback=os")
    assert "is in use, 32 MiB" in prepare(vm)
    used = vm.succeed("swapon --show=NAME --noheadings").strip()
    assert vm.succeed(["findmnt", "--noheadings", "--output", "SOURCE", "--target", used]) == "/dev/vda\n"
    exchange(vm, discs.blank(of(vm, "fresh"), 256 * MIB))
    assert f"{SWAP} is in use, 32 MiB" in prepare(vm)
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n" and not vm.exists(used)
    set_options(vm, *swap_of(32))


# -- disks of an owner ---------------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 73)
def test_row_73_a_disk_with_files_is_mounted_as_it_is(vm: VirtualMachine) -> None:
    exchange(vm, discs.data(of(vm, "data"), 256 * MIB, {"orders": "one\ntwo\n"}))
    identity = vm.succeed("blkid -o value -s UUID /dev/disk/azure/resource-part1")
    assert f"mounted /dev/sda1 (ext4) on {POINT}" in prepare(vm)
    assert vm.read(f"{POINT}/orders") == "one\ntwo\n"
    assert vm.succeed("blkid -o value -s UUID /dev/disk/azure/resource-part1") == identity


@pytest.mark.row("provisioning", 74)
def test_row_74_wrong_mount_options_cost_a_mount_and_no_files(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32), "ResourceDisk.MountOptions=nonsense")
    said = is_left_alone(vm, discs.data(of(vm, "options"), 256 * MIB, {"orders": "one\n"}))
    assert "resource-disk failed: " in said and "with options nonsense" in said
    set_options(vm, *swap_of(32), "ResourceDisk.MountOptions=noatime,nodev")
    assert f"mounted /dev/sda1 (ext4) on {POINT}" in prepare(vm)
    assert {"noatime", "nodev"} <= set(vm.succeed(f"findmnt --noheadings --output OPTIONS {POINT}").strip().split(","))
    assert vm.read(f"{POINT}/orders") == "one\n"
    set_options(vm, *swap_of(32))


def test_a_disk_with_data_that_nobody_knows_is_left_alone(vm: VirtualMachine) -> None:
    said = is_left_alone(vm, discs.unknown(of(vm, "unknown"), 64 * MIB))
    assert "data of its owner may be there, so it is left as it is" in said


@pytest.mark.row("field-demands", 127)
def test_ntfs_with_files_is_left_alone(vm: VirtualMachine) -> None:
    """The disk of the platform, which a former system of the owner's has used."""
    said = is_left_alone(vm, discs.platform(of(vm, "used"), 64 * MIB, {**discs.WARNING, **PERSONAL}))
    assert "is NTFS and has files (" in said and "thesis.txt" in said


@pytest.mark.row("field-demands", 127)
def test_a_large_disk_with_files_is_left_alone(vm: VirtualMachine) -> None:
    said = is_left_alone(vm, discs.large(of(vm, "large-used"), 128 * MIB, PERSONAL))
    assert "thesis.txt" in said


@pytest.mark.row("provisioning", 94)
def test_row_94_a_data_disk_gets_its_name_and_its_time_limit_and_is_left_alone(vm: VirtualMachine) -> None:
    """Put in while it runs: its name is udev's doing, the time limit that of the periodic stage."""
    blank, full = discs.blank(of(vm, "owned"), 64 * MIB), discs.data(of(vm, "full"), 64 * MIB, PERSONAL)
    before = written(blank), written(full)
    vm.attach_data(blank, 3)
    vm.attach_data(full, 4)
    for unit in (3, 4):
        vm.wait_until_succeeds(f"test -b /dev/disk/azure/scsi1/lun{unit}")
    vm.succeed("waagent stage periodic --only scsi-timeout --force", timeout=LIMIT)
    for unit in (3, 4):
        name = vm.succeed(f"basename $(readlink -f /dev/disk/azure/scsi1/lun{unit})").strip()
        assert vm.read(f"/sys/block/{name}/device/timeout") == "300\n"
        assert "scsi-timeout" in vm.succeed(f"waagent why /sys/block/{name}/device/timeout")
    vm.run(f"swapoff {SWAP}; umount {POINT}")
    prepare(vm)
    vm.run("sync")
    assert (written(blank), written(full)) == before


@pytest.mark.row("field-demands", 122)
def test_row_122_an_encrypted_disk_that_is_mounted_is_used_where_it_is(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32))
    exchange(vm, discs.blank(of(vm, "encrypted"), 256 * MIB))
    secret = "echo secret | cryptsetup --batch-mode --key-file=-"
    quick = "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000"
    vm.succeed(f"{secret} luksFormat {quick} /dev/disk/azure/resource", timeout=LIMIT)
    assert "crypto_LUKS" in prepare(vm)  # nobody has unlocked it
    vm.succeed(f"{secret} open /dev/disk/azure/resource scratch && mkfs.ext4 -q /dev/mapper/scratch", timeout=LIMIT)
    assert "dm-0 uses /dev/sda" in prepare(vm)
    vm.succeed(f"mount /dev/mapper/scratch {POINT}")
    said = prepare(vm)
    assert f"/dev/mapper/scratch is mounted on {POINT}" in said and f"{SWAP} is in use, 32 MiB" in said
    vm.succeed(f"swapoff {SWAP} && umount {POINT} && cryptsetup close scratch")


# -- disks of the platform -----------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 84)
@pytest.mark.parametrize("filesystem", ["xfs", "btrfs"])
def test_row_84_other_file_systems_are_made_and_hold_swap(vm: VirtualMachine, filesystem: str) -> None:
    set_options(vm, *swap_of(32), f"ResourceDisk.Filesystem={filesystem}")
    exchange(vm, discs.blank(of(vm, filesystem), 512 * MIB))
    said = prepare(vm)
    assert f"made {filesystem} on /dev/sda1 and mounted it" in said
    assert f"{SWAP} is in use, 32 MiB" in said
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"


@pytest.mark.row("provisioning", 80)
def test_row_80_swap_that_does_not_fit_is_refused(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(4096), "ResourceDisk.Filesystem=btrfs")
    assert "it would take 4096 MiB" in prepare(vm)
    assert not vm.exists(SWAP)


@pytest.mark.row("provisioning", 72)
def test_row_72_the_platform_s_layout_of_a_large_disk_becomes_one_partition(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32))
    exchange(vm, discs.large(of(vm, "large"), 256 * MIB))
    assert vm.succeed("ls /dev/disk/azure/").split()[:3] == ["resource", "resource-part1", "resource-part2"]
    assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepare(vm)
    listed = vm.succeed("udevadm settle; lsblk --noheadings --list --output NAME,FSTYPE /dev/sda")
    assert listed.split() == ["sda", "sda1", "ext4"]  # one partition, and udev knows what is on it


def test_encrypted_swap_is_noise_on_the_disk(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32), "ResourceDisk.EnableSwapEncryption=y")
    assert f"{SWAP} is in use, 32 MiB, encrypted" in prepare(vm)
    assert vm.succeed("swapon --show=NAME --noheadings") == vm.succeed("readlink -f /dev/mapper/waagent-swap")
    assert "cipher:  aes-xts-plain64" in vm.succeed("cryptsetup status waagent-swap")
    vm.succeed(f"sync; ! grep -q SWAPSPACE2 {SWAP}")
    set_options(vm, *swap_of(32))
    assert f"{SWAP} is in use, 32 MiB" in prepare(vm)
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"
    vm.succeed("test ! -e /dev/mapper/waagent-swap")


@pytest.mark.row("field-demands", 127)
def test_a_disk_above_two_tebibytes_gets_a_gpt(vm: VirtualMachine) -> None:
    """Sparse here; three TiB for the kernel. XFS, because its tables do not grow with the disk."""
    set_options(vm, "ResourceDisk.Filesystem=xfs")
    exchange(vm, discs.blank(of(vm, "huge"), 3 * TIB))
    assert "made xfs on /dev/sda1" in prepare(vm)
    assert vm.succeed("blkid -p -o value -s PTTYPE /dev/sda") == "gpt\n"
    assert int(vm.succeed(f"findmnt --bytes --noheadings --output SIZE {POINT}")) > 2.9 * TIB


@pytest.mark.row("provisioning", 78)
def test_row_78_parted_serves_where_there_is_no_sfdisk(vm: VirtualMachine) -> None:
    set_options(vm)
    vm.succeed("mv /sbin/sfdisk /sbin/sfdisk.away")
    try:
        exchange(vm, discs.blank(of(vm, "parted"), 256 * MIB))
        assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepare(vm)
        assert vm.succeed("blkid -p -o value -s PTTYPE /dev/sda") == "dos\n"
    finally:
        vm.succeed("mv /sbin/sfdisk.away /sbin/sfdisk")


# -- things go wrong -----------------------------------------------------------------------------------------


def test_a_table_that_was_written_half_is_written_anew(vm: VirtualMachine) -> None:
    """sfdisk writes an empty table and dies."""
    vm.succeed("cp /sbin/sfdisk /sbin/sfdisk.real")
    half = '#!/bin/sh\nfor disk; do :; done\necho "label: dos" | /sbin/sfdisk.real --quiet "$disk"\nexit 1\n'
    vm.write("/usr/local/sbin/sfdisk", half, 0o755)
    path = discs.blank(of(vm, "half"), 256 * MIB)
    exchange(vm, path)
    said = prepare(vm)
    assert "resource-disk failed: " in said
    vm.run("sync")
    assert "label: dos" in subprocess.run(["sfdisk", "--dump", path], capture_output=True, encoding="utf-8").stdout
    vm.succeed("rm /usr/local/sbin/sfdisk /sbin/sfdisk.real")
    assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepare(vm)


@pytest.mark.row("provisioning", 76)
def test_row_76_without_mkfs_nothing_is_destroyed(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32))
    vm.succeed("mv /sbin/mkfs.ext4 /sbin/mkfs.ext4.away")
    try:
        said = is_left_alone(vm, discs.platform(of(vm, "no-mkfs"), 256 * MIB))
        assert "mkfs.ext4" in said
    finally:
        vm.succeed("mv /sbin/mkfs.ext4.away /sbin/mkfs.ext4")
    assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepare(vm)


@pytest.mark.row("provisioning", 77)
def test_row_77_a_mount_point_that_is_a_file_or_in_use_is_refused(vm: VirtualMachine) -> None:
    set_options(vm, "ResourceDisk.MountPoint=/srv/scratch")
    vm.succeed("touch /srv/scratch")
    said = is_left_alone(vm, discs.data(of(vm, "in-use"), 64 * MIB, PERSONAL))
    assert "it is a file; remove it or set another ResourceDisk.MountPoint" in said
    vm.succeed("rm /srv/scratch && mkdir /srv/scratch && mount -t tmpfs scratch /srv/scratch")
    assert "scratch is mounted there" in prepare(vm)
    vm.succeed("umount /srv/scratch && echo before >/srv/scratch/note")
    said = prepare(vm)
    assert "/srv/scratch is not empty; what is in it is hidden" in said
    assert vm.read("/srv/scratch/thesis.txt") == PERSONAL["thesis.txt"]
    vm.succeed("umount /srv/scratch")
    assert vm.read("/srv/scratch/note") == "before\n"


def test_a_disk_that_vanishes_while_it_is_formatted_costs_that_disk_alone(vm: VirtualMachine) -> None:
    set_options(vm)
    exchange(vm, discs.blank(of(vm, "vanishing"), 512 * MIB), slow=128 * 1024)
    vm.succeed("systemd-run --quiet --unit=prepare waagent stage config --only resource-disk --force")
    vm.wait_until_succeeds("pgrep -x mkfs.ext4", timeout=LIMIT)
    before = len(vm.read("/var/log/waagent.log"))
    vm.detach()
    vm.wait_until_succeeds("systemctl show --property=ActiveState prepare | grep -qE 'failed|inactive'", timeout=LIMIT)
    assert "resource-disk failed: " in vm.read("/var/log/waagent.log")[before:]
    assert vm.succeed("systemctl is-active waagent.service") == "active\n"
    exchange(vm, discs.blank(of(vm, "next"), 256 * MIB))
    assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepare(vm)


def test_a_disk_that_comes_at_the_place_of_the_one_that_was_looked_at_is_left_alone(vm: VirtualMachine) -> None:
    """Between the look and mkfs. The kernel would give it the name of the one that has gone."""
    set_options(vm)
    exchange(vm, discs.platform(of(vm, "first"), 256 * MIB))
    theirs = discs.data(of(vm, "theirs"), 256 * MIB, PERSONAL)
    before = written(theirs)
    wait = 'touch /run/looked\nuntil test -e /run/exchanged; do sleep 0.2; done\nexec /sbin/sfdisk "$@"\n'
    vm.write("/usr/local/sbin/sfdisk", f"#!/bin/sh\n{wait}", 0o755)
    vm.succeed("systemd-run --quiet --unit=exchanged waagent stage config --only resource-disk --force")
    vm.wait_until_succeeds("test -e /run/looked", timeout=LIMIT)
    vm.succeed("rm /usr/local/sbin/sfdisk")
    vm.detach()
    vm.attach(theirs)
    vm.wait_until_succeeds("test -b /dev/disk/azure/resource-part1")
    vm.succeed("touch /run/exchanged")
    vm.wait_until_succeeds("systemctl show --property=ActiveState exchanged | grep -qE 'failed|inactive'", timeout=LIMIT)
    vm.run("sync")
    assert written(theirs) == before
    assert f"(ext4) on {POINT}" in prepare(vm)
    assert vm.read(f"{POINT}/thesis.txt") == PERSONAL["thesis.txt"]


# -- local NVMe disks ----------------------------------------------------------------------------------------


def make_local(vm: VirtualMachine) -> None:
    """QEMU's disks are of another maker: over the model that the kernel tells lies the platform's."""
    vm.write("/run/model", f"{LOCAL_NVME} v2\n")
    for number in (0, 1):
        vm.succeed(f"mount --bind /run/model $(readlink -f /sys/class/nvme/nvme{number})/model")


@pytest.mark.row("field-demands", 119)
def test_of_two_local_nvme_disks_the_first_is_used_and_the_other_named(vm: VirtualMachine) -> None:
    set_options(vm)
    vm.run(f"umount {POINT}")
    vm.detach()
    make_local(vm)
    vm.wait_until_succeeds("test ! -e /dev/disk/azure/resource")
    said = prepare(vm)
    assert "of 2 local disks /dev/nvme0n1 is used and /dev/nvme1n1 left" in said
    assert f"made ext4 on /dev/nvme0n1p1 and mounted it on {POINT}" in said
    vm.succeed(f"umount {POINT} && blkdiscard --force --zeroout /dev/nvme0n1 && udevadm settle")


@pytest.mark.row("field-demands", 119)
def test_two_local_nvme_disks_become_one_array_that_holds_swap(vm: VirtualMachine) -> None:
    set_options(vm, *swap_of(32), "ResourceDisk.Stripe=y")
    said = prepare(vm)
    assert "made ext4 on /dev/md" in said and f"{SWAP} is in use, 32 MiB" in said
    assert "raid0" in vm.read("/proc/mdstat")
    assert int(vm.succeed(f"findmnt --bytes --noheadings --output SIZE {POINT}")) > 200 * MIB
    vm.write(f"{POINT}/of-the-owner", "scratch\n")
    vm.succeed(f"swapoff {SWAP} && umount {POINT} && mdadm --stop --scan")
    assert "mounted /dev/md" in prepare(vm)
    assert vm.read(f"{POINT}/of-the-owner") == "scratch\n"
