"""The spool of events: one file each, atomic, bounded by number and bytes, without secrets (guest-operations 6.2)."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timezone
from typing import Any

import pytest

from waagent import events
from waagent.events import Event
from waagent.system import System

LIB = "/var/lib/waagent"
FOLDER = f"{LIB}/events"


def stored(system: System) -> list[dict[str, Any]]:
    return [json.loads(system.read(f"{FOLDER}/{name}")) for name in events.waiting(system, LIB)]


def fields(document: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in document["parameters"]}


def test_an_event_is_a_file_that_only_root_reads(system: System) -> None:
    assert events.record(system, LIB, Event("Stage", "stage local: 3 steps, all well", milliseconds=412, task="local"))
    (name,) = events.waiting(system, LIB)
    assert name.endswith(".waagent.tld")
    assert abs(int(name.split(".")[0]) / 1e6 - datetime.now(timezone.utc).timestamp()) < 60
    assert stat.S_IMODE(system.status(FOLDER).st_mode) == 0o700
    assert stat.S_IMODE(system.status(f"{FOLDER}/{name}").st_mode) == 0o600
    (document,) = stored(system)
    assert (document["eventId"], document["providerId"]) == (1, "69B669B9-4AF8-4C50-BDC4-6006FA76E975")
    told = fields(document)
    assert told["Operation"] == "Stage" and told["OperationSuccess"] is True and told["Duration"] == 412
    assert told["Name"] == "WALinuxAgent" and told["TaskName"] == "local"
    assert datetime.strptime(told["OpcodeName"], "%Y-%m-%dT%H:%M:%S.%fZ")


def test_it_is_the_agents_own_state_and_no_effect_of_a_step(system: System) -> None:
    events.record(system, LIB, Event("Stage"))
    assert system.effects == []
    assert not system.exists("/var/lib/waagent/effects.jsonl")


def test_signatures_and_long_messages_are_cut_before_they_are_written(system: System) -> None:
    events.record(system, LIB, Event("Download", "GET https://a.example/b?sv=1&sig=c2VjcmV0 failed " + "x" * 9000))
    message = fields(stored(system)[0])["Message"]
    assert "c2VjcmV0" not in message and "<redacted>" in message
    assert len(message) == events.MESSAGE and message.endswith("...")


def test_two_events_at_the_same_time_are_two_files(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 23, tzinfo=timezone.utc)
    monkeypatch.setattr(system.clock, "now", lambda: now)
    for number in range(3):
        events.record(system, LIB, Event("Stage", str(number)))
    assert [fields(one)["Message"] for one in stored(system)] == ["0", "1", "2"]


@pytest.mark.row("guest-operations", 58)
@pytest.mark.row("field-demands", 1)
def test_row_1_the_number_of_files_is_bounded_and_the_oldest_go(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "FILES", 5)
    for number in range(12):
        events.record(system, LIB, Event("Stage", str(number)))
        assert len(system.listing(FOLDER)) <= 5
    assert [fields(one)["Message"] for one in stored(system)] == ["7", "8", "9", "10", "11"]


@pytest.mark.row("field-demands", 1)
def test_row_1_so_are_the_bytes_whoever_wrote_them(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    events.record(system, LIB, Event("Stage", "first"))
    for name in ("1.tld", "junk", "0.waagent.tld.tmp"):
        system.path(f"{FOLDER}/{name}").write_bytes(b"x" * 3000)
    monkeypatch.setattr(events, "BYTES", 4000)
    events.record(system, LIB, Event("Stage", "last"))
    assert sum(system.status(f"{FOLDER}/{name}").st_size for name in system.listing(FOLDER)) <= 4000
    assert [fields(one)["Message"] for one in stored(system)][-1] == "last"


def test_a_directory_in_the_spool_does_not_keep_it_full(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system.path(f"{FOLDER}/0.tld/deep").mkdir(parents=True)
    monkeypatch.setattr(events, "FILES", 1)
    assert events.record(system, LIB, Event("Stage"))
    assert len(system.listing(FOLDER)) == 1


def test_an_event_that_cannot_be_kept_is_lost_and_no_failure(system: System) -> None:
    system.path("/var/lib/waagent").write_text("no directory")
    assert not events.record(system, LIB, Event("Stage"))


def test_plan_mode_records_nothing(system: System) -> None:
    planning = System(system.root, planning=True)
    assert not events.record(planning, LIB, Event("Stage"))
    assert planning.effects == [] and system.listing(FOLDER) == []


@pytest.mark.parametrize(
    ("names", "oldest_first"),
    [
        (("10.waagent.tld", "9.waagent.tld"), ["9.waagent.tld", "10.waagent.tld"]),
        (("5.waagent.tld", "abc.tld", "7.tmp"), ["abc.tld", "5.waagent.tld"]),
        (("٣.tld", "2.tld"), ["٣.tld", "2.tld"]),
    ],
    ids=["by number", "others", "digits of elsewhere"],
)
def test_the_order_of_files(system: System, names: tuple[str, ...], oldest_first: list[str]) -> None:
    system.path(FOLDER).mkdir(parents=True)
    for name in names:
        system.path(f"{FOLDER}/{name}").touch()
    assert events.waiting(system, LIB) == oldest_first
