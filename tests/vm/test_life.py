"""The life of one machine with real disks: first boot, restart, power cuts, a move to other hardware, its owner's disks.

One machine, in order: each boot costs half a minute, so each test looks at one thing that the boot before it did.
The disks are the platform's: a DVD with UDF, and at unit 1 a disk with one fresh NTFS partition.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import discs
from bed.vm_bed import VmBed

from waagent.simulator import Machine

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
PASSWORD = "Correct-Horse-7-Battery"
MIB = 1024 * 1024
DISK = 512 * MIB
POINT = "/mnt/resource"
SWAP = f"{POINT}/swapfile"
WARNING = f"{POINT}/DATALOSS_WARNING_README.txt"
DROP_IN = "/etc/waagent.conf.d/50-test.conf"
# An RSA key takes a minute of the emulated processor at worst; swap is small for the same reason.
OPTIONS = "Provisioning.SshHostKeyPairType=ed25519\nResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB={swap}\n"
# Generous: an emulated processor shares what other tests leave of the real one.
READY_LIMIT = 480
CHANGE_LIMIT = 300


class Life(NamedTuple):
    bed: VmBed
    machine: Machine
    key: Path


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with VmBed() as bed:
        key, public = bed.make_key()
        machine = bed.machine(host_name="vm-real", user="ada", password=PASSWORD, ssh_keys=[public])
        bed.vm.resource_disk = discs.platform(bed.disk("temporary"), DISK)
        bed.vm.write(DROP_IN, OPTIONS.format(swap=64))
        bed.vm.boot()
        machine.wait_for("ready", timeout=READY_LIMIT)
        yield Life(bed, machine, key)


def settled(life: Life) -> dict[str, dict[str, str]]:
    """Wait until the boot is done, with no step failed; {"stage/step": {"outcome", "message"}}."""
    ran = life.bed.vm.run("waagent status --wait --timeout 400 --format json", timeout=420)
    status = json.loads(ran.out)
    steps = {f"{name}/{step['name']}": step for name, stage in status["stages"].items() for step in stage["steps"]}
    assert {name: step["message"] for name, step in steps.items() if step["outcome"] == "failed"} == {}
    assert status["state"] == "done"
    return steps


def restarted(life: Life) -> dict[str, dict[str, str]]:
    """After a power cut."""
    life.bed.vm.boot()
    return settled(life)


def prepared(life: Life) -> str:
    """Run the two steps again, as at a boot; what they said in the log (which is silent about what is skipped)."""
    vm = life.bed.vm
    before = len(vm.read("/var/log/waagent.log"))
    vm.run("waagent stage config --only resource-disk --only swap --force", timeout=CHANGE_LIMIT)
    return vm.read("/var/log/waagent.log")[before:]


# -- the first boot --------------------------------------------------------------------------


def test_first_boot_does_all_steps(life: Life) -> None:
    settled(life)
    assert life.bed.vm.succeed("systemctl list-units --failed --no-legend") == ""


def test_machine_is_an_azure_vm_by_its_firmware(life: Life) -> None:
    assert life.bed.vm.succeed("waagent query vm.source; waagent query vm.azure; waagent query vm.id").split() == [
        "smbios", "true", life.bed.vm.vm_id
    ]  # fmt: skip


def test_document_is_read_from_the_disc_and_the_disc_is_ejected(life: Life) -> None:
    assert life.bed.vm.succeed("waagent query media.device") == "/dev/sr0\n"
    assert life.bed.vm.tray() == "open"
    assert "/dev/sr0" not in life.bed.vm.read("/proc/mounts")


def test_copy_of_the_document_has_no_password(life: Life) -> None:
    vm = life.bed.vm
    copy = vm.read("/var/lib/waagent/ovf-env.xml")
    assert "<UserPassword>*</UserPassword>" in copy and "<HostName>vm-real</HostName>" in copy
    assert vm.succeed("stat -c %a:%U /var/lib/waagent/ovf-env.xml") == "600:root\n"
    vm.fail(["grep", "-rF", PASSWORD, "/var/lib/waagent", "/var/log", "/run", "/etc"])
    assert PASSWORD not in life.bed.vm.serial()


def test_owner_can_log_in(life: Life) -> None:
    assert life.bed.ssh("ada", life.key, "id -un; hostname", timeout=60).out == "ada\nvm-real\n"


def test_dhcp_knows_the_host_name(life: Life) -> None:
    """It is set before the first lease, so the platform's DNS learns it without a renewal."""
    assert life.bed.dhcp.name == "vm-real"


def test_serial_console_tells_of_the_boot(life: Life) -> None:
    said = life.bed.vm.serial()
    assert "local/hostname" in said and "final/report" in said


def test_requests_of_the_kernel_wait_for_the_platform(life: Life) -> None:
    assert life.bed.vm.read("/sys/block/sda/device/timeout") == "300\n"


