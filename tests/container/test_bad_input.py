"""What the owner or the image got wrong: the fabric hears why, and the boot after it was put right provisions.

Each bed is booted with something amiss and then without.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bed import Bed
from bed.guest import Guest

from waagent.simulator import Machine

PASSWORD = "Correct-Horse-9-Battery"


def failed(machine: Machine) -> str:
    """What the fabric was told."""
    machine.wait_for("failed", timeout=90)
    report = machine.reports.health[-1]
    assert (report.state, report.substatus) == ("NotReady", "ProvisioningFailed")
    return str(report.description)


def again(guest: Guest) -> None:
    guest.poweroff()
    guest.options.clear()
    guest.boot()


def log_in(bed: Bed, key: Path) -> str:
    return bed.ssh("ada", key, "id -un").out


def test_programs_that_are_missing_are_named_one_after_the_other(fresh_bed: Bed) -> None:
    guest = fresh_bed.guest
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", password=PASSWORD, ssh_keys=[public], disable_password_authentication=False)
    for program in ("useradd", "chpasswd"):
        guest.succeed(f"mv /usr/sbin/{program} /usr/sbin/{program}.away")
    guest.boot()
    assert "useradd" in failed(machine)
    guest.wait_until_booted()
    guest.succeed("mv /usr/sbin/useradd.away /usr/sbin/useradd")
    machine.reports.health.clear()
    guest.reboot()
    assert "chpasswd" in failed(machine)
    guest.wait_until_booted()
    guest.succeed("mv /usr/sbin/chpasswd.away /usr/sbin/chpasswd")
    guest.reboot()
    machine.wait_for("ready", timeout=60)
    assert log_in(fresh_bed, key) == "ada\n"
    assert guest.succeed(["su", "ada", "-c", "sudo -S id -un"], stdin=f"{PASSWORD}\n") == "root\n"


def test_a_read_only_etc(fresh_bed: Bed) -> None:
    guest = fresh_bed.guest
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", ssh_keys=[public])
    guest.options = [f"--bind-ro={guest.root}/etc:/etc"]
    guest.boot()
    assert "ada" in failed(machine)
    again(guest)
    machine.wait_for("ready", timeout=60)
    assert log_in(fresh_bed, key) == "ada\n"


@pytest.mark.row("provisioning", 46)
def test_a_read_only_configuration_of_sshd(fresh_bed: Bed) -> None:
    guest = fresh_bed.guest
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", ssh_keys=[public])
    for name in ("sshd_config", "sshd_config.d"):
        guest.options.append(f"--bind-ro={guest.root}/etc/ssh/{name}:/etc/ssh/{name}")
    guest.boot()
    guest.wait_until_booted()
    assert guest.run("waagent status").status == 1
    told = [line for line in guest.read("/var/log/waagent.log").splitlines() if "local/sshd failed" in line]
    assert len(told) == 1, "told once, not again and again"
    assert "/etc/ssh/sshd_config" in told[0]
    again(guest)
    machine.wait_for("ready", timeout=60)
    guest.wait_until_booted()
    assert "clientaliveinterval 180" in guest.succeed("sshd -T").lower()
    assert log_in(fresh_bed, key) == "ada\n"


def test_homes_on_a_file_system_that_is_full(fresh_bed: Bed) -> None:
    """Room is made while the machine runs, and the stages that failed are run again by hand."""
    guest = fresh_bed.guest
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", ssh_keys=[public])
    guest.options = ["--tmpfs=/home:size=4k,nr_inodes=2,mode=755"]
    guest.boot()
    assert "ada" in failed(machine)
    guest.wait_until_booted()
    guest.succeed("mount -o remount,size=1m,nr_inodes=100 /home")
    guest.succeed("waagent stage local && waagent stage final --only report --force")
    machine.wait_for("ready", timeout=60)
    assert log_in(fresh_bed, key) == "ada\n"


def test_homes_on_another_file_system(fresh_bed: Bed) -> None:
    guest = fresh_bed.guest
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", ssh_keys=[public])
    guest.options = ["--tmpfs=/home:size=1m,mode=755"]
    guest.boot()
    machine.wait_for("ready", timeout=60)
    assert log_in(fresh_bed, key) == "ada\n"
