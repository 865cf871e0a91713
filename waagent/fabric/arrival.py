"""A body on its way into a file: how much of it is there, of which version, and whether it is what was sent.

    arrival = Arrival(file)               of this process alone
    arrival = kept.open(file)             goes on with what an earlier process has left, if that can be told

    kept = Kept(system, path)             a file that is fetched, and what lies beside it meanwhile:
        PATH.part                             what has arrived
        PATH.origin                           {"place", "tag", "total", "digest"}: of what
    kept.settle()                         after a kill: has what can be continued as PATH.part, and removes the rest
    kept.taken()                          the file has been used, or is of no use: removes it, and what told of it
    kept.drop()                           removes both

What has arrived is continued where the same place still has the same version (If-Range with a strong ETag, and a
length that was announced), so it may come from another process and another goal state. A day later it is of no use.
After a power cut its end may be missing, which is fetched again then; nothing here waits for the disk.

digest is the MD5 that the storage has for the blob (Content-MD5, x-ms-blob-content-md5), "" where it has none. It
finds damage, not malice: that is what signatures are for.

Source: wire-protocol 7.5; RFC 9110 13.1.5, 14.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import SystemRefused
from waagent.system.redact import redact

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Mapping

    from waagent.system import System

    Body = io.BytesIO | io.BufferedRandom

USEFUL = 24 * 3600.0  # seconds
PIECE = 1024 * 1024


class Origin(NamedTuple):
    """place: the URL, without what is secret in it; tag: its strong ETag; total: bytes, -1 when not announced."""

    place: str = ""
    tag: str = ""
    total: int = -1
    digest: str = ""

    @property
    def continues(self) -> bool:
        return bool(self.tag)

    @property
    def lasts(self) -> bool:
        """Whether another process can continue it."""
        return self.continues and self.total >= 0


def origin_of(url: str, headers: Mapping[str, str]) -> Origin:
    """What the head of a complete answer says about its body."""
    told = {name.lower(): value.strip() for name, value in headers.items()}
    if told.get("content-encoding"):  # length and digest are of something else than what is written down
        return Origin(redact(url))
    tag, total = told.get("etag", ""), told.get("content-length", "")
    strong = len(tag) > 2 and tag.startswith('"') and tag.endswith('"')
    ranges = told.get("accept-ranges", "bytes").lower() == "bytes"
    return Origin(
        redact(url),
        tag if strong and ranges else "",
        int(total) if total.isdecimal() else -1,
        _digest(told.get("x-ms-blob-content-md5") or told.get("content-md5", "")),
    )


class Arrival:
    """keep: is told of every new origin, None of one that cannot be continued."""

    def __init__(self, into: Body, keep: Callable[[Origin | None], None] | None = None) -> None:
        self.into, self._keep = into, keep
        self.origin = Origin()
        self.size = 0
        self.pieced = False  # whether it is made of more than one answer

    def resume(self, origin: Origin) -> None:
        """Go on with what the file holds, which is of this origin."""
        size = self.into.seek(0, os.SEEK_END)
        if origin.continues and 0 < size <= origin.total:
            self.origin, self.size, self.pieced = origin, size, True

    def begun(self, url: str) -> bool:
        """Whether something has arrived from this place that can be continued."""
        return bool(self.size) and self.origin.continues and self.origin.place == redact(url)

    def continuing(self, url: str) -> dict[str, str]:
        """The headers that ask for the rest of what has begun to arrive."""
        return {"Range": f"bytes={self.size}-", "If-Range": self.origin.tag} if self.begun(url) else {}

    def fits(self, headers: Mapping[str, str]) -> bool:
        """Whether a 206 brings what comes next of the version that has begun to arrive and tells it."""
        unit, _, span = headers.get("Content-Range", "").partition(" ")
        where, _, total = span.partition("/")
        same = self.origin.continues and headers.get("ETag", "") == self.origin.tag
        length = total == "*" or self.origin.total < 0 or total == str(self.origin.total)
        return bool(self.size) and unit == "bytes" and where.startswith(f"{self.size}-") and same and length

    def complete(self, headers: Mapping[str, str]) -> bool:
        """Whether a 416 says that there is nothing after what has arrived."""
        whole = headers.get("Content-Range", "") == f"bytes */{self.size}"
        return bool(self.size) and self.size == self.origin.total and whole

    def restart(self, origin: Origin | None = None) -> None:
        """Forget what has arrived; what comes now is of this origin."""
        self.into.seek(0)
        self.into.truncate()
        self.origin, self.size, self.pieced = origin or Origin(), 0, False
        if self._keep is not None:
            self._keep(self.origin if self.origin.lasts else None)

    def write(self, piece: bytes) -> None:
        self.into.write(piece)
        self.size += len(piece)

    def damage(self) -> str:
        """What is wrong with the body that has arrived to its end; "" when nothing shows."""
        if not self.origin.digest:
            return ""
        try:
            found = hashlib.md5(usedforsecurity=False)
        except ValueError:  # a system that has no MD5, for nothing
            return ""
        self.into.seek(0)
        while piece := self.into.read(PIECE):
            found.update(piece)
        if found.digest() == base64.b64decode(self.origin.digest):
            return ""
        return (
            f"damaged on the way: the storage's MD5 is {self.origin.digest}, that of these {self.size} bytes is not"
        )


class Afresh:
    """A sink for a channel that cannot continue: its first byte takes the place of what had arrived before."""

    def __init__(self, arrival: Arrival) -> None:
        self._arrival, self._begun = arrival, False

    def write(self, piece: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._arrival.restart()
        self._arrival.write(piece)

    def ended(self, url: str, headers: Mapping[str, str]) -> str:
        """What is wrong with the answer that has ended so; "" when nothing shows."""
        if not self._begun:
            self._arrival.restart()
        # Where it is continued nobody may take it for the storage's own answer: no place, no tag.
        self._arrival.origin = Origin(digest=origin_of(url, headers).digest)
        return self._arrival.damage()


class Kept:
    def __init__(self, system: System, path: str) -> None:
        self._system, self.path = system.quietly(), path
        self.partial, self.record = f"{path}.part", f"{path}.origin"

    def open(self, into: io.BufferedRandom) -> Arrival:
        """into: the file PATH.part, open for reading and writing."""
        arrival = Arrival(into, self._keep)
        arrival.resume(self._read())
        return arrival

    def settle(self) -> None:
        system = self._system
        if system.exists(self.path) and system.exists(self.record):
            system.rename(self.path, self.partial)  # complete; that is found out with one request
        system.remove(self.path)
        useful = False
        if system.exists(self.partial) and self._read().lasts:
            age = system.clock.now().timestamp() - system.status(self.partial).st_mtime
            useful = -60 < age < USEFUL
        if not useful:
            self.drop()

    def taken(self) -> None:
        self._system.remove(self.path)
        if not self._system.exists(self.partial):
            self._system.remove(self.record, durable=False)

    def drop(self) -> None:
        for path in (self.partial, self.record):
            self._system.remove(path, durable=False)

    def _keep(self, origin: Origin | None) -> None:
        try:
            if origin is None:
                self._system.remove(self.record, durable=False)
            else:
                self._system.write(self.record, json.dumps(origin._asdict()), mode=0o600, durable=False)
        except SystemRefused:
            pass  # it is fetched as a whole, which is no reason not to fetch it

    def _read(self) -> Origin:
        try:
            fields = json.loads(self._system.read(self.record, 16 * 1024))
            origin = Origin(**fields)
        except (OSError, ValueError, TypeError, RecursionError):
            return Origin()
        texts = (origin.place, origin.tag, origin.digest)
        good = all(isinstance(text, str) for text in texts) and type(origin.total) is int
        return origin._replace(digest=_digest(origin.digest)) if good else Origin()


def _digest(text: str) -> str:
    """The text, if it is the MD5 of something in base64."""
    try:
        return text if len(base64.b64decode(text, validate=True)) == 16 else ""
    except (binascii.Error, ValueError):
        return ""
