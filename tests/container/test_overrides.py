"""What an administrator puts into hooks.d wins: replaces, masks, adds, and is refused when others could write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bed import Bed

SAMPLES = Path(__file__).resolve().parents[2] / "hooks"
HOOKS = "/etc/waagent/hooks.d"


@pytest.fixture(scope="module")
def booted(bed: Bed) -> Bed:
    guest = bed.guest
    machine = bed.machine(host_name="from-the-owner", user="ada", ssh_keys=[bed.make_key()[1]])
    guest.write(f"{HOOKS}/local/30-hostname.sh", "#!/bin/sh\nhostname from-the-hook\necho replaced\n", 0o755)
    guest.write(f"{HOOKS}/local/29-before.sh", '#!/bin/sh\nhostname >/run/before; env >/run/hook-env\nexit 0\n', 0o755)
    guest.succeed(["ln", "-s", "/dev/null", f"{HOOKS}/local/55-sudo"])
    guest.write(f"{HOOKS}/local/31-loose.sh", "#!/bin/sh\ntouch /run/must-not-be\n", 0o777)
    guest.write(f"{HOOKS}/local/32-python.py", PYTHON, 0o644)
    guest.write(f"{HOOKS}/local/33-broken.py", "this is not Python\n", 0o644)
    guest.write(f"{HOOKS}/local/34-raises.py", RAISES, 0o644)
    guest.write(f"{HOOKS}/local/35-exits.py", EXITS, 0o644)
    guest.write(f"{HOOKS}/local/36-hangs.sh", "#!/bin/sh\n# waagent: {limit: 1s}\nsleep 600\n", 0o755)
    guest.write(f"{HOOKS}/local/37-skips.sh", "#!/bin/sh\nexit 77\n", 0o755)
    guest.write(f"{HOOKS}/config/65-motd.sh", (SAMPLES / "config" / "65-motd.sh").read_bytes(), 0o755)
    guest.boot()
    machine.wait_for(lambda one: one.reports.provisioning_state in ("Ready", "Failed"), timeout=90)
    guest.wait_until_booted()
    return bed


PYTHON = '''"""A step of the administrator, in Python."""
from waagent.module import Context, Module, Outcome, changed

MODULE = Module(summary="Leave a fact", frequency="per-boot")


def run(ctx: Context) -> Outcome:
    ctx.publish("site.colour", "green")
    return changed("left a fact")
'''
RAISES = '''from waagent.module import Context, Module, Outcome

MODULE = Module(summary="Raise", frequency="per-boot")


def run(ctx: Context) -> Outcome:
    raise RuntimeError("no such luck")
'''
EXITS = '''import os

from waagent.module import Context, Module, Outcome

MODULE = Module(summary="Exit", frequency="per-boot")


def run(ctx: Context) -> Outcome:
    os._exit(9)
'''


def local_steps(bed: Bed) -> dict[str, dict[str, Any]]:
    status = json.loads(bed.guest.read("/run/waagent/status.json"))
    return {step["name"]: step for step in status["stages"]["local"]["steps"]}


def test_program_replaces_the_module_of_its_name(booted: Bed) -> None:
    assert booted.guest.succeed("hostname") == "from-the-hook\n"
    step = local_steps(booted)["hostname"]
    assert step["path"] == f"{HOOKS}/local/30-hostname.sh"
    assert "30-hostname.py" in booted.guest.run("waagent steps local").out


def test_link_to_dev_null_masks_the_module(booted: Bed) -> None:
    assert "sudo" not in local_steps(booted)
    assert not booted.guest.exists("/etc/sudoers.d/waagent")
    assert f"sudo is masked by {HOOKS}/local/55-sudo" in booted.guest.run("waagent steps local").out


def test_new_name_is_one_more_step_at_its_number(booted: Bed) -> None:
    assert booted.guest.read("/run/before") == "localhost\n"
    names = list(local_steps(booted))
    assert names.index("before") == names.index("hostname") - 1


def test_hook_is_told_its_stage_and_name(booted: Bed) -> None:
    told = booted.guest.read("/run/hook-env")
    assert "WAAGENT_STAGE=local" in told
    assert "NOTIFY_SOCKET" not in told


def test_file_that_others_may_write_is_refused_with_one_line(booted: Bed) -> None:
    assert not booted.guest.exists("/run/must-not-be")
    lines = [line for line in booted.guest.read("/var/log/waagent.log").splitlines() if "31-loose" in line]
    assert len(lines) == 1
    assert "writable" in lines[0]
    ran = booted.guest.run("waagent steps local")
    assert ran.status == 1
    assert "31-loose.sh" in ran.out


def test_python_step_publishes_a_fact(booted: Bed) -> None:
    assert local_steps(booted)["python"]["outcome"] == "changed"
    assert booted.guest.succeed("waagent query site.colour") == "green\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [("broken", "33-broken.py"), ("raises", "no such luck"), ("exits", "9"), ("hangs", "1 s")],
)
def test_step_that_breaks_fails_alone(booted: Bed, name: str, said: str) -> None:
    steps = local_steps(booted)
    assert "ssh-host-keys" in steps, "the stage did not go on"
    log = booted.guest.read("/var/log/waagent.log")
    assert said in log
    if name in steps:
        assert steps[name]["outcome"] == "failed", steps[name]


def test_sample_of_the_documentation_works(booted: Bed) -> None:
    assert booted.guest.read("/etc/motd").startswith("This is from-the-owner in simregion1, instance ")
    status = json.loads(booted.guest.read("/run/waagent/status.json"))
    told = {step["name"]: (step["outcome"], step["message"]) for step in status["stages"]["config"]["steps"]}
    assert told["motd"] == ("changed", "wrote /etc/motd")


def test_status_77_means_skipped(booted: Bed) -> None:
    assert local_steps(booted)["skips"]["outcome"] == "skipped"


def test_nothing_that_ran_is_left_running(booted: Bed) -> None:
    assert booted.guest.run(["pgrep", "-x", "sleep"]).out == ""


def test_machine_is_in_service_all_the_same(booted: Bed) -> None:
    assert booted.fabric.simulator.machines["bed"].reports.provisioning_state == "Ready"
    booted.guest.wait_for_unit("waagent.service")
    booted.guest.wait_for_unit("ssh.service")
