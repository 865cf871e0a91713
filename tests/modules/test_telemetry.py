"""periodic/85-telemetry.py and 75-extension-events.py: events reach the platform, or stay within bounds."""

from __future__ import annotations

import json
import os
from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import load_module
from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent import config as configuration
from waagent import events
from waagent.errors import FabricUnreachable
from waagent.events import Event
from waagent.module import Context

MODULE = "periodic/85-telemetry.py"
COLLECTING = "periodic/75-extension-events.py"
LIB = "/var/lib/waagent"
HANDLER = "Sim.Test.Handler"


def record(ctx: Context, *messages: str) -> None:
    for message in messages:
        assert events.record(ctx.system, LIB, Event("Stage", message, milliseconds=7))


def test_nothing_waits_and_nobody_is_asked(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    assert module.run(joined).kind == "unchanged"
    assert sim.requests.select() == []


@pytest.mark.wire("5.4/body")
def test_events_arrive_with_all_columns(module: ModuleType, joined: Context, vm: Any, sim: Any) -> None:  # noqa: F811
    record(joined, "stage local: 3 steps, all well", "stage network: 2 steps, all well")
    joined.facts["imds"] = {"location": "simregion1", "vmId": "v", "publisher": "debian"}
    assert module.run(joined).message == "sent 2 events"
    first, _ = vm.reports.events(operation="Stage")
    assert first.parameters["Message"] == "stage local: 3 steps, all well"
    assert first.parameters["Location"] == "simregion1" and first.parameters["ImageOrigin"] == "3"
    assert first.types["OperationSuccess"] == "mt:bool" and first.types["Duration"] == "mt:uint64"
    assert [one["message"] for one in vm.reports.stages()][1].startswith("stage network")
    assert events.waiting(joined.system, LIB) == []
    (request,) = sim.requests.select(method="POST")
    assert request.headers["x-ms-agent-name"] == "WALinuxAgent"
    assert module.run(joined).kind == "unchanged"


@pytest.mark.wire("5.4/failure", "7.3/telemetry")
def test_what_the_platform_does_not_take_now_waits(
    module: ModuleType, joined: Context, talk: Talk, vm: Any, sim: Any  # noqa: F811
) -> None:
    record(joined, "one", "two")
    sim.fault("/machine*comp=telemetrydata*", status=503, count=3)
    with pytest.raises(FabricUnreachable, match="cannot send telemetry"):
        module.run(joined)
    assert talk.slept == [8.0, 8.0]
    assert len(events.waiting(joined.system, LIB)) == 2
    module.run(joined)
    assert len(vm.reports.events(operation="Stage")) == 2


@pytest.mark.row("field-demands", 172)
def test_row_172_switched_off_nothing_is_sent_and_what_waits_goes(
    module: ModuleType, joined: Context, sim: Any  # noqa: F811
) -> None:
    record(joined, "one")
    joined.config = configuration.from_text("Telemetry.Enabled=n\n")
    assert module.run(joined).kind == "skipped"
    assert events.waiting(joined.system, LIB) == [] and sim.requests.select() == []


def test_without_a_wire_server_they_wait(module: ModuleType, ctx: Context) -> None:
    record(ctx, "one")
    assert module.run(ctx).kind == "skipped"
    assert len(events.waiting(ctx.system, LIB)) == 1


def test_a_secret_in_a_url_never_arrives(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    record(joined, "GET https://a.example/b?sv=1&sig=c2lnbmF0dXJl failed")
    module.run(joined)  # the simulator itself complains of signatures
    assert "<redacted>" in vm.reports.events(operation="Stage")[0].parameters["Message"]


def put(ctx: Context, content: object, name: str = "1700000000.json") -> None:
    folder = ctx.system.path(f"/var/log/azure/{HANDLER}/events")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    os.utime(folder / name, (1.7e9, 1.7e9))


EVENT = {
    "Version": "3.4.0", "Timestamp": "2026-11-23T09:15:21Z", "TaskName": "Enable", "EventLevel": "Informational",
    "Message": "3 volumes found", "EventPid": 2211, "EventTid": "1", "OperationId": "op",
}  # fmt: skip


def test_events_of_a_handler_go_the_whole_way(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    collecting = load_module(COLLECTING)
    assert collecting.run(joined).kind == "skipped"
    put(joined, [EVENT, {**EVENT, "Message": ""}])
    outcome = collecting.run(joined)
    assert outcome.message == f"events collected: 1 of {HANDLER}"
    assert "1 dropped: the message is empty" in joined.notes[0]
    module.run(joined)
    (seen,) = [one for one in vm.reports.telemetry if one.event_id == "7"]
    assert seen.parameters["EventName"] == f"{HANDLER}-3.4.0" and seen.parameters["Context1"] == "3 volumes found"
    assert seen.parameters["EventPid"] == "2211" and seen.types["EventPid"] == "mt:uint64"
    assert collecting.run(joined).kind == "unchanged"


def test_the_period_of_collecting_is_an_option() -> None:
    assert load_module(COLLECTING).MODULE.every == "Debug.EtpCollectionPeriod"


@pytest.mark.row("extensions", 125)
def test_what_a_handler_wrote_is_not_lost_while_nothing_can_be_sent(
    module: ModuleType, joined: Context, vm: Any, sim: Any  # noqa: F811
) -> None:
    put(joined, EVENT)
    load_module(COLLECTING).run(joined)
    sim.fault("/machine*comp=telemetrydata*", status=503)
    with pytest.raises(FabricUnreachable):
        module.run(joined)
    assert not [one for one in vm.reports.telemetry if one.event_id == "7"]
    sim.clear_faults()
    module.run(joined)
    assert len([one for one in vm.reports.telemetry if one.event_id == "7"]) == 1


def test_plan_mode_leaves_all_as_it_is(module: ModuleType, joined: Context) -> None:  # noqa: F811
    record(joined, "one")
    put(joined, EVENT)
    joined.system.planning = True
    load_module(COLLECTING).run(joined)
    module.run(joined)
    assert len(events.waiting(joined.system, LIB)) == 1
    assert joined.system.listing(f"/var/log/azure/{HANDLER}/events")
