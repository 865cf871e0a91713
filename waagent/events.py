"""Events for the platform's people, until they are sent: <Lib.Dir>/events/, one file each, bounded.

    record(system, lib, Event("Stage", "stage local: 12 steps, all well", milliseconds=412))
    keep(system, lib, [document, ...])       events that are documents already, in one file
    waiting(system, lib)                     names of the files, oldest first

A file is <microseconds since 1970>.waagent.tld: {"eventId", "providerId", "parameters": [{"name", "value"}]}, or a
list of such objects. The directory is root's alone. It holds FILES files and BYTES bytes at most: what comes next
pushes the oldest out, so that a machine whose platform never answers keeps its disk.

Nothing depends on an event. One that cannot be kept (a full disk) is lost, and record() says so by false; it
never raises. Signatures in URLs are taken out before anything is written. What only the sender can know (which VM
this is) is added when it is sent (waagent/telemetry/columns.py).

Source: guest-operations 6.2, 13.3, wire-protocol 5.4.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent import __version__
from waagent.errors import SystemRefused
from waagent.system.redact import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waagent.system import System

AGENT = "WALinuxAgent"  # the name under which the platform knows agents of this kind
OPERATIONS = "69B669B9-4AF8-4C50-BDC4-6006FA76E975"  # provider of what the agent did, and of metrics
OPERATION_EVENT = 1
FOLDER = "events"
SUFFIX = ".waagent.tld"
FILES, BYTES = 1000, 8 * 1024 * 1024
MESSAGE = 3072  # letters of a message; the platform takes more, nobody reads more

# Steps whose work the platform counts under a name of its own; all others are "Step".
OPERATION_OF = {
    "cloud-init": "CloudInit",
    "custom-data": "CustomData",
    "endpoint": "ProtocolEndpoint",
    "extensions": "ExtensionProcessing",
    "firewall": "Firewall",
    "goal-state": "FetchGoalState",
    "metadata": "ImdsHeartbeat",
    "publish-hostname": "HostnamePublishing",
    "hostname": "HostnamePublishing",
    "remote-users": "RemoteAccessHandling",
    "report": "Provision",
    "resource-disk": "ActivateResourceDisk",
    "run-custom-data": "CustomData",
    "status": "ReportStatus",
    "update": "AgentUpgrade",
}


class Event(NamedTuple):
    """operation: a name the platform knows; name and version: who did it, the agent or a handler of extensions."""

    operation: str
    message: str = ""
    ok: bool = True
    milliseconds: int = 0
    name: str = AGENT
    version: str = __version__
    task: str = ""


def record(system: System, lib: str, event: Event) -> bool:
    """Keep the event until it is sent; false when that could not be done."""
    return keep(system, lib, [document(system, event)])


def document(system: System, event: Event) -> dict[str, Any]:
    """The event as its file holds it: who, what, how, when."""
    message = redact_text(event.message)
    parameters: dict[str, object] = {
        "Name": event.name,
        "Version": event.version,
        "Operation": event.operation,
        "OperationSuccess": event.ok,
        "Message": message if len(message) <= MESSAGE else message[: MESSAGE - 3] + "...",
        "Duration": max(0, event.milliseconds),
        "GAVersion": f"{AGENT}-{__version__}",
        "OpcodeName": stamp(system.clock.now().timestamp()),
        "EventTid": threading.get_ident(),
        "EventPid": os.getpid(),
        "TaskName": event.task,
    }
    listed = [{"name": name, "value": value} for name, value in parameters.items()]
    return {"eventId": OPERATION_EVENT, "providerId": OPERATIONS, "parameters": listed}


def stamp(seconds: float) -> str:
    """A time as events carry it: UTC, six decimals."""
    from datetime import datetime, timedelta, timezone

    when = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def keep(system: System, lib: str, documents: list[dict[str, Any]]) -> bool:
    """Put events into one file; false when that could not be done."""
    if system.planning or not documents:
        return False
    quiet = system.quietly()
    folder = f"{lib}/{FOLDER}"
    content = json.dumps(documents[0] if len(documents) == 1 else documents).encode()
    try:
        if not quiet.is_directory(folder):
            quiet.make_directory(folder, 0o700)
        make_room(quiet, folder, FILES - 1, BYTES - len(content))
        number = int(quiet.clock.now().timestamp() * 1_000_000)
        while quiet.exists(f"{folder}/{number}{SUFFIX}"):
            number += 1
        return quiet.write(f"{folder}/{number}{SUFFIX}", content, mode=0o600, durable=False)
    except (SystemRefused, OSError):
        return False


def make_room(system: System, folder: str, files: int, size: int) -> int:
    """Remove the oldest files until at most so many, of so many bytes together, are left; how many that were."""
    there: list[tuple[tuple[int, str], int]] = []
    with os.scandir(system.path(folder)) as found:
        for entry in found:
            try:
                there.append((_age(entry.name), entry.stat(follow_symlinks=False).st_size))
            except OSError:  # gone meanwhile: sent
                continue
    total = sum(one for _, one in there)
    there.sort()
    removed = 0
    while len(there) > removed and (len(there) - removed > files or total > size):
        (_, name), of_this = there[removed]
        _forget(system, f"{folder}/{name}")
        total -= of_this
        removed += 1
    return removed


def waiting(system: System, lib: str) -> list[str]:
    """Files of events, oldest first; what is being written, and what is no event, is left out."""
    return sorted((name for name in system.listing(f"{lib}/{FOLDER}") if name.endswith(".tld")), key=_age)


def forget(system: System, lib: str, names: Iterable[str]) -> None:
    """Remove files of events that were sent, or that nobody can use."""
    quiet = system.quietly()
    for name in names:
        _forget(quiet, f"{lib}/{FOLDER}/{name}")


def _forget(system: System, path: str) -> None:
    try:
        if system.is_directory(path):
            system.remove_tree(path)
        else:
            system.remove(path, durable=False)
    except (SystemRefused, OSError):  # somebody else was faster; or the disk is read-only, and then it cannot grow
        return


def _age(name: str) -> tuple[int, str]:
    """By the number in front, so that 9 is older than 10; a name without one is the oldest of all."""
    digits = name.partition(".")[0]
    return (int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 30 else -1, name)
