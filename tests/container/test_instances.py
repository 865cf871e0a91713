"""Once for each instance: a second boot provisions nothing again, the same disk as another VM everything."""

from __future__ import annotations

import json
import uuid
from typing import Any

from bed import Bed


def steps(bed: Bed) -> dict[str, dict[str, Any]]:
    status = json.loads(bed.guest.read("/run/waagent/status.json"))
    return {step["name"]: step for stage in status["stages"].values() for step in stage["steps"]}


def identity(bed: Bed) -> tuple[str, ...]:
    files = ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/ssh/ssh_host_rsa_key", "/etc/sudoers.d/waagent")
    return tuple(bed.guest.succeed(f"sha256sum {file}; stat -c %Y {file}") for file in files)


def test_first_boot_provisions(bed: Bed) -> None:
    machine = bed.machine(host_name="first", user="ada", ssh_keys=[bed.make_key("first")[1]])
    bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    assert steps(bed)["user"]["outcome"] == "changed"


def test_second_boot_leaves_the_machine_as_it_is_and_reports_ready_again(bed: Bed) -> None:
    before = identity(bed)
    reports = len(bed.fabric.simulator.machines["bed"].reports.health)
    bed.guest.reboot()
    assert bed.guest.wait_until_booted() == "running"
    assert identity(bed) == before
    again = steps(bed)
    for name in ("hostname", "user", "ssh-host-keys", "authorized-keys"):
        assert name not in again or again[name]["outcome"] in ("unchanged", "skipped"), again[name]
    machine = bed.fabric.simulator.machines["bed"]
    assert machine.reports.provisioning_state == "Ready"
    later = [(report.state, report.substatus) for report in machine.reports.health[reports:]]
    assert ("NotReady", "Provisioning") not in later, "a machine in service must not say that it is being provisioned"


def test_power_cut_in_service_costs_nothing(bed: Bed) -> None:
    before = identity(bed)
    bed.guest.kill()
    bed.guest.boot()
    assert bed.guest.wait_until_booted() == "running"
    assert identity(bed) == before


def test_same_disk_as_another_vm_provisions_again(bed: Bed) -> None:
    keys = bed.guest.read("/etc/ssh/ssh_host_rsa_key")
    bed.guest.poweroff()
    bed.guest.vm_id = str(uuid.uuid4())
    private, public = bed.make_key("second")
    machine = bed.machine(host_name="second", user="grace", ssh_keys=[public])
    bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    assert bed.guest.succeed("hostname") == "second\n"
    assert bed.guest.read("/etc/ssh/ssh_host_rsa_key") != keys, "two machines with one host key"
    assert bed.guest.succeed("waagent query vm.id").strip() == bed.guest.vm_id
    (bed.directory / "known_hosts").unlink(missing_ok=True)
    assert bed.ssh("grace", private, "id -un").out == "grace\n"


def test_power_cut_while_provisioning_is_made_good_by_the_next_boot(fresh_bed: Bed) -> None:
    """Cut at moments that fall into the local stage, the network stage and between."""
    private, public = fresh_bed.make_key()
    machine = fresh_bed.machine(host_name="cut", user="ada", password="Left-Right-88-Up", ssh_keys=[public])
    for step in ("hostname", "user", "ssh-host-keys"):
        fresh_bed.guest.boot()
        fresh_bed.guest.wait_until_succeeds(f"grep -q '\"{step}\"' /run/waagent/status.json", timeout=30)
        fresh_bed.guest.kill()
    fresh_bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    fresh_bed.guest.wait_until_booted()
    assert fresh_bed.guest.succeed("hostname") == "cut\n"
    assert fresh_bed.ssh("ada", private, "id -un").out == "ada\n"
    assert fresh_bed.guest.succeed("getent shadow ada").split(":")[1].startswith("$6$"), "the password is lost"
