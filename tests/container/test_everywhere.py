"""Another distributor's package and an administrator's hooks, in every stage of a real boot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from bed import Bed

ACME = Path(__file__).resolve().parents[2] / "docs/examples/acme"
HOOKS = "/etc/waagent/hooks.d"
STAGES = ("local", "network", "config", "final", "periodic")
HUNDRED = 100


@pytest.fixture(scope="module")
def booted(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Bed:
    guest = bed.guest
    machine = bed.machine(host_name="everywhere", user="ada", ssh_keys=[bed.make_key()[1]])
    folder = tmp_path_factory.mktemp("acme")
    subprocess.run([str(ACME / "build-deb"), str(folder)], check=True, capture_output=True)
    guest.write("/root/acme.deb", (folder / "waagent-acme_1.0-1_all.deb").read_bytes())
    guest.succeed(["dpkg", "-i", "/root/acme.deb"])
    for stage in STAGES:
        guest.succeed(["waagent", "new-hook", stage, "47-mark", "--shell"])
        text = f'#!/bin/sh\necho "$WAAGENT_STAGE $WAAGENT_STEP" >>/root/marks-{stage}\n'
        guest.write(f"{HOOKS}/{stage}/47-mark.sh", text, 0o755)
    guest.write(f"{HOOKS}/on-ready/10-told.sh", "#!/bin/sh\ncat >/root/ready.json\n", 0o755)
    guest.boot()
    machine.wait_for("ready", timeout=90)
    guest.wait_until_booted()
    return bed


@pytest.mark.row("field-demands", 49)
@pytest.mark.parametrize("stage", STAGES)
def test_a_hook_runs_in_every_stage(booted: Bed, stage: str) -> None:
    booted.guest.wait_until_succeeds(f"grep -qx '{stage} mark' /root/marks-{stage}", timeout=60)


def test_an_event_hook_is_told_what_happened(booted: Bed) -> None:
    event = json.loads(booted.guest.read("/root/ready.json"))["event"]
    assert event["name"] == "ready"
    assert event["vm_id"] == booted.guest.vm_id


def test_a_packaged_module_is_part_of_the_boot_and_leaves_with_its_package(booted: Bed) -> None:
    guest = booted.guest
    status = json.loads(guest.read("/run/waagent/status.json"))
    steps = {step["name"]: step for step in status["stages"]["config"]["steps"]}
    assert steps["acme-identity"]["outcome"] == "changed"
    assert "name=everywhere" in guest.read("/etc/acme/identity.conf")
    assert "acme-identity" in guest.succeed("waagent steps config")
    guest.succeed(["dpkg", "--purge", "waagent-acme"])
    assert "acme-identity" not in guest.succeed("waagent steps config")


def test_a_hundred_hooks_of_true_add_less_than_a_second(booted: Bed) -> None:
    """Processor time of the stage with and without them: what the clock says depends on who else is at work."""
    guest = booted.guest
    without = min(_used(booted) for _ in range(3))
    for number in range(HUNDRED):
        guest.write(f"{HOOKS}/config/50-true-{number:03d}.sh", "#!/bin/true\n", 0o755)
    with_them = min(_used(booted) for _ in range(3))
    assert with_them - without < 1.0, f"{without:.2f} s without, {with_them:.2f} s with a hundred hooks"


def _used(bed: Bed) -> float:
    """User and system time of one run of the stage, its children included, in seconds."""
    code = (
        "import os, subprocess, resource; subprocess.run(['waagent', 'stage', 'config', '--force'], "
        "stderr=subprocess.DEVNULL); used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime)"
    )
    return float(bed.guest.succeed(["python3", "-c", code]))
