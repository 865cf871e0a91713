"""SSH host keys: new ones replace the old whole, and a cut-off run does no harm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.unit.machine.conftest import real
from waagent.errors import SshError
from waagent.machine import host_keys
from waagent.system import System
from waagent.system.command import execute

DIR = "/etc/ssh"


@pytest.fixture
def keygen(system: System, put, program) -> System:
    """The fake root with the real ssh-keygen, whose paths are put below the root."""
    real("ssh-keygen")
    program("ssh-keygen")
    put("/etc/ssh/sshd_config")

    def run(argv, stdin, limit, env):
        below = [f"{system.root}{word}" if word.startswith("/") else word for word in argv]
        return execute(tuple(below), stdin, limit, env)

    return System(system.root, execute=run)


def names(system: System) -> list[str]:
    return [name for name in system.listing(DIR) if name.startswith("ssh_host")]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_one_kind_replaces_all_others(keygen: System, put, kind: str) -> None:
    for old in ("rsa", "dsa", "ecdsa"):
        put(f"/etc/ssh/ssh_host_{old}_key", "old")
        put(f"/etc/ssh/ssh_host_{old}_key.pub", "old")
    put("/etc/ssh/ssh_host_key_fallback.bak", "old")
    made = host_keys.regenerate(keygen, DIR, kind)
    assert names(keygen) == [f"ssh_host_{kind}_key", f"ssh_host_{kind}_key.pub"]
    assert [key.kind for key in made] == [kind]
    folder = Path(keygen.path(DIR))
    assert (folder / f"ssh_host_{kind}_key").stat().st_mode & 0o777 == 0o600
    assert (folder / f"ssh_host_{kind}_key.pub").stat().st_mode & 0o777 == 0o644


@pytest.mark.row("field-demands", 50)
@pytest.mark.row("provisioning", 54)
def test_row_54_auto_makes_all_that_ssh_keygen_makes(keygen: System) -> None:
    kinds = {key.kind for key in host_keys.regenerate(keygen, DIR, "auto")}
    assert {"rsa", "ecdsa", "ed25519"} <= kinds


def test_the_fingerprint_is_what_ssh_keygen_says(keygen: System) -> None:
    (made,) = host_keys.regenerate(keygen, DIR, "ed25519")
    told = subprocess.run(
        ["ssh-keygen", "-lf", str(keygen.path(made.path))], capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[1] == made.fingerprint


def test_keys_are_new_each_time_and_nothing_is_left_over(keygen: System) -> None:
    first = host_keys.regenerate(keygen, DIR, "ed25519")
    assert host_keys.regenerate(keygen, DIR, "ed25519") != first
    assert not keygen.exists(host_keys.WORKSHOP)
    assert not any("PRIVATE" in str(effect) for effect in keygen.effects)


@pytest.mark.row("provisioning", 54)
def test_row_54_an_unknown_kind_names_those_there_are(keygen: System) -> None:
    with pytest.raises(SshError, match="takes rsa, dsa, ecdsa, ed25519, auto"):
        host_keys.regenerate(keygen, DIR, "foo")


@pytest.mark.row("field-demands", 47)
def test_a_failure_leaves_the_old_keys(system: System, script: Script, put, program) -> None:
    program("ssh-keygen")
    old = put("/etc/ssh/ssh_host_dsa_key", "old")
    argv = ("ssh-keygen", "-q", "-N", "", "-t", "dsa", "-f", f"{host_keys.WORKSHOP}/ssh_host_dsa_key")
    script.on(*argv, status=255, stderr="unknown key type dsa")
    with pytest.raises(SshError, match=r"unknown key type dsa.*this OpenSSH has no such keys any more"):
        host_keys.regenerate(system, DIR, "dsa")
    assert old.read_text() == "old"
    assert not system.exists(host_keys.WORKSHOP)


def test_without_ssh_keygen_it_says_what_to_install(system: System, put) -> None:
    put("/etc/ssh/sshd_config")
    with pytest.raises(SshError, match="install the OpenSSH server"):
        host_keys.regenerate(system, DIR, "rsa")


@pytest.mark.row("field-demands", 48)
def test_what_a_killed_run_left_in_the_workshop_does_not_disturb(keygen: System, put) -> None:
    put(f"{host_keys.WORKSHOP}/ssh_host_ed25519_key", "half")
    assert len(host_keys.regenerate(keygen, DIR, "ed25519")) == 1


def test_keys_are_completed_only_where_there_is_no_pair(keygen: System) -> None:
    assert host_keys.complete(keygen, DIR, "ed25519")
    before = host_keys.found(keygen, DIR)
    assert not host_keys.complete(keygen, DIR, "ed25519")
    assert host_keys.found(keygen, DIR) == before
    keygen.path(before[0].path).unlink()
    assert host_keys.complete(keygen, DIR, "ed25519")


def test_plan_mode_names_the_files(keygen: System) -> None:
    planning = System(keygen.root, planning=True)
    host_keys.regenerate(planning, DIR, "ed25519")
    assert [effect.path for effect in planning.effects] == [
        "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub",
    ]  # fmt: skip
    assert names(keygen) == []


def test_two_that_make_keys_at_once_take_turns(keygen: System) -> None:
    """A killed stage leaves its step, and the next run of the stage starts another."""
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(4):
                    host_keys.regenerate(keygen, DIR, "ed25519")
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    key = keygen.path(DIR) / "ssh_host_ed25519_key"
    public = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    assert public.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
