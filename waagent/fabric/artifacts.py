"""Fetch a manifest, package or profile from a list of locations: directly, or through the host.

    artifacts = Artifacts(system, internet, plugin, note=ctx.note)
    found = artifacts.fetch(uris)                                    Found(uri, body)
    found = artifacts.download(uris, "/var/lib/waagent/X__1.0.zip")  Found(uri, b""), the file is complete

Two channels: *direct* (internet.py: TLS, proxies) and *host* (the host plugin fetches). Each location is tried by
the channel that worked last, then at once by the other one; only when all locations failed by both a pause follows
(2, 3, 5, 8, 13 s, or what a Retry-After asks for) and another round of what may still work. So one dead channel
costs one attempt, not a minute.
The channel that worked is kept in /run/waagent/download-channel for the next process.

Five minutes in all; after them no location is begun any more. A package that is on its way then and keeps pace is
waited for, an hour at most; everything else is cut off. The locations' order is shuffled: it has no meaning and the
load spreads. All failed: FabricUnreachable when a later attempt may help, else
FabricRejected; the message names each location's last failure. A file is written beside its place and renamed when
its length agrees with what was announced; nothing is left of one that failed.

Source: wire-protocol 3.5, 3.6, 7.2, 7.3, 7.5, extensions 6.3.
"""

from __future__ import annotations

import io
import os
import random
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import FabricError, FabricRejected, FabricUnreachable, SystemRefused
from waagent.fabric.arrival import Afresh, Arrival, Kept
from waagent.fabric.internet import DOCUMENT_LIMIT, TOTAL
from waagent.fabric.retry import LATER
from waagent.system.effects import Effect
from waagent.system.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waagent.fabric.host_plugin import HostPlugin
    from waagent.fabric.internet import Internet
    from waagent.system import System

DIRECT, HOST = "direct", "host"
CHANNEL = "/run/waagent/download-channel"

PACKAGE_LIMIT = 4 * 1024 * 1024 * 1024
RESERVE = 64 * 1024 * 1024  # bytes of disk that no download takes
SCARCE = 256 * 1024 * 1024  # less than this is worth a note
ROUNDS = 6
PACE = 64 * 1024.0  # bytes a second of a package that is worth waiting for


class Found(NamedTuple):
    """pieced: whether it was put together from more than one answer."""

    uri: str
    body: bytes
    pieced: bool = False


class _Wanted(NamedTuple):
    """What is fetched, beside from where."""

    what: str
    limit: int
    verify: bool = False
    manifest_url: str = ""
    total: float = TOTAL
    pace: float = 0.0


