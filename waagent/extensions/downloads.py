"""Packages that are fetched again and again without ever being installed: after the fifth, pauses that grow.

    Sparing(system, layout, source)     a Source (packages.py) that counts what it fetched, and refuses in a pause
    .failed(name, version, why)         the handler's turn ended so: told in the pause, or the cause would be lost
    .forget(name)                       the handler had its turn without failing, or somebody asks for it

LIB/extensions/downloads.json: {"NAME VERSION": [times, seconds since the epoch of the last, why it failed]}. It
outlives boots and goal states. What counts is a package that arrived: a network that is down makes no pause.
Nothing is refused before FREE of them; then the pause is PAUSE seconds, and twice as long each time, LONGEST at
most. What lies further back than FORGOTTEN seconds, or ahead of the clock, counts for nothing.

Another version is another package: a repair that comes as one is never kept waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from waagent.errors import FabricUnreachable, SystemRefused
from waagent.extensions.journal import read_json, save_json
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release, Source
from waagent.fabric.desired import Handler
from waagent.system import System

FREE, PAUSE, LONGEST, FORGOTTEN = 5, 300.0, 6 * 3600.0, 24 * 3600.0
REASON = 1000  # characters


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
            if not counted:  # once, however many locations are tried
                counted.append(zip_path)
                self._count(name, version)
            accept()

        self._source.fetch(handler, release, zip_path, accept_and_count)

    def failed(self, name: str, version: str, why: str) -> None:
        key = f"{name} {version}"
        with self._lock:
            kept = self._read()
            if key in self._arrived and key in kept:
                self._write({**kept, key: (*kept[key][:2], why[:REASON])})

    def forget(self, name: str) -> None:
        with self._lock:
            kept = self._read()
            left = {key: one for key, one in kept.items() if key.rpartition(" ")[0] != name}
            if left != kept:
                self._write(left)

    def _refuse_in_a_pause(self, name: str, version: str) -> None:
        now = self._system.clock.now().timestamp()
        with self._lock:
            times, last, why = self._read().get(f"{name} {version}", (0, 0.0, ""))
        if times < FREE or not 0 <= now - last < FORGOTTEN:
            return
        until = last + min(LONGEST, PAUSE * 2.0 ** min(times - FREE, 16))
        if now >= until:
            return
        at = datetime.fromtimestamp(until, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = f"; the last time: {why}" if why else ""
        raise FabricUnreachable(
            f"the package of {name} {version} was fetched {times} times within a day and could not be installed;"
            f" before {at} it is fetched only for waagent extensions retry {name}{told}"
        )

    def _count(self, name: str, version: str) -> None:
        now, key = self._system.clock.now().timestamp(), f"{name} {version}"
        with self._lock:
            kept = {one: when for one, when in self._read().items() if 0 <= now - when[1] < FORGOTTEN}
            times, _, why = kept.get(key, (0, now, ""))
            self._write({**kept, key: (times + 1, now, why)})
            self._arrived.add(key)

    def _read(self) -> dict[str, tuple[int, float, str]]:
        found = read_json(self._system, self._layout.downloads)
        kept: dict[str, tuple[int, float, str]] = {}
        for key, one in found.items():
            try:
                times, last, why = one
                kept[key] = (int(times), float(last), str(why))
            except (TypeError, ValueError, OverflowError):
                continue
        return kept

    def _write(self, kept: dict[str, tuple[int, float, str]]) -> None:
        try:
            save_json(self._system, self._layout, self._layout.downloads, kept, durable=False)
        except SystemRefused:
            pass  # a full disk must not keep the remedy from being fetched
