"""What the platform's people are told of a stage (guest-operations 6.3): the runner records, nothing is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.runner.conftest import Machine
from waagent import events

LIB = "/var/lib/waagent"


def told(machine: Machine) -> list[tuple[str, bool, str]]:
    """Operation, success and message of what waits; then it is taken away."""
    system = machine.system()
    found = []
    for name in events.waiting(system, LIB):
        listed: list[dict[str, Any]] = json.loads(system.read(f"{LIB}/events/{name}"))["parameters"]
        fields = {one["name"]: one["value"] for one in listed}
        found.append((fields["Operation"], fields["OperationSuccess"], fields["Message"]))
    events.forget(system, LIB, events.waiting(system, LIB))
    return found


def test_a_boot_stage_tells_what_it_did_and_how_it_ended(machine: Machine) -> None:
    machine.module("vendor/local/10-one.py", "return changed('made it')")
    machine.module("vendor/local/20-same.py", "return unchanged('as it was')")
    machine.module("vendor/local/30-resource-disk.py", "raise RuntimeError('x')")
    machine.run("local")
    (one, disk, stage) = told(machine)
    assert one == ("Step", True, "local.one: made it")
    assert disk[:2] == ("ActivateResourceDisk", False) and disk[2].startswith("local.resource-disk: bug in the step:")
    assert stage == ("Stage", False, "stage local: 3 steps, 1 failed: resource-disk")


def test_the_events_of_the_stages_are_what_the_simulators_page_lists(machine: Machine) -> None:
    machine.module("vendor/local/10-one.py", "return unchanged('')")
    machine.run("local")
    assert told(machine) == [("Stage", True, "stage local: 1 step, all well")]


def test_what_a_step_of_the_administrator_says_stays_on_the_machine(machine: Machine) -> None:
    machine.module("admin/local/10-mine.py", "return changed('joined the domain of Contoso')")
    machine.run("local")
    assert told(machine)[0] == ("Step", True, "local.mine: changed")


def test_the_timer_tells_a_failure_once_and_its_end(machine: Machine) -> None:
    flag = machine.root / "broken"
    body = f"if os.path.exists({str(flag)!r}):\n    raise WaagentError('it broke')\nreturn unchanged('')"
    path = machine.module("vendor/periodic/10-firewall.py", body, frequency="always", every=1)
    path.write_text(path.read_text().replace("import Module,", "import Module, WaagentError,"))
    flag.touch()
    for _ in range(3):
        machine.run("periodic", only=("firewall",))
    assert told(machine) == [("Firewall", False, "periodic.firewall: agent error: it broke")]
    flag.unlink()
    for _ in range(3):
        machine.run("periodic", only=("firewall",))
    assert told(machine) == [("Firewall", True, "periodic.firewall: ")]


@pytest.mark.parametrize("name", ["telemetry", "status", "extension-events"])
def test_steps_that_work_every_minute_are_no_news(machine: Machine, name: str) -> None:
    machine.module(f"vendor/periodic/10-{name}.py", "return changed('x')", frequency="always", every=1)
    machine.run("periodic")
    assert told(machine) == []


@pytest.mark.row("field-demands", 172)
def test_row_172_switched_off_nothing_is_written_down(machine: Machine) -> None:
    machine.module("vendor/local/10-one.py", "return changed('made it')")
    machine.run("local", conf="Telemetry.Enabled=n\n")
    assert told(machine) == [] and not machine.system().exists(f"{LIB}/events")


def test_neither_does_plan_mode(machine: Machine) -> None:
    machine.module("vendor/local/10-one.py", "return changed('made it')")
    machine.run("local", planning=True)
    assert told(machine) == []


def test_a_secret_of_this_instance_is_not_told(machine: Machine) -> None:
    body = "ctx.publish('ovf', {}, secret={'password': 'hunter2hunter2'})\nreturn changed('set hunter2hunter2')"
    machine.module("vendor/local/20-instance-media.py", body)
    machine.module("vendor/local/45-password.py", "return changed('password is hunter2hunter2')")
    machine.run("local")
    assert "hunter2hunter2" not in str(told(machine))


def test_a_full_spool_and_an_unwritable_one_stop_nothing(machine: Machine) -> None:
    (machine.root / "var/lib/waagent").mkdir(parents=True)
    (machine.root / "var/lib/waagent/events").write_text("in the way")
    machine.module("vendor/local/10-one.py", "return changed('made it')")
    assert machine.run("local").status == 0
