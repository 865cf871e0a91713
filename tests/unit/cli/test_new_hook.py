"""waagent new-hook: what it writes runs; what it must not do it says."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import Machine
from waagent.runner.hook_events import NAMES
from waagent.runner.places import STAGES


@pytest.mark.parametrize("form", ["--shell", "--python"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_new_hook_of_every_stage_is_valid_and_runs(machine: Machine, waagent: Waagent, stage: str, form: str) -> None:
    machine.module("vendor/local/01-facts.py", "ctx.publish('ovf', {'host_name': 'vm1'})\nreturn changed('x')")
    machine.run("local")
    said = waagent("new-hook", stage, "35-hello", form)
    assert said.status == 0
    ending = "py" if form == "--python" else "sh"
    path = machine.root / f"etc/waagent/hooks.d/{stage}/35-hello.{ending}"
    assert f"wrote {path}" in said.out
    assert f"waagent stage {stage} --only hello --force" in said.out
    assert path.stat().st_mode & 0o777 == (0o644 if form == "--python" else 0o755)
    assert waagent("validate", str(path)).out == f"{path}: nothing wrong (hook)\n"
    (record,) = [record for record in machine.run(stage, force=True).records if record["name"] == "hello"]
    assert record["outcome"] in ("changed", "unchanged"), record
    (step,) = [step for step in machine.steps(stage).steps if step.name == "hello"]
    assert step.module.summary == "Say hello"


@pytest.mark.parametrize("form", ["--shell", "--python"])
@pytest.mark.parametrize("event", [*NAMES, "mine"])
def test_a_new_hook_of_every_event_is_valid_and_runs(machine: Machine, waagent: Waagent, event: str, form: str) -> None:
    said = waagent("new-hook", event, "35-hello", form, "--event")
    assert said.status == 0
    assert ("no event of this package" in said.out) == (event == "mine")
    ran = waagent("events", event, "--run", "--format", "json")
    (record,) = ran.json()["steps"]
    assert record["outcome"] in ("changed", "unchanged", "skipped"), record


def test_nothing_is_overwritten(machine: Machine, waagent: Waagent) -> None:
    path = machine.add("admin/local/35-x.sh", "mine\n")
    said = waagent("new-hook", "local", "35-x")
    assert said.status == 1
    assert "exists; it stays as it is" in said.err
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("local", "hello"), "NN-name"),
        (("local", "35-Hello"), "NN-name"),
        (("local", "35-x.sh~"), "left over"),
        (("lokal", "35-x"), "no stage 'lokal'"),
        (("local", "35-x.py", "--shell"), "a Python step ends in .py"),
        (("local", "35-x.sh", "--python"), "a Python step ends in .py"),
    ],
)
def test_a_wrong_word_is_told(waagent: Waagent, words: tuple[str, ...], told: str) -> None:
    said = waagent("new-hook", *words)
    assert (said.status, said.out) == (2, "")
    assert told in said.err


def test_a_name_that_replaces_a_module_is_told(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/config/20-disk.py")
    said = waagent("new-hook", "config", "20-disk")
    assert "it replaces /usr/lib/waagent/modules/config/20-disk.py" in said.out


def test_a_hook_that_would_be_refused_is_told(machine: Machine, waagent: Waagent) -> None:
    machine.add("admin/local/10-x.sh", "#!/bin/sh\n")
    said = waagent("new-hook", "local", "35-x")
    assert "would not run: the name 'x' is there 2 times" in said.out


def test_another_directory_for_packages(machine: Machine, waagent: Waagent) -> None:
    folder = machine.root / "build/usr/lib/waagent/modules/config"
    assert waagent("new-hook", "config", "45-x.py", "--dir", str(folder)).status == 0
    assert (folder / "45-x.py").exists()
