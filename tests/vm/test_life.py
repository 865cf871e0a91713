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
from bed.vm_scratch import POINT, SWAP, exchange, set_options, swap_of

from waagent.simulator import Machine

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
PASSWORD = "Correct-Horse-7-Battery"
MIB = 1024 * 1024
DISK = 512 * MIB
WARNING = f"{POINT}/DATALOSS_WARNING_README.txt"
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
        set_options(bed.vm, *swap_of(64))
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


def test_logs_are_collected_with_a_twentieth_of_a_processor(life: Life) -> None:
    vm = life.bed.vm
    set_options(vm, *swap_of(64), "Debug.EnableCgroupV2ResourceLimiting=y", "Debug.LogCollectorInitialDelay=1")
    vm.hold_periodic()
    vm.succeed("systemd-run --quiet --unit=collect waagent stage periodic --only collect-logs --force")
    vm.wait_until_succeeds("systemctl is-active collect-logs.scope", timeout=120)
    group = vm.succeed("systemctl show --property=ControlGroup --value collect-logs.scope").strip()
    assert group.startswith("/azure.slice/azure-walinuxagent.slice/azure-walinuxagent-logcollector.slice/")
    assert vm.read(f"/sys/fs/cgroup{group}/cpu.max") == "5000 100000\n"
    assert vm.read(f"/sys/fs/cgroup{group}/memory.high") == f"{170 * MIB}\n"
    vm.wait_until_succeeds("! systemctl is-active collect.service", timeout=600)
    assert "collect-logs changed: collected and uploaded" in vm.read("/var/log/waagent.log")
    assert life.machine.reports.logs is not None and life.machine.reports.logs[1][:2] == b"PK"
    set_options(vm, *swap_of(64))


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
    set_options(vm, *swap_of(160))
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


def test_power_cut_while_another_disk_is_formatted_is_made_good_at_the_next_boot(life: Life) -> None:
    """As after a deallocation: the platform hands out another disk, with its NTFS."""
    vm = life.bed.vm
    set_options(vm, *swap_of(32))
    vm.run("sync")
    exchange(vm, discs.platform(vm.disk.with_name("another"), DISK), slow=128 * 1024)
    vm.succeed("systemd-run --quiet waagent stage config --only resource-disk --force")
    vm.wait_until_succeeds("pgrep -x mkfs.ext4", timeout=CHANGE_LIMIT)
    vm.kill()
    steps = restarted(life)
    assert steps["config/resource-disk"]["message"] == f"made ext4 on /dev/sda1 and mounted it on {POINT}"
    assert vm.exists(WARNING) and not vm.exists(f"{POINT}/of-the-owner")
    assert vm.succeed("sfdisk --part-type /dev/sda 1").strip() == "83"
    assert vm.succeed(f"stat -c %s:%a {SWAP}") == f"{32 * MIB}:600\n"
    vm.succeed("test ! -e /var/lib/waagent/resource-disk.json")


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
    set_options(vm, "DetectScvmmEnv=y")
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
    set_options(vm, *swap_of(32))
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
