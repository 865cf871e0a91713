"""What handlers of extensions want the platform's people to know: LOG/NAME/events/<digits>.json, collected.

    collect(system, logs, lib, wanted=True) -> {handler: Collected}

Valid events go into the agent's own spool (waagent/events.py), which is bounded; so they are sent, and kept when
they cannot be sent, like any other. The handler's folder is empty afterwards, whatever lay in it, but for
directories, in which a handler may make its files, and for a file younger than YOUNG seconds that cannot be read
yet. wanted=False, when telemetry is switched off: the folders are emptied all the same, because nobody else does.

Collected    taken: events; dropped: reason -> how many; troubles: sentences about files

Per handler and run EVENTS events are taken, newest file first; a file may have FILE_BYTES bytes, an event
EVENT_LETTERS letters in its required values; a file with a number of more than 40 digits in it is no JSON. Keys are
compared without regard to case; others than the required ones are ignored. The handler cannot set which machine the
event is from.

Handlers may have made these folders writable for others: they are held open while they are emptied, so that a link
put in their place leads nowhere.

Source: extensions 10.1 - 10.3, guest-operations 6.5.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from waagent import __version__, events
from waagent.fabric import telemetry
from waagent.system import foreign
from waagent.system.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waagent.system import System

EVENTS, FILE_BYTES, EVENT_LETTERS, MESSAGE_LETTERS = 360, 4 * 1024 * 1024, 6144, 3072
REQUIRED = (
    "Version", "Timestamp", "TaskName", "EventLevel", "Message", "EventPid", "EventTid", "OperationId",
)  # fmt: skip
NUMBERS = ("EventPid", "EventTid")
YOUNG = 10.0
CHUNK = 48 * 1024  # bytes of events in one file of the spool: about one request

MISSING, EMPTY, OVERSIZE = "a key is missing or no text", "the message is empty", "too big"
TOO_MANY = f"more than {EVENTS} in one period"


@dataclass
class Collected:
    taken: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{self.taken} events"]
        told += [f"{count} dropped: {reason}" for reason, count in sorted(self.dropped.items())]
        return "; ".join(told + self.troubles)


class Unusable(ValueError):
    """An event that cannot be taken; says why."""


def folders(system: System, logs: str) -> dict[str, str]:
    """Handler -> its folder of events, for all that have one; links are not followed."""
    found = {}
    for name in system.listing(logs):
        folder = f"{logs}/{name}/events"
        try:
            if all(stat.S_ISDIR(system.status(path).st_mode) for path in (f"{logs}/{name}", folder)):
                found[name] = folder
        except OSError:
            continue
    return found


def collect(system: System, logs: str, lib: str, *, wanted: bool = True) -> dict[str, Collected]:
    """Only handlers that had something to say, or something in their folder that was taken away."""
    system.unforeseeable("what handlers have written for the platform's people")
    told = {}
    top = str(system.path(logs))
    for handler in folders(system, logs):
        try:
            with _opened(top) as all_logs, _opened(handler, all_logs) as own, _opened("events", own) as folder:
                done = _Folder(system, handler, folder, lib, wanted).empty()
        except OSError:  # replaced by a link this very moment, or gone
            continue
        if done.taken or done.dropped or done.troubles:
            told[handler] = done
    return told


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    """A directory, held open; in a folder that is held itself it is not reached through a link."""
    links = os.O_NOFOLLOW if folder is not None else 0
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | links, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Folder:
    def __init__(self, system: System, handler: str, folder: int, lib: str, wanted: bool) -> None:
        """folder: descriptor of the handler's folder of events."""
        self.system, self.handler, self.folder, self.lib, self.wanted = system, handler, folder, lib, wanted
        self.done = Collected()
        self.kept: list[dict[str, Any]] = []
        self.size = 0

    def empty(self) -> Collected:
        for name in sorted(os.listdir(self.folder), key=_newest_first):
            try:
                found = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    continue
                if not self.wanted:
                    self.done.dropped["telemetry is switched off"] += 1
                elif not _is_event_file(name):
                    self.done.troubles.append(f"{name} is no file of events")
                elif not self._take(name, found):
                    continue
                os.unlink(name, dir_fd=self.folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.done.troubles.append(f"{name}: {error.strerror or error}")
        self._keep()
        return self.done

    def _take(self, name: str, found: os.stat_result) -> bool:
        """Take a file's events; false when it is to be looked at again."""
        if self.done.taken >= EVENTS:
            self.done.dropped[TOO_MANY] += 1
            return True
        if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES:
            is_file = stat.S_ISREG(found.st_mode)
            self.done.troubles.append(f"{name} has {found.st_size} bytes" if is_file else f"{name} is no file")
            return True
        at = found.st_mtime
        content, _ = foreign.read(name, FILE_BYTES, folder=self.folder)
        try:
            listed = foreign.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            if abs(self.system.clock.now().timestamp() - at) < YOUNG:
                return False
            self.done.troubles.append(f"{name} is no JSON")
            return True
        for one in listed if isinstance(listed, list) else [listed]:
            if self.done.taken >= EVENTS:
                self.done.dropped[TOO_MANY] += 1
                continue
            try:
                self._add(converted(self.handler, one, at))
            except Unusable as error:
                self.done.dropped[str(error)] += 1
        return True

    def _add(self, document: dict[str, Any]) -> None:
        size = len(json.dumps(document)) + 2
        if self.size + size > CHUNK:
            self._keep()
        self.kept.append(document)
        self.size += size
        self.done.taken += 1

    def _keep(self) -> None:
        if self.kept and not events.keep(self.system, self.lib, self.kept) and not self.system.planning:
            self.done.troubles.append(f"{len(self.kept)} events could not be kept in {self.lib}/{events.FOLDER}")
        self.kept, self.size = [], 0


def converted(handler: str, found: object, at: float) -> dict[str, Any]:
    """A handler's event as the spool holds it; at: time of its file. Raises Unusable."""
    if not isinstance(found, dict):
        raise Unusable(MISSING)
    given = {key.lower(): value for key, value in found.items()}
    values = {}
    for key in REQUIRED:
        value = given.get(key.lower())
        if key in NUMBERS and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise Unusable(MISSING)
        values[key] = redact_text(value.strip())
    values["Message"] = values["Message"][:MESSAGE_LETTERS]
    if not values["Message"]:
        raise Unusable(EMPTY)
    if sum(map(len, values.values())) > EVENT_LETTERS:
        raise Unusable(OVERSIZE)
    parameters = {
        "EventName": f"{handler}-{values['Version']}",
        "CapabilityUsed": values["EventLevel"],
        "Context1": values["Message"],
        "Context2": values["Timestamp"],
        "Context3": values["OperationId"],
        "GAVersion": f"{events.AGENT}-{__version__}",
        "OpcodeName": events.stamp(at),
        "EventTid": values["EventTid"],
        "EventPid": values["EventPid"],
        "TaskName": values["TaskName"],
    }
    listed = [{"name": name, "value": value} for name, value in parameters.items()]
    return {"eventId": telemetry.LOG_EVENT, "providerId": telemetry.LOGS, "parameters": listed}


def _is_event_file(name: str) -> bool:
    stem, dot, ending = name.rpartition(".")
    return bool(dot) and ending.lower() == "json" and stem.isascii() and stem.isdigit()


def _newest_first(name: str) -> tuple[bool, int, str]:
    stem = name.partition(".")[0]
    return (not _is_event_file(name), -int(stem) if stem.isascii() and stem.isdigit() else 0, name)
