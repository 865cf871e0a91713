"""Event files read back: <Lib.Dir>/events/*.tld, the agent's own and those that handlers of extensions left there.

    files, unusable = read(system, lib)
    shorten(system, lib, file, left)      only the events at these places of the file stay: the others are settled

EventFile    name, size in bytes, events
Raw          one event: provider, number, parameters in their order, and whether it is a handler's
unusable     {name: what is wrong with it}; the caller removes them, nobody can make an event of them

A handler's file has any name that ends in .tld; of a handler's event (its Name is not the agent's) only the six
columns that it may set are taken. Its time is that of the file. Values are text, whole numbers, floats or booleans;
anything else becomes text.

Source: guest-operations 6.2, 6.4, extensions 10.4.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent import events
from waagent.errors import SystemRefused
from waagent.system.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waagent.system import System

LARGEST = 1024 * 1024  # bytes of a file; far above what a request may hold
HANDLERS_OWN = ("Name", "Version", "Operation", "OperationSuccess", "Message", "Duration")
MOST = 2**63  # a number above says nothing anybody could have meant

Value = object


class Raw(NamedTuple):
    provider: str
    number: int
    parameters: dict[str, Value]
    at: float  # seconds since 1970, of the file


class EventFile(NamedTuple):
    name: str
    size: int
    events: tuple[Raw, ...]


def read(system: System, lib: str) -> tuple[list[EventFile], dict[str, str]]:
    files: list[EventFile] = []
    unusable: dict[str, str] = {}
    for name in events.waiting(system, lib):
        path = f"{lib}/{events.FOLDER}/{name}"
        try:
            found = system.status(path)
            content = system.read_foreign(path, LARGEST)
            if found.st_size > LARGEST:
                raise ValueError(f"it has {found.st_size} bytes, more than {LARGEST}")
        except FileNotFoundError:  # pushed out by a newer one
            continue
        except (OSError, ValueError) as error:
            unusable[name] = str(error)
            continue
        try:
            files.append(EventFile(name, found.st_size, parse(content, found.st_mtime)))
        except ValueError as error:
            unusable[name] = str(error)
    return files, unusable


def shorten(system: System, lib: str, file: EventFile, left: Iterable[int]) -> None:
    """Where that fails all of them stay, and some are sent twice."""
    path = f"{lib}/{events.FOLDER}/{file.name}"
    try:
        found = json.loads(system.read_foreign(path, LARGEST).decode("utf-8-sig"))
        if isinstance(found, list) and len(found) == len(file.events):
            content = json.dumps([found[place] for place in sorted(left)]).encode()
            system.quietly().write(path, content, mode=0o600, durable=False)
            os.utime(system.path(path), (file.events[0].at, file.events[0].at))  # the time of the events that stay
    except (OSError, ValueError, SystemRefused):
        return


def parse(content: bytes, at: float) -> tuple[Raw, ...]:
    """The events of one file. Raises ValueError, saying what is wrong."""
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    return tuple(_event(one, at) for one in (found if isinstance(found, list) else [found]))


def _event(found: Any, at: float) -> Raw:
    if not isinstance(found, dict):
        raise ValueError("an event is no JSON object")
    number, provider, listed = found.get("eventId"), found.get("providerId"), found.get("parameters")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        raise ValueError("eventId is no number")
    if not isinstance(provider, str) or not provider:
        raise ValueError("providerId is missing")
    if not isinstance(listed, list) or not listed:
        raise ValueError("parameters is no list, or an empty one")
    parameters: dict[str, Value] = {}
    for one in listed:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not one["name"]:
            raise ValueError("a parameter has no name")
        parameters[one["name"]] = value(one.get("value"))
    if number == events.OPERATION_EVENT and not _is_agents(parameters):
        parameters = {name: parameters[name] for name in HANDLERS_OWN if name in parameters}
    return Raw(provider, number, parameters, at)


def _is_agents(parameters: dict[str, Value]) -> bool:
    """What the agent wrote, also about a handler, says which agent that was."""
    told = str(parameters.get("GAVersion", ""))
    return parameters.get("Name") in (None, events.AGENT) or told.startswith(f"{events.AGENT}-")


def value(found: object) -> Value:
    """A value that the protocol has a type for, without signatures in it."""
    if isinstance(found, (bool, float)):
        return found
    if isinstance(found, int):
        return found if 0 <= found < MOST else str(found)
    if found is None:
        return ""
    return redact_text(found if isinstance(found, str) else json.dumps(found))
