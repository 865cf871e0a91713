"""What handlers leave in LOG/NAME/events (extensions 10.1 - 10.3, guest-operations 6.5)."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from waagent import events
from waagent.system import System
from waagent.telemetry import extension_events as collecting
from waagent.telemetry import spool
from waagent.telemetry.extension_events import Collected, collect

LIB, LOGS = "/var/lib/waagent", "/var/log/azure"
HANDLER = "Sim.Test.Handler"
FOLDER = f"{LOGS}/{HANDLER}/events"


def event(**changes: object) -> dict[str, object]:
    found: dict[str, object] = {
        "Version": "3.4.0", "Timestamp": "2026-11-23T09:15:21.004211Z", "TaskName": "Enable",
        "EventLevel": "Informational", "Message": "3 volumes found", "EventPid": "2211", "EventTid": "1",
        "OperationId": "5f0a7d7e-33f1-4a38-9c4f-2f1b0d0c7a11", **changes,
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not ...}


def put(system: System, name: str, content: Any, *, age: float = 60.0, folder: str = FOLDER) -> None:
    system.path(folder).mkdir(parents=True, exist_ok=True)
    path = system.path(f"{folder}/{name}")
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    then = time.time() - age
    os.utime(path, (then, then))


def test_a_number_that_takes_minutes_is_no_json(system: System) -> None:
    """1000 digits do for any Python; 4 MiB of them hold up the step for minutes where there is no limit to digits."""
    put(system, "1.json", b'{"EventPid": ' + b"7" * 1000 + b"}")
    assert told(system).troubles == ["1.json is no JSON"]


def told(system: System) -> Collected:
    return collect(system, LOGS, LIB).get(HANDLER, Collected())


def kept(system: System) -> list[dict[str, object]]:
    return [raw.parameters for file in spool.read(system, LIB)[0] for raw in file.events]


@pytest.mark.parametrize("many", [False, True], ids=["one", "an array"])
def test_an_event_becomes_one_of_the_log_stream(system: System, many: bool) -> None:
    put(system, "1700000000.json", [event(), event()] if many else event())
    assert told(system).taken == (2 if many else 1)
    ((file, *_), _) = spool.read(system, LIB)
    raw = file.events[0]
    assert (raw.provider, raw.number) == ("FFF0196F-EE4C-4EAF-9AA5-776F622DEB4F", 7)
    found = dict(raw.parameters)
    assert found.pop("OpcodeName") and found.pop("GAVersion")
    assert found == {
        "EventName": f"{HANDLER}-3.4.0", "CapabilityUsed": "Informational", "Context1": "3 volumes found",
        "Context2": "2026-11-23T09:15:21.004211Z", "Context3": "5f0a7d7e-33f1-4a38-9c4f-2f1b0d0c7a11",
        "EventTid": "1", "EventPid": "2211", "TaskName": "Enable",
    }  # fmt: skip
    assert system.listing(FOLDER) == []


@pytest.mark.row("guest-operations", 60)
@pytest.mark.row("extensions", 122)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TaskName": ...}, collecting.MISSING), ({"Message": ...}, collecting.MISSING), ({"OperationId": None}, collecting.MISSING),
        ({"Version": 3}, collecting.MISSING), ({"EventPid": True}, collecting.MISSING),
        ({"Message": "  "}, collecting.EMPTY), ({"TaskName": "t" * 6144}, collecting.OVERSIZE),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_taken_is_counted_by_reason(system: System, changes: dict[str, Any], reason: str) -> None:
    put(system, "1.json", [event(**changes), event()])
    found = told(system)
    assert found.taken == 1 and dict(found.dropped) == {reason: 1}


@pytest.mark.row("guest-operations", 61)
@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"EventPid": 7}, "EventPid", "7"), ({"Message": " m \n"}, "Context1", "m"),
        ({"Message": "x" * 9000}, "Context1", "x" * 3072), ({"Other": {"a": 1}}, "Context1", "3 volumes found"),
        ({"Message": ..., "mESSAGE": "any case"}, "Context1", "any case"),
        ({"Message": "see https://a.example/b?sv=1&sig=c2VjcmV0"}, "Context1", "see https://a.example/b?<redacted>"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_taken_is_made_fit(system: System, changes: dict[str, Any], name: str, value: str) -> None:
    put(system, "1.json", event(**changes))
    told(system)
    assert kept(system)[0][name] == value


@pytest.mark.row("guest-operations", 59)
@pytest.mark.row("extensions", 121)
def test_so_many_events_of_one_handler_and_the_newest_file_first(system: System) -> None:
    put(system, "9.json", [event(Message="old")] * 300)
    put(system, "10.json", [event(Message="new")] * 300)
    put(system, "8.json", event(Message="oldest"))
    found = told(system)
    assert found.taken == 360 and found.dropped[collecting.TOO_MANY] == 241
    messages = [parameters["Context1"] for parameters in kept(system)]
    assert messages.count("new") == 300 and messages.count("old") == 60
    assert system.listing(FOLDER) == []


@pytest.mark.row("extensions", 123)
@pytest.mark.parametrize("name", ["readme.txt", "x.json", "1.txt", "1.json.tmp", "1", ".json", "٣.json"])
def test_every_other_file_goes_too(system: System, name: str) -> None:
    put(system, name, event())
    found = told(system)
    assert found.taken == 0 and name in found.troubles[0]
    assert system.listing(FOLDER) == []


def test_a_directory_in_which_a_handler_makes_its_files_stays(system: System) -> None:
    put(system, "1.json", event(), folder=f"{FOLDER}/Temp")
    assert told(system) == Collected()
    assert system.listing(f"{FOLDER}/Temp") == ["1.json"]


def test_a_file_that_is_being_written_is_looked_at_again(system: System) -> None:
    put(system, "1.json", b'[{"Version"', age=0)
    assert told(system) == Collected() and system.listing(FOLDER) == ["1.json"]
    put(system, "1.json", b'[{"Version"', age=60)
    assert "no JSON" in told(system).troubles[0] and system.listing(FOLDER) == []


@pytest.mark.row("guest-operations", 62)
def test_a_large_file_and_a_link_are_not_read(system: System) -> None:
    put(system, "1.json", b"x" * (collecting.FILE_BYTES + 1))
    system.path("/etc/secret").write_text(json.dumps(event(Message="secret")))
    system.path(f"{FOLDER}/2.json").symlink_to("/etc/secret")
    assert len(told(system).troubles) == 2
    assert kept(system) == [] and system.listing(FOLDER) == [] and system.exists("/etc/secret")


def test_a_link_in_place_of_the_folder_is_not_followed(system: System) -> None:
    put(system, "1.json", event(), folder="/etc/elsewhere")
    system.path(f"{LOGS}/{HANDLER}").mkdir(parents=True)
    system.path(FOLDER).symlink_to(system.path("/etc/elsewhere"))
    assert told(system) == Collected() and system.listing("/etc/elsewhere") == ["1.json"]


@pytest.mark.row("field-demands", 172)
def test_row_172_switched_off_the_folders_are_emptied_and_nothing_is_kept(system: System) -> None:
    put(system, "1.json", event())
    collect(system, LOGS, LIB, wanted=False)
    assert system.listing(FOLDER) == [] and events.waiting(system, LIB) == []


def test_one_file_of_the_spool_is_about_one_request(system: System) -> None:
    put(system, "1.json", [event(Message="m" * 3000)] * 100)
    told(system)
    files, _ = spool.read(system, LIB)
    assert len(files) > 3 and all(file.size <= collecting.CHUNK for file in files)


ANY = some.recursive(
    some.none() | some.booleans() | some.floats() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LIKELY = some.fixed_dictionaries({}, optional={key: some.text() | ANY for key in collecting.REQUIRED})


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=some.binary() | (LIKELY | some.lists(LIKELY | ANY, max_size=4)).map(lambda f: json.dumps(f).encode()))
def test_whatever_a_handler_writes_the_folder_is_empty_and_the_spool_sound(system: System, content: bytes) -> None:
    put(system, "1.json", content)
    told(system)
    assert system.listing(FOLDER) == []
    files, unusable = spool.read(system, LIB)
    assert not unusable
    events.forget(system, LIB, [file.name for file in files])
