"""A disc that cannot be read at first, without UDF; and a fabric that is where DHCP says, not at its usual address.

The machine has little to do afterwards, so its logs are collected below the limits of control groups' second version.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from bed.vm_bed import VmBed
from bed.vm_scratch import set_options

from waagent.simulator import Machine

ELSEWHERE = "168.63.129.77"


class Late(NamedTuple):
    bed: VmBed
    machine: Machine
    waited: float  # seconds of an empty drive, from the moment when the agent had looked


@pytest.fixture(scope="module")
def late() -> Iterator[Late]:
    with VmBed(wire_server=ELSEWHERE) as bed:
        machine = bed.machine(media=None, host_name="vm-late", user="ada", ssh_keys=[bed.make_key()[1]])
        set_options(bed.vm, "Debug.EnableCgroupV2ResourceLimiting=y", "Debug.LogCollectorInitialDelay=3000")
        bed.vm.boot()
        bed.vm.wait_until_succeeds("grep -q local/provisioning-agent /var/log/waagent.log", timeout=300)
        began = time.monotonic()
        time.sleep(10)
        waited = time.monotonic() - began
        bed.vm.insert(bed.disc("iso9660"))
        machine.wait_for("ready", timeout=480)
        yield Late(bed, machine, waited)


def test_disc_is_read_as_soon_as_it_can_be(late: Late) -> None:
    steps = [line for line in late.bed.vm.read("/var/log/waagent.log").splitlines() if "local/instance-media" in line]
    assert "read ovf-env.xml from /dev/sr0" in steps[-1]
    seconds = float(steps[-1].rsplit("(", 1)[1].split()[0])
    assert late.waited <= seconds < late.waited + 25


def test_disc_has_iso_9660_alone_and_is_ejected(late: Late) -> None:
    assert "ISO 9660" in late.bed.vm.succeed("dmesg | grep -i 'iso 9660'")
    assert late.bed.vm.tray() == "open"


def test_endpoint_is_option_245_of_the_lease(late: Late) -> None:
    assert "OPTION_245=a83f814d" in late.bed.vm.succeed("cat /run/systemd/netif/leases/*")
    assert late.bed.vm.read("/var/lib/waagent/WireServerEndpoint") == ELSEWHERE
    assert late.machine.reports.health[-1].state == "Ready"


def test_machine_without_a_resource_disk_boots_without_failures(late: Late) -> None:
    vm = late.bed.vm
    vm.succeed("waagent status --wait --timeout 400", timeout=420)
    assert "this VM size has no resource disk" in vm.succeed("waagent status --long")
    assert vm.succeed("hostname") == "vm-late\n"
    assert vm.succeed("systemctl list-units --failed --no-legend") == ""


def test_logs_are_collected_with_a_twentieth_of_a_processor(late: Late) -> None:
    vm = late.bed.vm
    set_options(vm, "Debug.EnableCgroupV2ResourceLimiting=y", "Debug.LogCollectorInitialDelay=1")
    vm.hold_periodic()
    vm.succeed("systemd-run --quiet --unit=collect waagent stage periodic --only collect-logs --force")
    vm.wait_until_succeeds("systemctl is-active collect-logs.scope", timeout=120)
    group = vm.succeed("systemctl show --property=ControlGroup --value collect-logs.scope").strip()
    assert group.startswith("/azure.slice/azure-walinuxagent.slice/azure-walinuxagent-logcollector.slice/")
    assert vm.read(f"/sys/fs/cgroup{group}/cpu.max") == "5000 100000\n"
    assert vm.read(f"/sys/fs/cgroup{group}/memory.high") == f"{170 * 1024 * 1024}\n"
    vm.wait_until_succeeds("! systemctl is-active collect.service", timeout=600)
    assert "collect-logs changed: collected and uploaded" in vm.read("/var/log/waagent.log")
    assert late.machine.reports.logs is not None and late.machine.reports.logs[1][:2] == b"PK"
