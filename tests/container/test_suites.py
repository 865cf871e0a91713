"""The first boot on every Debian that is supported: 11 (systemd 247, Python 3.9), 12 (252, 3.11), 13 (257, 3.13).

One .deb serves them all. What provisioning does is tested in depth in test_provisioning.py on Debian 12; here is
what may differ: the package and its dependencies, the units' order, the Python underneath, the password hash, sshd.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bed import Bed, scene

from waagent.simulator import Machine

PASSWORD = "Correct-Horse-7-Battery"
PYTHON = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
SYSTEMD = {"bullseye": "247", "bookworm": "252", "trixie": "257"}


class Provisioned(NamedTuple):
    bed: Bed
    machine: Machine
    key: Path


@pytest.fixture(scope="module", params=sorted(PYTHON, key=lambda suite: PYTHON[suite].split(".")[1].zfill(2)))
def vm(request: pytest.FixtureRequest) -> Iterator[Provisioned]:
    with Bed(request.param) as bed:
        key, public = bed.make_key()
        machine = bed.machine(
            host_name="vm-new", user="ada", password=PASSWORD, ssh_keys=[public], custom_data="#!/bin/sh\nexit 0\n",
            disable_password_authentication=False,
        )  # fmt: skip
        bed.guest.boot()
        machine.wait_for("ready", timeout=90)
        bed.guest.wait_until_booted()
        yield Provisioned(bed, machine, key)


def test_the_guest_is_what_it_is_called(vm: Provisioned) -> None:
    guest, suite = vm.bed.guest, vm.bed.suite
    assert guest.succeed("python3 --version").startswith(f"Python {PYTHON[suite]}.")
    assert guest.succeed("systemctl --version").startswith(f"systemd {SYSTEMD[suite]} ")


def test_the_package_has_what_it_depends_on(vm: Provisioned) -> None:
    assert vm.bed.guest.succeed("dpkg-query -W -f '${Status} ${Architecture}' waagent") == "install ok installed all"
    assert vm.bed.guest.succeed("dpkg --audit") == ""
    assert vm.bed.guest.succeed("apt-get check --quiet --quiet") == ""


def test_every_step_ended_well(vm: Provisioned) -> None:
    ran = vm.bed.guest.run("waagent status --wait --timeout 60 --format json")
    status = json.loads(ran.out)
    failed = [step for stage in status["stages"].values() for step in stage["steps"] if step["outcome"] == "failed"]
    assert failed == []
    assert (ran.status, status["state"]) == (0, "done")


def test_the_units_start_without_a_failure_a_cycle_or_a_complaint(vm: Provisioned) -> None:
    guest = vm.bed.guest
    assert guest.succeed("systemctl list-units --state=failed --no-legend --plain 'waagent*' ssh.service") == ""
    journal = guest.journal()
    assert "ordering cycle" not in journal
    assert [line for line in journal.splitlines() if "waagent" in line and "Unknown" in line] == []
    for unit in ("waagent.service", "waagent-periodic.timer", "waagent-final.service", "waagent.target"):
        guest.wait_for_unit(unit)


def test_the_periodic_stage_runs(vm: Provisioned) -> None:
    vm.bed.guest.succeed("rm -f /run/waagent/periodic.due && systemctl start waagent-periodic.service", timeout=60)
    assert vm.bed.guest.succeed("systemctl show -p Result --value waagent-periodic.service") == "success\n"


def test_the_owner_gets_in_by_key_and_becomes_root_by_password(vm: Provisioned) -> None:
    assert vm.bed.ssh("ada", vm.key, "id -un; hostname").out == "ada\nvm-new\n"
    assert vm.bed.guest.succeed(["su", "ada", "-c", "sudo -S id -un"], stdin=f"{PASSWORD}\n") == "root\n"


def test_the_hash_is_sha512_and_pam_takes_the_password(vm: Provisioned) -> None:
    """Python 3.13 has no crypt module; what decides is the login, by another account that has to give the password."""
    guest = vm.bed.guest
    assert guest.succeed("getent shadow ada").split(":")[1].startswith("$6$")
    ask = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "su", "ada", "-c", "id -un"]
    assert guest.succeed(ask, stdin=f"{PASSWORD}\n") == "ada\n"
    assert guest.run(ask, stdin="another\n").status != 0


def test_sshd_took_up_its_settings(vm: Provisioned) -> None:
    vm.bed.guest.succeed("sshd -t")
    effective = vm.bed.guest.succeed("sshd -T").lower().splitlines()
    assert "clientaliveinterval 180" in effective and "passwordauthentication yes" in effective


OLD_PYTHON = """
import crypt, imp, pipes
from distutils.version import LooseVersion
assert LooseVersion("1.10") > LooseVersion("1.9") and pipes.quote("a b") == "'a b'"
assert imp.load_source("other", "do/other").VALUE == 7
assert crypt.crypt("x", "$6$abcdefgh").startswith("$6$abcdefgh$") and len(crypt.crypt("x", "$6$abcdefgh")) == 98
"""


@pytest.mark.row("field-demands", 110)
def test_row_110_a_handler_for_an_older_python_runs_where_stand_ins_are_asked_for(vm: Provisioned) -> None:
    """Python 3.13 has none of the four; Debian's of 11 has even its distutils in another package."""
    name, guest = "Contoso.Python.Old", vm.bed.guest
    content = scene.package(scene.PYTHON, do={"enable": OLD_PYTHON, "other": "VALUE = 7\n"})
    vm.bed.fabric.simulator.add_package(content, name, "1.0.0")

    def reported() -> dict[str, Any]:
        label = vm.machine.publish([scene.single(name)])
        guest.wait_until_succeeds(f"grep -q 'incarnation:{label}\"' /var/lib/waagent/extensions/processed.json", 60)
        vm.machine.wait_for("goal-state", 60)
        entry: dict[str, Any] = vm.machine.wait_for(lambda machine: machine.reports.extension(name), 60)
        return entry

    if vm.bed.suite == "trixie":
        entry = reported()
        assert (entry["status"], entry["code"]) == ("NotReady", 1009)
        assert "No module named 'crypt'" in entry["formattedMessage"]["message"]
    guest.write("/etc/waagent.conf.d/60-old-python.conf", "Extensions.PythonShims=y\n")
    entry = reported()
    guest.succeed("rm -r /etc/waagent.conf.d")
    assert (entry["status"], entry["code"]) == ("Ready", 0), entry


def test_the_fabric_has_no_complaint(vm: Provisioned) -> None:
    assert not vm.bed.fabric.simulator.violations
    assert not vm.bed.fabric.simulator.errors
    assert vm.machine.reports.health[-1].state == "Ready"


def test_an_orderly_restart_provisions_nothing_again(vm: Provisioned) -> None:
    guest = vm.bed.guest
    before = guest.succeed("sha256sum /etc/shadow /etc/sudoers.d/* /etc/ssh/ssh_host_*_key /home/ada/.ssh/*")
    guest.reboot()
    guest.wait_until_booted()
    guest.wait_for_unit("waagent-final.service")
    assert guest.succeed("sha256sum /etc/shadow /etc/sudoers.d/* /etc/ssh/ssh_host_*_key /home/ada/.ssh/*") == before


def test_removing_and_purging_leaves_nothing(vm: Provisioned) -> None:
    guest = vm.bed.guest
    guest.succeed("dpkg --purge waagent", timeout=120)
    left = guest.succeed("find /var/lib/waagent /usr/lib/waagent /etc/waagent* /lib/systemd/system/waagent* 2>/dev/null || true")
    assert left == ""
