"""Telemetry as the wire server takes it: events to documents of bounded size.

event(event_id, parameters) -> bytes              one <Event>; parameters are (name, value) in their order
batches(provider, events) -> (batches, oversize)  what to post; places of events that are too big for any request

Batch   document: the body of a request; places: which of the events are in it

The type of a value follows from it: bool, int, float, else text.

Source: wire-protocol 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waagent.fabric.health import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

OPERATIONS = "69B669B9-4AF8-4C50-BDC4-6006FA76E975"  # agent and extension events (1), metrics (4)
LOGS = "FFF0196F-EE4C-4EAF-9AA5-776F622DEB4F"  # events that extensions write (7)
OPERATION_EVENT, METRIC_EVENT, LOG_EVENT = 1, 4, 7

BATCH = 64512  # the events of one request have to stay below


class Batch(NamedTuple):
    document: bytes
    places: tuple[int, ...]


def event(event_id: int, parameters: Iterable[tuple[str, object]]) -> bytes:
    run = "".join(
        f'<Param Name="{escape(name)}" Value="{_value(value)}" T="{_type(value)}" />' for name, value in parameters
    )
    # ">" is escaped in all values, so nothing in them can end the CDATA section.
    return f'<Event id="{event_id}"><![CDATA[{run}]]></Event>'.encode()


def batches(provider: str, events: Iterable[bytes]) -> tuple[list[Batch], list[int]]:
    made: list[Batch] = []
    batch: list[bytes] = []
    places: list[int] = []
    oversize: list[int] = []
    size = 0
    for place, one in enumerate(events):
        if len(one) >= BATCH:
            oversize.append(place)
            continue
        if size + len(one) >= BATCH:
            made.append(Batch(_document(provider, batch), tuple(places)))
            batch, places, size = [], [], 0
        batch.append(one)
        places.append(place)
        size += len(one)
    if batch:
        made.append(Batch(_document(provider, batch), tuple(places)))
    return made, oversize


def _document(provider: str, events: list[bytes]) -> bytes:
    head = f'<?xml version="1.0"?><TelemetryData version="1.0"><Provider id="{escape(provider)}">'
    return head.encode() + b"".join(events) + b"</Provider></TelemetryData>"


def _value(value: object) -> str:
    return escape(str(value)).replace("\n", "&#10;").replace("\r", "&#13;").replace("\t", "&#9;")


def _type(value: object) -> str:
    if isinstance(value, bool):  # before int: a bool is one
        return "mt:bool"
    if isinstance(value, int):
        return "mt:uint64"
    return "mt:float64" if isinstance(value, float) else "mt:wstr"