@pytest.mark.row("provisioning", 71)
def test_row_71_the_platform_s_disk_is_formatted_and_mounted(life: Life) -> None:
    vm = life.bed.vm
    assert vm.succeed(f"findmnt --noheadings --output SOURCE,FSTYPE {POINT}").split() == ["/dev/sda1", "ext4"]
    assert "can be lost at any time" in vm.read(WARNING)
    assert vm.succeed("sfdisk --part-type /dev/sda 1").strip() == "83"
    assert vm.succeed("readlink -f /dev/disk/azure/resource") == "/dev/sda\n"


@pytest.mark.row("provisioning", 79)
def test_row_79_swap_is_of_the_size_asked_for(life: Life) -> None:
    vm = life.bed.vm
    assert vm.succeed(f"stat -c %s:%a:%U {SWAP}") == f"{64 * MIB}:600:root\n"
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"


def test_fabric_has_no_complaint(life: Life) -> None:
    states = [(report.state, report.substatus) for report in life.machine.reports.health]
    assert states[0] == ("NotReady", "Provisioning") and states[-1][0] == "Ready"
    assert not life.bed.fabric.simulator.violations
    assert not life.bed.fabric.simulator.errors


# -- control groups --------------------------------------------------------------------------


def test_extension_gets_no_more_of_the_processor_than_its_quota(life: Life) -> None:
    """Control groups of the second version alone; the handler counts for six seconds and may use a fifth of one."""
    life.bed.fabric.simulator.add_package(HANDLERS / "Demo.Busy", "Demo.Busy", "1.0.0")
    life.machine.publish([{"name": "Demo.Busy", "version": "1.0.0", "public": {}}])
    life.machine.wait_for("extension=Demo.Busy", timeout=CHANGE_LIMIT)
    told = dict(line.split(" ", 1) for line in life.bed.vm.read("/var/log/azure/Demo.Busy/seconds.txt").splitlines())
    assert told["slice"].endswith("/azure-vmextensions.slice/azure-vmextensions-Demo.Busy.slice")
    assert told["max"] == "20000 100000"
    assert int(told["used"]) / int(told["clock"]) < 0.3


def test_watcher_runs_in_the_agent_s_slice(life: Life) -> None:
    main = life.bed.vm.succeed("systemctl show --property=MainPID --value waagent.service").strip()
    assert life.bed.vm.read(f"/proc/{main}/cgroup").endswith("/azure.slice/waagent.service\n")


# -- a restart -------------------------------------------------------------------------------


def test_restart_changes_nothing(life: Life) -> None:
    vm = life.bed.vm
    identity = f"blkid -o value -s UUID /dev/sda1; ls -i {SWAP}; getent passwd ada; sha256sum /etc/ssh/ssh_host_*"
    vm.write(f"{POINT}/of-the-owner", "scratch\n")
    before = vm.succeed(identity)
    reads = "grep -c 'local/instance-media changed' /var/log/waagent.log"
    read = vm.succeed(reads)
    health = len(life.machine.reports.health)
    vm.reboot()
    steps = settled(life)
    assert vm.succeed(identity) == before
    assert vm.read(f"{POINT}/of-the-owner") == "scratch\n"
    assert steps["config/resource-disk"]["message"] == f"mounted /dev/sda1 (ext4) on {POINT}"
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"
    # A reset closes QEMU's drive with the disc in it: that it is not read again is the agent's doing.
    assert vm.succeed(reads) == read
    assert all(report.state == "Ready" for report in life.machine.reports.health[health:])


# -- power cuts ------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 81)
def test_row_81_power_cut_while_swap_is_made_leaves_a_file_that_is_made_anew(life: Life) -> None:
    vm = life.bed.vm
    vm.write(DROP_IN, OPTIONS.format(swap=160))
    vm.run("sync")
    vm.slow(4 * MIB)
    vm.succeed("systemd-run --quiet waagent stage config --only swap --force")
    vm.wait_until_succeeds("pgrep -x dd", timeout=CHANGE_LIMIT)
    vm.kill()
    restarted(life)
    assert vm.succeed(f"stat -c %s:%a {SWAP}") == f"{160 * MIB}:600\n"
    name, size = vm.succeed("swapon --show=NAME,SIZE --bytes --noheadings").split()
    assert name == SWAP and 159 * MIB < int(size) < 160 * MIB  # the kernel takes whole pages of the file's extents
    assert vm.read(f"{POINT}/of-the-owner") == "scratch\n"


