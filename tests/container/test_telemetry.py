"""Events of a booted guest reach the platform by itself (row 172: until they may not)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bed import Bed

from waagent.simulator import Machine

HANDLER = "Demo.Hello"
HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
EVENT = {
    "Version": "1.0.0", "Timestamp": "2026-11-23T09:15:21Z", "TaskName": "Enable", "EventLevel": "Informational",
    "Message": "said hello to https://store.example/b?sv=1&sig=c2lnbmF0dXJl", "EventPid": "1", "EventTid": "1",
    "OperationId": "op",
}  # fmt: skip


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine(user="ada", password="Correct-Horse-8-Battery", disable_password_authentication=False)
    bed.guest.boot()
    made.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    return made


def test_the_stages_of_the_boot_arrive_by_themselves(bed: Bed, machine: Machine) -> None:
    machine.wait_for(lambda one: len(one.reports.stages()) >= 4, timeout=120)
    told = [stage["message"].split(":")[0] for stage in machine.reports.stages()]
    assert told == ["stage local", "stage network", "stage config", "stage final"]
    assert all(stage["success"] and stage["milliseconds"] for stage in machine.reports.stages())
    assert machine.reports.events("Provision")[0].parameters["OperationSuccess"] == "True"


def test_every_event_says_which_machine_it_is_from(bed: Bed, machine: Machine) -> None:
    for event in machine.reports.events():
        assert event.parameters["ContainerId"] == machine.container_id
        assert event.parameters["OSVersion"].startswith("Linux:debian-12-bookworm:")
        assert event.parameters["VMId"] and event.parameters["TenantName"]


def test_what_extensions_do_and_say_arrives(bed: Bed, machine: Machine) -> None:
    bed.fabric.simulator.add_package(HANDLERS / HANDLER, HANDLER, "1.0.0")
    machine.publish([{"name": HANDLER, "version": "1.0.0", "public": {"name": "world"}}])
    machine.wait_for(f"extension={HANDLER}", timeout=60)
    folder = f"/var/log/azure/{HANDLER}/events"
    bed.guest.succeed(f"mkdir {folder}/Temp && cat > {folder}/Temp/1 && mv {folder}/Temp/1 {folder}/1700000000.json",
                      stdin=json.dumps([EVENT, {}]))  # fmt: skip
    bed.guest.succeed("waagent stage periodic --only extension-events --only telemetry --force")
    machine.wait_for(lambda one: one.reports.events("Enable", HANDLER), timeout=60)
    assert [one.parameters["OperationSuccess"] for one in machine.reports.events(name=HANDLER)] == ["True", "True"]
    (said,) = [one for one in machine.reports.telemetry if one.event_id == "7"]
    assert said.parameters["EventName"] == f"{HANDLER}-1.0.0"
    assert said.parameters["Context1"] == "said hello to https://store.example/b?<redacted>"
    assert bed.guest.succeed(f"ls {folder}").split() == ["Temp"]


def test_what_waits_is_root_s_to_see(bed: Bed, machine: Machine) -> None:
    assert bed.guest.succeed("waagent telemetry").startswith("telemetry is on")
    ran = bed.guest.run("su ada -c 'waagent telemetry'")
    assert ran.status == 1 and "try it as root" in ran.err
    assert bed.guest.succeed("stat -c %a:%U /var/lib/waagent/events").strip() == "700:root"


@pytest.mark.row("field-demands", 172)
def test_row_172_one_line_ends_it(bed: Bed, machine: Machine) -> None:
    bed.guest.succeed("echo Telemetry.Enabled=n > /etc/waagent.conf.d/telemetry.conf")
    before = len(machine.reports.telemetry)
    bed.guest.reboot()
    bed.guest.wait_until_booted()
    bed.guest.succeed("waagent stage periodic --only telemetry --force")
    assert len(machine.reports.telemetry) == before
    assert bed.guest.succeed("ls /var/lib/waagent/events").split() == []


def test_fabric_has_no_complaint(bed: Bed, machine: Machine) -> None:
    assert not bed.fabric.simulator.violations
    assert not bed.fabric.simulator.errors
