"""What is sent, what goes, what stays (wire-protocol 5.4, guest-operations 6.4)."""

from __future__ import annotations

import json
import os

import pytest

from waagent import events
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.events import Event
from waagent.fabric.hosting import Names
from waagent.system import System
from waagent.telemetry import send as sending
from waagent.telemetry.columns import Columns
from waagent.telemetry.send import Sent, send

LIB = "/var/lib/waagent"


class Platform:
    """Takes documents; `refuses` and `silent` are words in a document that make it say no, or nothing."""

    def __init__(self, refuses: str = "\0", silent: str = "\0") -> None:
        self.refuses, self.silent = refuses.encode(), silent.encode()
        self.taken: list[bytes] = []

    def post(self, document: bytes) -> None:
        if self.refuses in document:
            raise FabricRejected("cannot send telemetry: 400 Bad Request", status=400)
        if self.silent in document:
            raise FabricUnreachable("cannot send telemetry: 503 Service Unavailable", status=503)
        self.taken.append(document)


def run(system: System, platform: Platform | None = None) -> Sent:
    return send(system, LIB, (platform or Platform()).post, Columns.of(system, {}.get, Names()))


def record(system: System, *messages: str) -> None:
    for message in messages:
        assert events.record(system, LIB, Event("Stage", message))


def test_nothing_waits(system: System) -> None:
    platform = Platform()
    assert run(system, platform) == Sent()
    assert platform.taken == []


@pytest.mark.wire("5.4/body")
def test_all_that_waits_goes_in_one_request_and_the_files_with_it(system: System) -> None:
    record(system, *(f"event {number}" for number in range(30)))
    platform = Platform()
    sent = run(system, platform)
    assert (sent.sent, sent.requests, sent.left) == (30, 1, 0)
    assert events.waiting(system, LIB) == []
    (document,) = platform.taken
    assert document.index(b"event 0") < document.index(b"event 29")


def test_each_provider_has_requests_of_its_own(system: System) -> None:
    record(system, "one")
    named = [{"name": "EventName", "value": "x"}]
    log = {"eventId": 7, "providerId": "FFF0196F-EE4C-4EAF-9AA5-776F622DEB4F", "parameters": named}
    events.keep(system, LIB, [log])
    platform = Platform()
    run(system, platform)
    assert [document.count(b"<Provider ") for document in platform.taken] == [1, 1]


@pytest.mark.row("guest-operations", 63)
def test_what_could_not_be_sent_stays_and_goes_the_next_time(system: System) -> None:
    record(system, "one", "two")
    sent = run(system, Platform(silent="Stage"))
    assert sent.failed is not None and sent.left == 2
    assert len(events.waiting(system, LIB)) == 2
    platform = Platform()
    assert run(system, platform).sent == 2
    assert len(platform.taken) == 1


def test_after_the_first_failure_the_platform_is_left_alone(system: System) -> None:
    record(system, *("x" * 3000 for _ in range(60)))  # several requests
    asked = []

    def post(document: bytes) -> None:
        asked.append(document)
        raise FabricUnreachable("cannot send telemetry: 429 Too Many Requests", status=429)

    sent = send(system, LIB, post, Columns.of(system, {}.get, Names()))
    assert len(asked) == sent.requests == 1 and sent.left == 60


def test_what_is_refused_goes_and_is_told_once(system: System) -> None:
    record(system, "one", "two")
    sent = run(system, Platform(refuses="Stage"))
    assert (sent.refused, sent.left) == (2, 0)
    (told,) = events.waiting(system, LIB)
    assert b"ReportEventErrors" in system.read(f"{LIB}/events/{told}")
    assert run(system, Platform(refuses="ReportEventErrors")).refused == 1
    assert events.waiting(system, LIB) == []  # no event about an event about an event


def test_an_event_that_no_request_can_hold_is_dropped_and_told(system: System) -> None:
    record(system, "one")
    huge = {"eventId": 1, "providerId": events.OPERATIONS, "parameters": [{"name": "Message", "value": "x" * 64512}]}
    events.keep(system, LIB, [huge])
    sent = run(system)
    assert (sent.sent, sent.oversize, sent.left) == (1, 1, 0)
    (told,) = events.waiting(system, LIB)
    assert b"1 too big" in system.read(f"{LIB}/events/{told}")


def test_files_that_are_no_events_go_and_are_told_with_samples(system: System) -> None:
    system.path(f"{LIB}/events").mkdir(parents=True)
    for number in range(8):
        system.path(f"{LIB}/events/{number}.tld").write_bytes(b"{")
    sent = run(system)
    assert len(sent.unusable) == 8
    (told,) = events.waiting(system, LIB)
    message = json.loads(system.read(f"{LIB}/events/{told}"))["parameters"][4]["value"]
    assert message.startswith("8 files") and message.count(".tld") == sending.SAMPLES


def test_one_run_makes_a_bounded_number_of_requests(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "REQUESTS", 2)
    record(system, *("x" * 3000 for _ in range(60)))
    platform = Platform()
    sent = run(system, platform)
    assert len(platform.taken) == 2 and sent.sent + sent.left == 60 and sent.left > 0
    assert len(events.waiting(system, LIB)) == sent.left
    while run(system, platform).left:
        pass
    assert b"".join(platform.taken).count(b"<Event ") == 60


def test_of_a_file_of_many_events_those_stay_that_did_not_go(system: System) -> None:
    """None is sent twice, and the time of the file, which is theirs, stays."""
    told = [[{"name": "Message", "value": f"{number} {'y' * 30000}"}] for number in range(3)]
    events.keep(system, LIB, [{"eventId": 1, "providerId": events.OPERATIONS, "parameters": one} for one in told])
    (name,) = events.waiting(system, LIB)
    os.utime(system.path(f"{LIB}/events/{name}"), (1e9, 1e9))
    asked: list[bytes] = []

    def post(document: bytes) -> None:
        asked.append(document)
        if len(asked) == 2:
            raise FabricUnreachable("cannot send telemetry: timed out")

    sent = send(system, LIB, post, Columns.of(system, {}.get, Names()))
    assert sent.left == 1 and events.waiting(system, LIB) == [name]
    assert system.status(f"{LIB}/events/{name}").st_mtime == 1e9
    platform = Platform()
    run(system, platform)
    went = [asked[0], *platform.taken]
    assert [sum(f'"{number} y'.encode() in document for document in went) for number in range(3)] == [1, 1, 1]
    assert events.waiting(system, LIB) == []
