"""Every sample in hooks/ is run by the engine, in a mount namespace in which /etc and /var are its own to change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP, Machine
from waagent.runner.places import STAGES

SAMPLES = sorted(path for path in (TOP / "hooks").glob("*/*") if path.name != "README.md")
FACTS = {
    "vm": {"id": "11111111-2222-3333-4444-555555555555"},
    "ovf": {"host_name": "vm1"},
    "imds": {"location": "westeurope", "vmSize": "Standard_B1s", "name": "vm1"},
}
# Runs the rest of its arguments with a /etc and a /var/lib and a /usr/local/lib that are layers over the real ones.
LAYERS = """
set -eu
mount -t tmpfs tmpfs "$1"
for folder in etc var/lib usr/local/lib; do
    mkdir -p "$1/$folder/new" "$1/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/new,workdir=$1/$folder/work" "/$folder"
done
shift
exec "$@"
"""


def run_sample(machine: Machine, sample: Path, prepare: str = "true", show: str = "true") -> tuple[dict[str, str], str]:
    """Run a sample twice; what its second run was recorded as, and what the shell text `show` then prints."""
    stage = sample.parent.name
    folder = machine.root / f"etc/waagent/hooks.d/{stage}"
    folder.mkdir(parents=True)
    shutil.copy2(sample, folder / sample.name)
    shutil.copytree(TOP / "data/distros", machine.root / "usr/lib/waagent/data/distros")
    machine.module("vendor/local/01-vm.py", f"ctx.publish('vm', {FACTS['vm']})\nreturn changed('x')")
    machine.module(
        "vendor/network/01-x.py",
        f"ctx.publish('ovf', {FACTS['ovf']})\nctx.publish('imds', {FACTS['imds']})\nreturn changed('x')",
    )
    for source in ("network", "local"):
        path = machine.root / f"usr/lib/waagent/stages/{source}.yaml"
        path.write_text(path.read_text().replace("sources:", "sources: [media, smbios, fabric, metadata] #"))
    for source in ("local", "network"):
        machine.run(source, force=True)
    name = sample.name[3:].rpartition(".")[0]
    words = ["events", stage[3:], "--run"] if stage.startswith("on-") else ["stage", stage, "--only", name, "--force"]
    agent = f"{sys.executable} -m waagent.cli {' '.join(words)} --root {machine.root}"
    layers = machine.root / "layers"
    layers.mkdir()
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", LAYERS, "sh", str(layers), "sh", "-c", f"{prepare}\n{agent}\n{agent}\n{show}"],
        cwd=TOP, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    status = json.loads((machine.root / "run/waagent/status.json").read_text())
    if stage == "periodic":
        status = json.loads((machine.root / "run/waagent/status.timer.json").read_text())
    (record,) = [step for step in status["stages"][stage]["steps"] if step["name"] == name]
    assert record["outcome"] != "failed", record
    return record, ran.stdout


def sample(name: str) -> Path:
    (found,) = [path for path in SAMPLES if path.name == name]
    return found


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace of its own")

TESTS = {
    "31-hosts.sh": ("echo 127.0.1.1 old >>/etc/hosts", "grep -c '^127.0.1.1 ' /etc/hosts; cat /etc/hosts", "127.0.1.1 vm1"),
    "45-wait-for-name.sh": ("mkdir -p /etc/waagent; echo localhost >/etc/waagent/wait-for-names", "true", ""),
    "65-motd.sh": ("true", "cat /etc/motd", "This is vm1 in westeurope, instance 11111111-"),
    "66-ansible-facts.py": ("true", "true", ""),
    "97-first-boot.sh": (
        "mkdir -p /usr/local/lib/first-boot.d; printf '#!/bin/sh\\ntouch /etc/it-ran\\n' >/usr/local/lib/first-boot.d/a; "
        "chmod 755 /usr/local/lib/first-boot.d/a",
        "ls /etc/it-ran",
        "/etc/it-ran",
    ),
    "50-disk-space.sh": ("true", "true", ""),
    "50-record.sh": ("true", "cat /var/lib/site/ready.log", "vm1 11111111-"),
    "50-keep-evidence.py": ("true", "true", ""),
}


def test_every_sample_has_its_test_and_stands_in_the_readme() -> None:
    assert {path.name for path in SAMPLES} == set(TESTS)
    readme = (TOP / "hooks/README.md").read_text()
    for path in SAMPLES:
        assert f"`{path.relative_to(TOP / 'hooks')}`" in readme


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_would_be_accepted(machine: Machine, path: Path) -> None:
    stage = path.parent.name
    assert stage in STAGES or stage.startswith("on-")
    folder = machine.root / f"etc/waagent/hooks.d/{stage}"
    folder.mkdir(parents=True)
    shutil.copy2(path, folder / path.name)
    listing = machine.steps(stage)
    assert not listing.refused
    assert listing.steps[0].module.summary


@needs_root
@pytest.mark.parametrize("name", TESTS)
def test_a_sample_does_what_it_says_and_is_content_the_second_time(machine: Machine, name: str) -> None:
    prepare, show, words = TESTS[name]
    record, shown = run_sample(machine, sample(name), prepare, show)
    assert words in shown
    if name == "31-hosts.sh":
        assert shown.startswith("1\n")
        assert record["message"] == "vm1 is in /etc/hosts already"
    if name == "65-motd.sh":
        assert record["message"] == "/etc/motd is as it should be"
    if name == "66-ansible-facts.py":
        assert record["outcome"] == "unchanged"
        kept = json.loads((machine.root / "etc/ansible/facts.d/azure.fact").read_text())
        assert kept == {**FACTS["imds"], "vm_id": FACTS["vm"]["id"], "host_name": "vm1"}
    if name == "50-keep-evidence.py":
        text = (machine.root / "var/lib/site/provisioning-failed.txt").read_text()
        assert "local/vm: changed: x" in text
    if name == "97-first-boot.sh":
        public = json.loads((machine.root / "var/lib/waagent/instance/public.json").read_text())
        assert public["facts"]["hooks"]["first-boot"]["count"] == "1"