def test_power_cut_while_a_blank_disk_is_formatted_is_made_good_at_the_next_boot(life: Life) -> None:
    """After a deallocation the platform hands out another disk."""
    vm = life.bed.vm
    vm.succeed(f"swapoff {SWAP} && umount {POINT}")
    vm.detach()
    vm.write(DROP_IN, OPTIONS.format(swap=32))
    vm.run("sync")
    vm.attach(discs.blank(vm.disk.with_name("another"), DISK), slow=128 * 1024)
    vm.wait_until_succeeds("test -b /dev/disk/azure/resource")
    vm.succeed("systemd-run --quiet waagent stage config --only resource-disk --force")
    vm.wait_until_succeeds("pgrep -x mkfs.ext4", timeout=CHANGE_LIMIT)
    vm.kill()
    steps = restarted(life)
    assert steps["config/resource-disk"]["message"] == f"made ext4 on /dev/sda1 and mounted it on {POINT}"
    assert vm.exists(WARNING) and not vm.exists(f"{POINT}/of-the-owner")
    assert vm.succeed(f"stat -c %s:%a {SWAP}") == f"{32 * MIB}:600\n"
    vm.succeed("test ! -e /var/lib/waagent/resource-disk.json")


# -- disks of the owner, put in while it runs --------------------------------------------------


def swap_disk(life: Life, path: Path) -> None:
    vm = life.bed.vm
    vm.run(f"swapoff {SWAP}; umount {POINT}")
    vm.detach()
    vm.wait_until_succeeds("test ! -e /dev/disk/azure/resource")
    vm.attach(path)
    vm.wait_until_succeeds("test -b /dev/disk/azure/resource")


@pytest.mark.row("provisioning", 73)
def test_row_73_a_disk_with_files_is_mounted_as_it_is(life: Life) -> None:
    vm = life.bed.vm
    swap_disk(life, discs.data(vm.disk.with_name("data"), 256 * MIB, {"orders": "one\ntwo\n"}))
    identity = vm.succeed("blkid -o value -s UUID /dev/disk/azure/resource-part1")
    assert f"mounted /dev/sda1 (ext4) on {POINT}" in prepared(life)
    assert vm.read(f"{POINT}/orders") == "one\ntwo\n"
    assert vm.succeed("blkid -o value -s UUID /dev/disk/azure/resource-part1") == identity


def test_a_disk_with_data_that_nobody_knows_is_left_alone(life: Life) -> None:
    vm = life.bed.vm
    path = discs.unknown(vm.disk.with_name("unknown"), 64 * MIB)
    before = path.read_bytes()
    swap_disk(life, path)
    assert "data of its owner may be there, so it is left as it is" in prepared(life)
    assert not vm.exists(SWAP) and vm.succeed("swapon --show=NAME --noheadings") == ""
    vm.run("sync")
    assert path.read_bytes() == before


@pytest.mark.row("provisioning", 84)
@pytest.mark.parametrize(("filesystem", "size"), [("xfs", 512), ("btrfs", 512)])
def test_row_84_other_file_systems_are_made_and_hold_swap(life: Life, filesystem: str, size: int) -> None:
    vm = life.bed.vm
    vm.write(DROP_IN, OPTIONS.format(swap=32) + f"ResourceDisk.Filesystem={filesystem}\n")
    swap_disk(life, discs.blank(vm.disk.with_name(filesystem), size * MIB))
    said = prepared(life)
    assert f"made {filesystem} on /dev/sda1 and mounted it" in said
    assert f"{SWAP} is in use, 32 MiB" in said
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"


@pytest.mark.row("provisioning", 80)
def test_row_80_swap_that_does_not_fit_is_refused(life: Life) -> None:
    life.bed.vm.write(DROP_IN, OPTIONS.format(swap=4096) + "ResourceDisk.Filesystem=btrfs\n")
    assert "it would take 4096 MiB" in prepared(life)
    assert not life.bed.vm.exists(SWAP)


@pytest.mark.row("provisioning", 70)
def test_row_72_the_platform_s_layout_of_a_large_disk_becomes_one_partition(life: Life) -> None:
    vm = life.bed.vm
    vm.write(DROP_IN, OPTIONS.format(swap=32))
    swap_disk(life, discs.large(vm.disk.with_name("large"), 256 * MIB))
    assert vm.succeed("udevadm settle; ls /dev/disk/azure/").split() == ["resource", "resource-part1", "resource-part2"]
    assert f"made ext4 on /dev/sda1 and mounted it on {POINT}" in prepared(life)
    assert vm.succeed("udevadm settle; lsblk --noheadings --list --output NAME,FSTYPE /dev/sda").split() == ["sda", "sda1", "ext4"]


