"""Stage files: the shipped ones, and what is wrong with others."""

from __future__ import annotations

import pytest

from tests.unit.runner.conftest import TOP, Machine
from waagent.errors import StageError
from waagent.runner import definition
from waagent.runner.places import STAGES

GOOD = "summary: x\norder: 1\nunit: x.service\n"


def test_the_shipped_stages_are_all_there_and_in_order(machine: Machine) -> None:
    stages = [definition.load(machine.system(), name)[0] for name in STAGES]
    assert [stage.order for stage in stages] == sorted(stage.order for stage in stages)
    assert [stage.name for stage in stages if stage.runs == "timer"] == ["periodic"]
    for stage in stages:
        assert all(definition.load(machine.system(), other)[0].order < stage.order for other in stage.after)


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_has_its_unit_and_the_unit_runs_the_stage(name: str) -> None:
    stage = definition.parse(name, (TOP / f"stages/{name}.yaml").read_bytes(), name)
    unit = (TOP / "data/systemd" / stage.unit).read_text()
    assert f"waagent stage {name}" in unit
    limit = [line for line in unit.splitlines() if line.startswith("TimeoutStartSec=")]
    assert limit, f"{stage.unit} has no limit of its own"
    assert definition.durations.seconds(_systemd_span(limit[0])) > stage.budget


def _systemd_span(line: str) -> str:
    text = line.split("=", 1)[1].strip()
    for long, short in (("min", "m"), ("sec", "s")):
        text = text.replace(long, short)
    return text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "expected a mapping"),
        ("summary: [", "not YAML"),
        ("\0", "not YAML"),
        (GOOD + "budgett: 3s\n", "unknown key budgett, did you mean 'budget'"),
        (GOOD + "budget: soon\n", "budget: 'soon' is not a duration"),
        (GOOD + "after: [nowhere]\n", "after: 'nowhere' is no other stage"),
        (GOOD + "after: [local]\n", "after: 'local' is no other stage"),
        (GOOD + "after: [network]\n", "stage.yaml:4: after: 'network' itself comes after local: a circle"),
        (GOOD + "after: {local: 1}\n", "after: expected a list of names"),
        (GOOD + "sources: [gossip]\n", "'gossip' is not one of"),
        (GOOD + "on-failure: panic\n", "on-failure: 'panic' is not one of"),
        (GOOD + "steps: {x: {limit: no}}\n", "steps.x.limit"),
        (GOOD + "steps:\n  x:\n    limits: 1s\n", "stage.yaml:6: unknown key steps.x.limits"),
        (GOOD + "steps: [x]\n", "steps: expected a mapping"),
        ("summary: x\nunit: x\norder: first\n", "order: expected a whole number"),
        ("order: 1\nunit: x\n", "summary: expected a text"),
    ],
)
def test_a_stage_file_that_cannot_be_used_names_file_and_key(text: str, words: str) -> None:
    with pytest.raises(StageError, match=r"^stage\.yaml:\d+: ") as caught:
        definition.parse("local", text.encode(), "stage.yaml")
    assert words in caught.value.message


def test_the_admins_copy_replaces_the_shipped_one(machine: Machine) -> None:
    folder = machine.root / "etc/waagent/stages"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text(GOOD + "budget: 7s\nsteps: {user: {on-failure: stop, limit: 2m}}\n")
    stage, odd = definition.load(machine.system(), "local")
    assert odd == ""
    assert stage.budget == 7.0
    assert stage.steps["user"] == definition.Departure(120.0, "stop")


def test_a_stage_that_is_none_is_named(machine: Machine) -> None:
    with pytest.raises(StageError, match=r"no stage .lokal.: the stages are local, network"):
        definition.load(machine.system(), "lokal")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "budgett: 7s\n", "unknown key budgett"),
        (GOOD + "after: [network]\n", "a circle"),
        ("summary: [", "not YAML"),
    ],
)
def test_an_admins_copy_that_cannot_be_used_is_reported_and_the_boot_goes_on(
    machine: Machine, text: str, words: str
) -> None:
    folder = machine.root / "etc/waagent/stages"
    folder.mkdir(parents=True)
    (folder / "local.yaml").write_text(text)
    machine.module("vendor/local/20-x.py")
    outcome = machine.run()
    assert [record["outcome"] for record in outcome.records] == ["changed"]
    assert words in machine.log()
    assert "/etc/waagent/stages/local.yaml:" in machine.log()
    assert "the shipped stage file counts instead" in machine.log()


def test_all_that_is_wrong_is_found_with_its_line() -> None:
    _, found = definition.check("local", b"summary: 3\norder: x\nunit: u\nsteps:\n  a: {limit: no}\n")
    assert [line for line, _, _ in found] == [1, 2, 5]