class Artifacts:
    """plugin None: there is only the direct channel. `verify` is as host_plugin.artifact says."""

    def __init__(
        self,
        system: System,
        internet: Internet,
        plugin: HostPlugin | None,
        *,
        note: Callable[[str], None] | None = None,
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        self.system, self.internet, self.plugin = system, internet, plugin
        self.note = note or (lambda _: None)
        self._shuffle = shuffle

    def fetch(
        self,
        uris: Iterable[str],
        *,
        limit: int = DOCUMENT_LIMIT,
        verify: bool = False,
        what: str = "the document",
        total: float = TOTAL,
    ) -> Found:
        """Into memory, within `total` seconds."""
        collected = io.BytesIO()
        uri = self._walk(list(uris), Arrival(collected), _Wanted(what, limit, verify, total=total))
        return Found(uri, collected.getvalue())

    def download(
        self,
        uris: Iterable[str],
        path: str,
        *,
        limit: int = PACKAGE_LIMIT,
        verify: bool = False,
        manifest_url: str = "",
        what: str = "the package",
        total: float = TOTAL,
    ) -> Found:
        """Into the file `path` (mode 0600), streaming. Raises SystemRefused when the disk does not take it.

        It is not waited for the disk: after a power cut the file may be damaged.
        """
        self.system.unforeseeable(f"download of {what}")
        kept = Kept(self.system, path)
        real = str(self.system.path(kept.partial))
        arrival: Arrival | None = None
        try:
            descriptor = os.open(real, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "r+b") as file:
                arrival = kept.open(file)
                most = self._limit(os.path.dirname(real), limit, arrival.size)
                uri = self._walk(list(uris), arrival, _Wanted(what, most, verify, manifest_url, total, PACE))
            os.replace(real, str(self.system.path(path)))
        except OSError as error:
            kept.drop()
            raise SystemRefused(f"cannot store {what} in {path}: {error.strerror or error}", path=path) from error
        except BaseException as error:
            useful = arrival is not None and arrival.size and arrival.origin.lasts
            if isinstance(error, FabricRejected) or not useful:
                kept.drop()
            raise
        self.system.note(Effect("write", path, note=f"downloaded {arrival.size} bytes from {redact(uri)}"))
        return Found(uri, b"", arrival.pieced)

    def _limit(self, directory: str, limit: int, there: int) -> int:
        """Never more than the disk has room for, some of which is left to the machine; `there`: bytes it has."""
        place = os.statvfs(directory)
        room = max(place.f_bavail * place.f_frsize - RESERVE, 0) + there
        if room < min(limit, SCARCE):
            self.note(f"at most {room} bytes fit on the disk of {directory}")
        return min(limit, room)

    # -- the walk --------------------------------------------------------------------------------------------

    def _walk(self, uris: list[str], arrival: Arrival, wanted: _Wanted) -> str:
        """The location that worked."""
        what = wanted.what
        if not uris:
            raise FabricRejected(f"cannot fetch {what}: the goal state names no location")
        clock = self.system.clock
        began = clock.monotonic()
        self._shuffle(uris)
        uris.sort(key=arrival.begun, reverse=True)
        channels = (DIRECT,) if self.plugin is None else (DIRECT, HOST)
        possible = {(uri, channel) for uri in uris if _is_url(uri) for channel in channels}
        failures: dict[tuple[str, str], FabricError] = {
            (uri, DIRECT): FabricRejected(f"{redact(uri)[:100]!r} is no http or https URL")
            for uri in uris
            if not _is_url(uri)
        }
        waits = (2, 3)
        for _ in range(ROUNDS):
            for uri in uris:
                for channel in (DIRECT, HOST) if arrival.begun(uri) else self._channels():
                    if (uri, channel) not in possible:
                        continue
                    try:
                        self._attempt(uri, channel, arrival, wanted, wanted.total - (clock.monotonic() - began))
                    except FabricRejected as error:
                        failures[uri, channel] = error
                        possible.discard((uri, channel))
                    except FabricUnreachable as error:
                        failures[uri, channel] = error
                    else:
                        self._worked(channel, failures, what)
                        return uri
                    if clock.monotonic() - began > wanted.total:
                        raise self._failed(what, uris, failures, FabricUnreachable)
            if not possible:
                raise self._failed(what, uris, failures, FabricRejected)
            pause = max([float(waits[0]), *(_asked(error) for error in failures.values())])
            if clock.monotonic() - began + pause > wanted.total:
                break
            clock.sleep(pause)
            waits = (waits[1], waits[0] + waits[1])
        raise self._failed(what, uris, failures, FabricUnreachable)

    def _attempt(self, uri: str, channel: str, arrival: Arrival, wanted: _Wanted, left: float) -> None:
        if channel == HOST and self.plugin is not None:
            sink = Afresh(arrival)
            taken = self.plugin.artifact(
                uri,
                limit=wanted.limit,
                into=sink,
                verify=wanted.verify,
                manifest_url=wanted.manifest_url,
                timeout=left,
                pace=wanted.pace,
            )
            damage = sink.ended(uri, taken.headers)
            if damage:
                raise FabricUnreachable(f"GET {redact(uri)} through the host plugin: {damage}")
            return
        answer = self.internet.request(
            "GET", uri, into=arrival, limit=wanted.limit, timeout=left, pace=wanted.pace
        )
        if answer.status != 200:
            kind = FabricUnreachable if answer.status in LATER else FabricRejected
            told = redact_text(" ".join(answer.body.decode("utf-8", "replace").split())[:200])
            what = f"GET {redact(uri)}: {answer.status}" + (f' "{told}"' if told else "")
            raise kind(what, status=answer.status, retry_after=answer.retry_after)

    def _channels(self) -> tuple[str, str]:
        return (HOST, DIRECT) if self._remembered() == HOST else (DIRECT, HOST)

    def _remembered(self) -> str:
        try:
            return self.system.read_text(CHANNEL).strip()
        except OSError:
            return DIRECT

    def _worked(self, channel: str, failures: Mapping[tuple[str, str], FabricError], what: str) -> None:
        if failures:
            last = list(failures.values())[-1]
            self.note(f"fetched {what} by the {channel} channel, after {len(failures)} that did not work: {last}")
        if channel == self._remembered():
            return
        quiet = self.system.quietly()
        try:
            quiet.make_directory(os.path.dirname(CHANNEL))
            quiet.write(CHANNEL, f"{channel}\n")
        except SystemRefused:
            pass  # the next one begins with the other channel, which costs it one attempt

    def _failed(
        self,
        what: str,
        uris: list[str],
        failures: Mapping[tuple[str, str], FabricError],
        kind: type[FabricError],
    ) -> FabricError:
        told = "; ".join(f"{channel}: {error}" for (_, channel), error in failures.items())
        return kind(f"cannot fetch {what} from {len(uris)} locations: {told}"[:2000], url=redact(uris[0]))


def _asked(error: FabricError) -> float:
    """Seconds that a throttling answer asked for."""
    asked = error.facts.get("retry_after")
    return asked if isinstance(asked, float) else 0.0


def _is_url(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://")) and all("!" <= letter <= "~" for letter in uri)