def test_encrypted_swap_is_noise_on_the_disk(life: Life) -> None:
    vm = life.bed.vm
    vm.write(DROP_IN, OPTIONS.format(swap=32) + "ResourceDisk.EnableSwapEncryption=y\n")
    assert f"{SWAP} is in use, 32 MiB, encrypted" in prepared(life)
    assert vm.succeed("swapon --show=NAME --noheadings") == vm.succeed("readlink -f /dev/mapper/waagent-swap")
    assert "cipher:  aes-xts-plain64" in vm.succeed("cryptsetup status waagent-swap")
    vm.succeed(f"sync; ! grep -q SWAPSPACE2 {SWAP}")
    vm.write(DROP_IN, OPTIONS.format(swap=32))
    assert f"{SWAP} is in use, 32 MiB" in prepared(life)
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"
    vm.succeed("test ! -e /dev/mapper/waagent-swap")


@pytest.mark.row("provisioning", 94)
def test_row_94_a_data_disk_gets_its_name_and_its_time_limit_and_is_left_alone(life: Life) -> None:
    """Put in while it runs: its name is udev's doing, the time limit that of the periodic stage."""
    vm = life.bed.vm
    path = discs.blank(vm.disk.with_name("owned"), 64 * MIB)
    vm.attach_data(path, 3)
    vm.wait_until_succeeds("test -b /dev/disk/azure/scsi1/lun3")
    name = vm.succeed("basename $(readlink -f /dev/disk/azure/scsi1/lun3)").strip()
    vm.wait_until_succeeds(f"grep -qx 300 /sys/block/{name}/device/timeout", timeout=CHANGE_LIMIT)
    assert "scsi-timeout" in vm.succeed(f"waagent why /sys/block/{name}/device/timeout")
    vm.run("sync")
    assert not any(path.read_bytes())


@pytest.mark.row("provisioning", 70)
def test_row_70_without_a_resource_disk_the_agent_says_so(life: Life) -> None:
    vm = life.bed.vm
    vm.run(f"swapoff {SWAP}; umount {POINT}")
    vm.detach()
    assert prepared(life) == ""
    foreseen = vm.succeed("waagent stage config --only resource-disk --only swap --force --dry-run")
    assert "resource-disk: skipped: this VM size has no resource disk" in foreseen
    assert "swap: skipped: no resource disk is mounted" in foreseen


# -- beside the disks --------------------------------------------------------------------------


@pytest.mark.row("provisioning", 3)
def test_row_12_3_the_serial_console_is_in_the_boot_loader_s_menu(life: Life) -> None:
    """GRUB 2 as Debian has it: its own program makes the menu of a kernel that lies in /boot."""
    vm = life.bed.vm
    vm.succeed("mkdir -p /boot/grub && echo kernel >/boot/vmlinuz-6.1.0-test")
    vm.write("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    vm.succeed("waagent -serialconsole", timeout=CHANGE_LIMIT)
    assert vm.read("/etc/default/grub") == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet console=ttyS0 earlyprintk=ttyS0"\n'
    lines = [line.split() for line in vm.read("/boot/grub/grub.cfg").splitlines() if "/vmlinuz-6.1.0-test" in line]
    assert any("console=ttyS0" in line for line in lines)
    assert vm.succeed("waagent -serialconsole") == "the serial console is set already\n"


@pytest.mark.row("provisioning", 96)
def test_row_96_the_disc_of_vmm_starts_its_installer_and_this_agent_steps_back(life: Life) -> None:
    vm = life.bed.vm
    vm.write(DROP_IN, "DetectScvmmEnv=y\n")
    vm.insert(discs.vmm(vm.disk.with_name("vmm.iso")))
    vm.succeed("waagent stage local --only scvmm --force", timeout=CHANGE_LIMIT)
    vm.wait_until_succeeds("test -e /run/vmm-installer")
    assert vm.read("/run/vmm-installer") == "1 -p /mnt/cdrom/secure\n"
    vm.succeed("systemctl restart waagent.service")
    shown = vm.succeed("systemctl show --property=ActiveState,ConditionResult waagent.service").split()
    assert sorted(shown) == ["ActiveState=inactive", "ConditionResult=no"]


# -- a deallocation --------------------------------------------------------------------------


def test_after_a_deallocation_the_platform_s_other_disk_is_made_ours(life: Life) -> None:
    vm = life.bed.vm
    vm.run(f"umount {POINT} /mnt/cdrom/secure")
    vm.write(DROP_IN, OPTIONS.format(swap=32))
    vm.poweroff()
    vm.dvd = None
    vm.resource_disk = discs.platform(vm.disk.with_name("after"), DISK)
    steps = restarted(life)
    assert steps["config/resource-disk"]["message"] == f"made ext4 on /dev/sda1 and mounted it on {POINT}"
    assert steps["config/swap"]["message"] == f"{SWAP} is in use, 32 MiB"
    assert vm.succeed("swapon --show=NAME --noheadings") == f"{SWAP}\n"


def test_machine_can_be_switched_off(life: Life) -> None:
    life.bed.vm.poweroff()
    assert not life.bed.fabric.simulator.violations
