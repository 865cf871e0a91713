"""Packages that are fetched again and again without ever being installed: pauses that grow, and a limit a day.

    Sparing(system, layout, source)     a Source (packages.py) that counts what it fetched, and refuses in a pause
    .failed(name, version, why)         the handler's turn ended so: told in the pause, or the cause would be lost
    .forget(name)                       the handler had its turn without failing, or somebody asks for it

LIB/extensions/downloads.json: {"NAME VERSION": [times, seconds since the epoch of the last, why it failed,
[[when, bytes], ...] of the last day]}. It outlives boots and goal states. What counts is a package that arrived: a
network that is down makes no pause.
Nothing is refused before FREE of them; then the pause is PAUSE seconds, and twice as long each time, LONGEST at
most. And within a day (FORGOTTEN seconds) there are DAILY bytes for all versions of one handler: with them the next
one waits until enough of them lie further back, which counts for nothing, as what is ahead of the clock does.

The first time a version is fetched, neither keeps it waiting: it may be the repair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from waagent.errors import FabricUnreachable, SystemRefused
from waagent.extensions.journal import read_json, save_json
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release, Source
from waagent.fabric.desired import Handler
from waagent.system import System

FREE, PAUSE, LONGEST, FORGOTTEN = 5, 300.0, 6 * 3600.0, 24 * 3600.0
DAILY = 1024**3  # bytes
REASON = 1000  # characters


class _Fetched(NamedTuple):
    """times without being installed, the last of them, why it failed; arrivals: when, and how many bytes."""

    times: int
    last: float
    why: str = ""
    arrivals: tuple[tuple[float, int], ...] = ()


class Sparing:
    def __init__(self, system: System, layout: Layout, source: Source) -> None:
        self._system, self._layout, self._source = system, layout, source
        self._lock = threading.Lock()
        self._arrived: set[str] = set()  # what this process has fetched

    def releases(self, handler: Handler) -> Sequence[Release]:
        return self._source.releases(handler)

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        """As packages.py says; raises FabricUnreachable in a pause, too."""
        name, version = handler.name, release.version
        self._refuse_in_a_pause(name, version)
        counted: list[str] = []

        def accept_and_count() -> None:
            self._count(name, version, zip_path, again=bool(counted))
            counted.append(zip_path)
            accept()

        self._source.fetch(handler, release, zip_path, accept_and_count)

    def failed(self, name: str, version: str, why: str) -> None:
        key = f"{name} {version}"
        with self._lock:
            kept = self._read()
            if key in self._arrived and key in kept:
                self._write({**kept, key: kept[key]._replace(why=why[:REASON])})

    def forget(self, name: str) -> None:
        with self._lock:
            kept = self._read()
            left = {key: one for key, one in kept.items() if _handler(key) != name}
            if left != kept:
                self._write(left)

    def _refuse_in_a_pause(self, name: str, version: str) -> None:
        now = self._system.clock.now().timestamp()
        with self._lock:
            kept = self._read()
        here = kept.get(f"{name} {version}")
        if here is None or not 0 <= now - here.last < FORGOTTEN:
            return
        until, told = 0.0, ""
        if here.times >= FREE:
            until = here.last + min(LONGEST, PAUSE * 2.0 ** min(here.times - FREE, 16))
            told = f"was fetched {here.times} times within a day"
        arrivals = [one for key, other in kept.items() if _handler(key) == name for one in other.arrivals]
        full = _room_again(arrivals, now)
        if full > until:
            size = sum(size for _, size in arrivals)
            until = full
            told = f"is one of those of which {size} bytes were fetched within a day"
        if now >= until:
            return
        at = datetime.fromtimestamp(until, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        why = f"; the last time: {here.why}" if here.why else ""
        raise FabricUnreachable(
            f"the package of {name} {version} {told} and could not be installed;"
            f" before {at} it is fetched only for waagent extensions retry {name}{why}"
        )

    def _count(self, name: str, version: str, zip_path: str, *, again: bool) -> None:
        """again: another location of the same package, whose bytes count and which is not another time."""
        now, key = self._system.clock.now().timestamp(), f"{name} {version}"
        try:
            size = self._system.status(zip_path).st_size
        except OSError:
            size = 0
        with self._lock:
            kept = {one: other for one, other in self._read().items() if 0 <= now - other.last < FORGOTTEN}
            here = kept.get(key, _Fetched(0, now))
            recent = tuple(one for one in here.arrivals if 0 <= now - one[0] < FORGOTTEN)
            times = here.times if again else here.times + 1
            self._write({**kept, key: _Fetched(times, now, here.why, (*recent, (now, size)))})
            self._arrived.add(key)

    def _read(self) -> dict[str, _Fetched]:
        found = read_json(self._system, self._layout.downloads)
        kept: dict[str, _Fetched] = {}
        for key, one in found.items():
            try:
                times, last, why, arrivals = one
                counted = tuple((float(when), int(size)) for when, size in arrivals)
                kept[key] = _Fetched(int(times), float(last), str(why), counted)
            except (TypeError, ValueError, OverflowError):
                continue
        return kept

    def _write(self, kept: dict[str, _Fetched]) -> None:
        try:
            save_json(self._system, self._layout, self._layout.downloads, kept, durable=False)
        except SystemRefused:
            pass  # a full disk must not keep the remedy from being fetched


def _handler(key: str) -> str:
    return key.rpartition(" ")[0]


def _room_again(arrivals: list[tuple[float, int]], now: float) -> float:
    """When less than DAILY bytes of them will lie within a day; 0.0 when it is so now."""
    recent = sorted(one for one in arrivals if 0 <= now - one[0] < FORGOTTEN)
    left, until = sum(size for _, size in recent), 0.0
    for when, size in recent:
        if left < DAILY:
            break
        left, until = left - size, when + FORGOTTEN
    return until
