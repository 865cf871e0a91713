"""Users whom the platform grants access for a while log in with the password of the document, and are gone after."""

from __future__ import annotations

import subprocess
import time
from email.utils import formatdate

import pytest
from bed import Bed, network

from waagent.simulator import Machine

PASSWORD = "On-call 4 a while é"
STEP = "waagent stage periodic --only remote-users"


def until(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


def log_in(bed: Bed, user: str, password: str, command: str) -> tuple[int, str]:
    """By password, as somebody elsewhere in the network would."""
    answer = bed.directory / "answer"
    answer.write_text(f"#!/bin/sh\ncat <<'END'\n{password}\nEND\n", encoding="utf-8")
    answer.chmod(0o700)
    ran = subprocess.run(
        bed.network.in_fabric(
            "env", "SSH_ASKPASS_REQUIRE=force", f"SSH_ASKPASS={answer}", "ssh", "-F", "none",
            "-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=20",
            "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={bed.directory}/known_hosts",
            f"{user}@{network.GUEST_ADDRESS}", command,
        ),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine(user="ada", password="Ada's own word 1", disable_password_authentication=False)
    bed.guest.boot()
    made.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    return made


@pytest.mark.row("guest-operations", 70)
def test_who_is_granted_access_logs_in_and_becomes_root(bed: Bed, machine: Machine) -> None:
    machine.publish(remote_users=[
        {"name": "jit_oncall", "password": PASSWORD, "expiration": until(3600)},
        {"name": "ada", "password": PASSWORD, "expiration": until(3600)},
        {"name": "jit_brief", "password": PASSWORD, "expiration": until(45)},
    ])  # fmt: skip
    bed.guest.wait_until_succeeds("grep -q '^jit_brief:[$]' /etc/shadow", timeout=40)
    assert log_in(bed, "jit_oncall", PASSWORD, "id -un") == (0, "jit_oncall\n")
    assert bed.guest.succeed(["su", "jit_oncall", "-c", "sudo -S id -un"], stdin=f"{PASSWORD}\n") == "root\n"
    assert bed.guest.succeed("getent passwd jit_oncall").split(":")[4] == "JIT_Account"
    bed.guest.succeed("visudo --check --quiet")
    assert log_in(bed, "ada", PASSWORD, "true")[0] != 0, "an account that is not the platform's keeps its password"


def test_the_password_is_nowhere(bed: Bed, machine: Machine) -> None:
    bed.guest.fail(["grep", "-rF", PASSWORD, "/var/log", "/run", "/var/lib/waagent"])
    assert PASSWORD not in bed.guest.journal()


@pytest.mark.row("guest-operations", 71)
def test_past_the_moment_the_account_is_gone(bed: Bed, machine: Machine) -> None:
    def gone() -> bool:
        bed.guest.run(f"{STEP} --force")
        return bed.guest.run("getent passwd jit_brief").status != 0

    deadline = time.monotonic() + 60
    while not gone():
        assert time.monotonic() < deadline, "jit_brief is still there"
        time.sleep(1)
    assert not bed.guest.exists("/home/jit_brief")
    assert bed.guest.succeed("cat /etc/sudoers.d/waagent").splitlines()[1:] == [
        "ada ALL=(ALL) ALL", "jit_oncall ALL=(ALL) ALL",
    ]  # fmt: skip


@pytest.mark.row("guest-operations", 72)
def test_who_is_taken_off_the_list_is_gone_and_nobody_else(bed: Bed, machine: Machine) -> None:
    machine.publish(remote_users=None)
    bed.guest.wait_until_succeeds("! getent passwd jit_oncall", timeout=40)
    assert log_in(bed, "jit_oncall", PASSWORD, "true")[0] != 0
    bed.guest.succeed("getent passwd ada")
    assert bed.guest.succeed("cat /etc/sudoers.d/waagent").splitlines()[1:] == ["ada ALL=(ALL) ALL"]


def test_fabric_has_no_complaint(bed: Bed, machine: Machine) -> None:
    assert not bed.fabric.simulator.violations
    assert not bed.fabric.simulator.errors
