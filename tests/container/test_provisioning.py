"""The first boot of a new machine: what its owner asked for is there, the fabric knows, and no secret has leaked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import Bed

from waagent.simulator import Machine

PASSWORD = "Correct-Horse-7-Battery"
CUSTOM_DATA = "#!/bin/sh\necho custom data\n"


class Provisioned(NamedTuple):
    bed: Bed
    machine: Machine
    key: Path
    public: str


@pytest.fixture(scope="module")
def vm(bed: Bed) -> Provisioned:
    key, public = bed.make_key()
    machine = bed.machine(
        host_name="vm-new", user="ada", password=PASSWORD, ssh_keys=[public], custom_data=CUSTOM_DATA,
        disable_password_authentication=False,
    )  # fmt: skip
    bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    return Provisioned(bed, machine, key, public)


def test_boot_is_done_and_says_so(vm: Provisioned) -> None:
    ran = vm.bed.guest.run("waagent status --wait --timeout 30 --format json")
    status = json.loads(ran.out)
    failed = [step for stage in status["stages"].values() for step in stage["steps"] if step["outcome"] == "failed"]
    assert failed == []
    assert (ran.status, status["state"]) == (0, "done")


def test_fabric_hears_that_provisioning_goes_on_and_then_that_it_is_done(vm: Provisioned) -> None:
    states = [(report.state, report.substatus) for report in vm.machine.reports.health]
    assert states[0] == ("NotReady", "Provisioning")
    assert states[-1][0] == "Ready"


def test_fabric_has_no_complaint(vm: Provisioned) -> None:
    assert not vm.bed.fabric.simulator.violations
    assert not vm.bed.fabric.simulator.errors


def test_host_name_is_the_owner_s(vm: Provisioned) -> None:
    assert vm.bed.guest.succeed("hostname") == "vm-new\n"
    assert vm.bed.guest.read("/etc/hostname") == "vm-new\n"


def test_published_key_opens_the_machine_and_another_does_not(vm: Provisioned) -> None:
    assert vm.bed.ssh("ada", vm.key, "id -un; hostname").out == "ada\nvm-new\n"
    other, _ = vm.bed.make_key("other")
    assert "Permission denied" in vm.bed.ssh("ada", other, "true").err


def test_user_becomes_root_by_password_and_root_has_none(vm: Provisioned) -> None:
    assert vm.bed.guest.succeed(["su", "ada", "-c", "sudo -S id -un"], stdin=f"{PASSWORD}\n") == "root\n"
    vm.bed.guest.fail("su ada -c 'sudo -n id -un'")
    assert vm.bed.guest.succeed("getent shadow root").split(":")[1][0] in "!*"
    vm.bed.guest.succeed("visudo --check --quiet")


def test_password_is_the_owner_s_hashed_with_sha512(vm: Provisioned) -> None:
    salt_and_hash = vm.bed.guest.succeed("getent shadow ada").split(":")[1]
    assert salt_and_hash.startswith("$6$")
    check = "import crypt, sys; h = sys.argv[1]; sys.exit(crypt.crypt(sys.stdin.read(), h) != h)"
    vm.bed.guest.succeed(["python3", "-W", "ignore", "-c", check, salt_and_hash], stdin=PASSWORD)


def test_sshd_has_host_keys_of_its_own_and_keeps_idle_sessions(vm: Provisioned) -> None:
    vm.bed.guest.succeed("test -s /etc/ssh/ssh_host_rsa_key.pub")
    effective = vm.bed.guest.succeed("sshd -T").lower().splitlines()
    assert "clientaliveinterval 180" in effective
    assert "passwordauthentication yes" in effective


def test_custom_data_is_saved_for_root_alone(vm: Provisioned) -> None:
    found = vm.bed.guest.succeed("stat -c %a:%U /var/lib/waagent/CustomData").strip()
    assert found in ("600:root", "400:root")


@pytest.mark.row("field-demands", 155)
def test_secrets_are_nowhere_they_could_be_read(vm: Provisioned) -> None:
    """Neither the password nor a private key in the log, the journal, or a file that others may read."""
    guest = vm.bed.guest
    guest.fail(["grep", "-rF", PASSWORD, "/var/log", "/run", "/etc"])
    assert PASSWORD not in guest.journal()
    readable = guest.succeed("find / -xdev -type f -newer /etc/hostname -perm /o+r -not -path '/proc/*' -print0 | "
                             "xargs -0 -r grep -lE 'PRIVATE KEY' || true")  # fmt: skip
    assert readable == ""
    guest.fail("su ada -c 'ls /var/lib/waagent'")
    assert "sig=" not in guest.read("/var/log/waagent.log")


def test_private_state_is_private_and_public_facts_are_public(vm: Provisioned) -> None:
    guest = vm.bed.guest
    assert guest.succeed("su ada -c 'waagent query ovf.host_name'") == "vm-new\n"
    loose = guest.succeed("find /var/lib/waagent/ -type f -perm /077 -not -path '*/boots/*' -printf '%f\n'")
    assert set(loose.split()) <= {"public.json", "first-boot"}


def test_why_tells_who_made_a_file(vm: Provisioned) -> None:
    told = vm.bed.guest.succeed("waagent why /etc/hostname")
    assert "hostname" in told and "local" in told


def test_steps_are_listed_in_their_order(vm: Provisioned) -> None:
    listed = json.loads(vm.bed.guest.succeed("waagent steps --format json"))
    assert listed["schema"] == 1
    for stage in listed["stages"]:
        numbers = [step["number"] for step in stage["steps"]]
        assert numbers == sorted(numbers)
        assert stage["refused"] == []


def test_dry_run_tells_and_changes_nothing(vm: Provisioned) -> None:
    guest = vm.bed.guest
    before = guest.succeed("find /etc /home /var/lib/waagent -xdev -type f -exec sha256sum {} + | sort")
    guest.succeed("waagent stage local --dry-run --force")
    assert guest.succeed("find /etc /home /var/lib/waagent -xdev -type f -exec sha256sum {} + | sort") == before


def test_watcher_goes_on_asking_for_the_goal_state(vm: Provisioned) -> None:
    simulator = vm.bed.fabric.simulator
    last = list(simulator.requests)[-1].number
    simulator.wait_for_request(lambda one: one.number > last and "comp=goalstate" in one.target, timeout=20)
    assert vm.machine.reports.summary()["agent"]["status"] == "Ready"
