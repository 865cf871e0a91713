"""Event files to requests, and away with what was taken.

    sent = send(system, lib, wire.telemetry, known)

A request holds events of one provider and as many as fit. The platform takes about 15 requests in 15 seconds, so
one run makes REQUESTS at most and leaves the rest of the events for the next one. An event goes from its file when
the request that it was in was taken, or refused for good: what is refused once is refused again. When the platform
cannot be reached the run stops, and what was not sent stays (waagent/events.py bounds it).

Source: wire-protocol 5.4, guest-operations 6.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waagent import events
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric import telemetry
from waagent.telemetry import spool

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.system import System
    from waagent.telemetry.columns import Columns

REQUESTS = 10
SAMPLES = 5
# Events about events that were lost: losing one of these is not told again.
ABOUT_EVENTS = ("CollectEventErrors", "ReportEventErrors")


@dataclass
class Sent:
    """sent, refused, oversize: events; left: files that wait for the next run; unusable: file name -> why.

    failed: why the platform could not be reached, None when it was.
    """

    sent: int = 0
    refused: int = 0
    oversize: int = 0
    requests: int = 0
    left: int = 0
    unusable: dict[str, str] = field(default_factory=dict)
    failed: FabricUnreachable | None = None
    why_refused: str = ""


def send(system: System, lib: str, post: Callable[[bytes], None], known: Columns) -> Sent:
    """post: sends one document; raises FabricUnreachable or FabricRejected."""
    files, unusable = spool.read(system, lib)
    outcome = Sent(unusable=unusable)
    events.forget(system, lib, unusable)
    still = {file.name: set(range(len(file.events))) for file in files}
    noteworthy = bool(unusable)
    encoded: dict[str, list[tuple[str, int, bytes]]] = {}
    for file in files:
        if not file.events:
            events.forget(system, lib, [file.name])
            del still[file.name]
        for place, raw in enumerate(file.events):
            made = telemetry.event(raw.number, known.complete(raw))
            encoded.setdefault(raw.provider, []).append((file.name, place, made))
            noteworthy = noteworthy or raw.parameters.get("Operation") not in ABOUT_EVENTS
    for provider, listed in encoded.items():
        batches, oversize = telemetry.batches(provider, (event for _, _, event in listed))
        outcome.oversize += len(oversize)
        _done(system, lib, still, [listed[place][:2] for place in oversize])
        for batch in batches:
            if outcome.failed is not None or outcome.requests >= REQUESTS:
                break
            outcome.requests += 1
            try:
                post(batch.document)
                outcome.sent += len(batch.places)
            except FabricRejected as error:
                outcome.refused += len(batch.places)
                outcome.why_refused = error.message
            except FabricUnreachable as error:
                outcome.failed = error
                break
            _done(system, lib, still, [listed[place][:2] for place in batch.places])
    for file in files:
        if 0 < len(still.get(file.name, ())) < len(file.events):
            spool.shorten(system, lib, file, still[file.name])
    outcome.left = len(still)
    if noteworthy:
        _tell(system, lib, outcome)
    return outcome


def _done(system: System, lib: str, still: dict[str, set[int]], settled: list[tuple[str, int]]) -> None:
    """These events are settled: file, place in it. A file without any other goes."""
    for name, place in settled:
        still[name].discard(place)
        if not still[name]:
            del still[name]
            events.forget(system, lib, [name])


def _tell(system: System, lib: str, outcome: Sent) -> None:
    """An event about those that were lost; it goes with the next run."""
    if outcome.unusable:
        some = "; ".join(f"{name}: {why}" for name, why in list(outcome.unusable.items())[:SAMPLES])
        told = f"{len(outcome.unusable)} files of events could not be used: {some}"
        events.record(system, lib, events.Event("CollectEventErrors", told, ok=False, task="telemetry"))
    if outcome.refused or outcome.oversize:
        told = f"{outcome.refused} events were refused, {outcome.oversize} too big"
        told += f": {outcome.why_refused}" if outcome.why_refused else ""
        events.record(system, lib, events.Event("ReportEventErrors", told, ok=False, task="telemetry"))
