"""Commands of handlers as events for the platform's people (guest-operations 6.2, 13.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, single
from waagent import events
from waagent.extensions.steps import Rules
from waagent.system import System

NAME = "Contoso.Test.Probe"


def told(bed: Bed) -> list[dict[str, Any]]:
    system, lib = System("/"), bed.layout.lib
    found = []
    for name in events.waiting(system, lib):
        content = json.loads(system.read(f"{lib}/events/{name}"))
        found.append({one["name"]: one["value"] for one in content["parameters"]})
    return found


def test_each_command_is_an_event_of_its_handler(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success done\necho hunter2"})
    bed.process(single(NAME))
    install, enable = told(bed)
    assert [install["Operation"], enable["Operation"]] == ["Install", "Enable"]
    assert {(one["Name"], one["Version"], one["OperationSuccess"]) for one in (install, enable)} == {(NAME, "1.0.0", True)}
    assert enable["Message"] == "enable succeeded, exit status 0" and enable["TaskName"] == "extensions"
    assert 0 < enable["Duration"] < 60_000
    assert "hunter2" not in str(told(bed))


def test_a_command_that_failed_says_so(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "exit 7"})
    bed.process(single(NAME))
    *_, enable = told(bed)
    assert enable["OperationSuccess"] is False and enable["Message"] == "enable failed, exit status 7"


@pytest.mark.row("field-demands", 172)
def test_row_172_switched_off_there_are_none(bed: Bed) -> None:
    bed.rules = Rules(telemetry=False)
    bed.publish(NAME, "1.0.0", {"enable": "status success done"})
    bed.process(single(NAME))
    assert told(bed) == []
