"""waagent telemetry: a look at what would be sent (row 172)."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import Machine
from waagent import events
from waagent.events import Event

LIB = "/var/lib/waagent"


@pytest.mark.row("field-demands", 172)
def test_row_172_what_waits_is_shown_as_it_would_be_sent(machine: Machine, waagent: Waagent) -> None:
    said = waagent("telemetry")
    assert said.status == 0 and said.out.splitlines() == ["telemetry is on", "0 events to be sent"]
    events.record(machine.system(), LIB, Event("Stage", "stage local: 3 steps, all well"))
    events.record(machine.system(), LIB, Event("Step", "it\nfailed", ok=False))
    said = waagent("telemetry")
    assert "2 events to be sent" in said.out and "stage local: 3 steps, all well" in said.out
    assert "failed  it failed" in said.out and "ContainerId" in said.out
    first, second = waagent("telemetry", "--format", "json").json()["events"]
    assert first["columns"]["Operation"] == "Stage" and second["columns"]["OperationSuccess"] is False
    assert first["columns"]["VMId"] == "VMId_UNINITIALIZED"
    assert len(events.waiting(machine.system(), LIB)) == 2  # a look takes nothing away


@pytest.mark.row("field-demands", 172)
def test_row_172_switched_off_it_says_so(machine: Machine, waagent: Waagent) -> None:
    (machine.root / "etc/waagent.conf").write_text("Telemetry.Enabled=n\n")
    assert waagent("telemetry").out.startswith("telemetry is off")
    assert waagent("telemetry", "--format", "json").json()["enabled"] is False


def test_events_of_extensions_that_are_not_collected_yet_are_counted(machine: Machine, waagent: Waagent) -> None:
    folder = machine.root / "var/log/azure/A.B/events"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("{}")
    (machine.root / "var/lib/waagent/events").mkdir(parents=True)
    (machine.root / "var/lib/waagent/events/1.tld").write_text("{")
    said = waagent("telemetry")
    assert "1 files of A.B are not collected yet" in said.out and "1.tld is no event" in said.out
