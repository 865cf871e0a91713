"""The extensions' part of the status report, from what is on disk: whoever asks, whenever. LEAN.

    handler_statuses(lib, now, spare)   -> list, handlerAggregateStatus
    processed(lib)                      -> (identity, start of the agent) of the goal state that is done
    goal_state_outcome(lib)             -> GoalStateOutcome or None, for vmArtifactsAggregateStatus
    fitted(entries)                     -> the entries, cut down so that a report of them has at most 1 MiB

fabric/status.py makes the document of it.

Nothing is written and no lock is taken, so that the watcher can report while a worker is busy for an hour: a
handler whose turn has not come, or that is being installed, is NotReady with code 0 and its extensions are
"transitioning".
LIB/extensions/current.json says which handlers the goal state names, at which versions:

    {"handlers": [{"name", "version", "state", "multi_config", "settings": [{"instance", "sequence", "state"}]}],
     "mode": "" | "unsupported" (handlers found on disk, newest settings) | "held" (only what has a status)}

One handler's bad files never hurt another's entry. Paths are of this process, so lib and spare may lie in any root.

Source: extensions 4.1, 7.2, 7.7, 8.1.
"""

from __future__ import annotations

import json
import os
import time

from waagent.extensions import codes, status, texts
from waagent.extensions.layout import SPARE, Layout, split
from waagent.fabric.status import GoalStateOutcome
from waagent.system import foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

BLOB_LIMIT = 1024 * 1024  # of a whole report
ENTRIES_LIMIT = BLOB_LIMIT - 64 * 1024  # the rest is for what stands around the entries
OUTCOME_LIMIT = 1024  # characters of the message about the goal state
LEAST = 64  # characters that are left of a text at the very last
HEARTBEAT_GRACE = 6.0  # seconds after enable within which the first heartbeat may still be missing
FILE_LIMIT = 1024 * 1024


def fitted(entries: list[dict[str, Any]], limit: int = ENTRIES_LIMIT) -> list[dict[str, Any]]:
    """The same entries, of at most `limit` bytes as JSON, whatever handlers have written.

    Lists of sub-statuses go first, the biggest before the others; then every text of a handler is cut, to 1024
    characters and, if that is not enough, to 64. If a thousand entries are still too many, the last ones go.
    """
    size = _size(entries)
    if size <= limit:
        return entries
    inner = [
        one["runtimeSettingsStatus"]["settingsStatus"]["status"]
        for one in entries
        if "runtimeSettingsStatus" in one
    ]
    lists = [(_size(one["substatus"]), one) for one in inner if one.get("substatus")]
    for of_this, one in sorted(lists, key=lambda pair: pair[0], reverse=True):
        del one["substatus"]
        size -= of_this
        if size <= limit:
            return entries
    for length in (status.MESSAGE_LIMIT, LEAST):
        for one in entries + inner:
            _shorten(one, length)
        if _size(entries) <= limit:
            return entries
    kept, size = [], len("[]")
    for one in entries:
        of_this = _size(one) + len(", ")
        if size + of_this <= limit:
            kept.append(one)
            size += of_this
    return kept


def _shorten(fields: dict[str, Any], length: int) -> None:
    """Cut every text of an entry, or of an extension's status in one."""
    for name, value in fields.items():
        if isinstance(value, str) and name not in ("handlerName", "handlerVersion", "name"):
            fields[name] = texts.shorten(value, length)
    message = fields.get("formattedMessage")
    if message and message["message"]:
        message["message"] = texts.shorten(message["message"], length)


def _size(value: Any) -> int:
    return len(json.dumps(value))


def processed(lib: str) -> tuple[str, str]:
    """Identity of the goal state that was processed to its end, and in which start of the agent; "" for none."""
    fields = _read(Layout(lib).processed)
    return str(fields.get("identity", "")), str(fields.get("agent", ""))


def goal_state_outcome(lib: str) -> Optional[GoalStateOutcome]:
    """How the goal state as a whole was processed; None before the first one was."""
    aggregate = _read(Layout(lib).processed).get("aggregate")
    if not isinstance(aggregate, dict) or not isinstance(aggregate.get("code"), int):
        return None
    return GoalStateOutcome(
        texts.shorten(str(aggregate.get("sequence", "")), OUTCOME_LIMIT),
        texts.shorten(str(aggregate.get("timestamp", "")), OUTCOME_LIMIT),
        aggregate["code"],
        texts.shorten(str(aggregate.get("message", "")), OUTCOME_LIMIT),
    )


def handler_statuses(lib: str, now: Optional[float] = None, spare: str = SPARE) -> list[dict[str, Any]]:
    """One element for each handler, or for each instance of a multi-config handler."""
    now = time.time() if now is None else now
    layout = Layout(lib, spare=spare)
    current = _read(layout.current)
    mode = current.get("mode", "")
    as_found = mode == "unsupported"
    handlers = _on_disk(layout) if as_found else current.get("handlers")
    found: list[dict[str, Any]] = []
    for handler in handlers if isinstance(handlers, list) else ():
        try:
            shown = _described(layout, handler) if as_found else handler
            found.extend(_entries(layout, shown, mode == "held", now) if shown is not None else ())
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, OSError, RecursionError) as error:
            name = handler.get("name") if isinstance(handler, dict) else None
            if isinstance(name, str):
                message = f"the agent cannot tell its status: {error!r}"
                found.append(status.entry(name, str(handler.get("version")), "NotReady", codes.UNKNOWN, message))
    return found


def _entries(layout: Layout, handler: dict[str, Any], held: bool, now: float) -> list[dict[str, Any]]:
    name, version = handler["name"], handler["version"]
    stored = _stored(layout, name, version)
    state = _word(layout.state(name, version)) or "NotInstalled"
    multi = bool(handler.get("multi_config"))
    if stored is None:
        if held or handler.get("state") != "enabled":
            return []
        message = f"{name} {version} waits for its turn or is being installed"
        stored = {"status": "NotReady", "code": 0, "message": message}
        state = "pending"
    top = status.entry(name, version, stored["status"], stored["code"], stored.get("message"))
    if state not in ("NotInstalled", "pending"):
        _apply_heartbeat(layout, name, version, stored, top, now)
    entries = []
    if state != "NotInstalled" or multi or stored.get("denied"):
        for settings in handler.get("settings", ()):
            instance, sequence = settings["instance"], settings["sequence"]
            gone = settings.get("state") == "disabled" and _word(layout.state(name, version, instance)) != "enabled"
            if sequence < 0 or (instance and gone):
                continue
            path = layout.status_file(name, version, instance, sequence)
            label = f"{name}.{instance}" if instance else name
            inner = status.extension_status(path, label, sequence, now)
            inner["name"] = instance or name
            entries.append({**top, "runtimeSettingsStatus": _wrap(inner, sequence, instance, now)})
    return entries or ([] if multi and handler.get("settings") and state == "pending" else [top])


def _wrap(inner: dict[str, Any], sequence: int, instance: str, now: float) -> dict[str, Any]:
    wrapped: dict[str, Any] = {
        "settingsStatus": {"status": inner, "version": 1.0, "timestampUTC": _stamp(now)},
        "sequenceNumber": sequence,
    }
    if instance:
        wrapped["extensionName"] = instance
    return wrapped


def _stored(layout: Layout, name: str, version: str) -> Optional[dict[str, Any]]:
    """The last handler status the agent decided on; one that cannot be read is told as such."""
    path = layout.spare_status(name, version)
    if not os.path.exists(path):
        path = layout.handler_status(name, version)
    try:
        fields = foreign.loads(foreign.read(path, FILE_LIMIT)[0].decode("utf-8"))
        code, state = fields.get("code", 0), fields["status"]
        if state not in status.HANDLER_STATES:
            raise ValueError(f"its status is {json.dumps(state)[:80]}")
        return {
            "status": state,
            "code": code if isinstance(code, int) and not isinstance(code, bool) else codes.UNKNOWN,
            "message": fields.get("message") if isinstance(fields.get("message"), str) else None,
            "denied": fields.get("denied") is True,
        }
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"the agent's record {path} cannot be used: {error}; it is written again with the next goal state"
        return {"status": "NotReady", "code": codes.UNKNOWN, "message": message}


def _apply_heartbeat(
    layout: Layout, name: str, version: str, stored: dict[str, Any], top: dict[str, Any], now: float
) -> None:
    """Let the handler's own sign of life replace the status, if its manifest promises one."""
    try:
        text = foreign.read(layout.manifest(name, version), FILE_LIMIT)[0].decode("utf-8-sig")
        body = foreign.loads(text)[0]["handlerManifest"]
        promised = body.get("reportHeartbeat")
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return
    if promised is not True and str(promised).lower() != "true":
        return
    beat, message, good = status.heartbeat(layout.heartbeat(name, version), now)
    if stored.get("denied"):
        said = top.get("formattedMessage", {}).get("message", "")
        top["formattedMessage"] = {"lang": "en-US", "message": f"{said}; heartbeat: {message or beat}"}
        return
    if not good:
        try:
            enabled = os.stat(layout.handler_status(name, version)).st_mtime
        except OSError:
            enabled = 0.0
        if 0 <= now - enabled < HEARTBEAT_GRACE:
            return
        top["code"] = codes.UNKNOWN
    top["status"] = beat
    if message:
        top["formattedMessage"] = {"lang": "en-US", "message": message}


def _on_disk(layout: Layout) -> list[dict[str, Any]]:
    """Name and version of every handler found on disk with a status (extensions 4.1)."""
    try:
        directories = sorted(os.listdir(layout.lib))
    except OSError:
        return []
    parts = [part for part in map(split, directories) if part is not None]
    return [{"name": one[0], "version": one[1]} for one in parts if os.path.exists(layout.handler_status(*one))]


def _described(layout: Layout, handler: dict[str, Any]) -> Optional[dict[str, Any]]:
    """A handler found on disk, as current.json would describe it; None when it was removed this very moment."""
    name, version = handler["name"], handler["version"]
    settings = []
    config = layout.config(name, version)
    try:
        files = os.listdir(config)
    except FileNotFoundError:
        return None
    instances = sorted(file[: -len(".HandlerState")] for file in files if file.endswith(".HandlerState"))
    for instance in instances or [""]:
        sequence = status.newest_sequence(config, instance)
        if sequence >= 0 and not _without_settings(layout, name, version, instance, sequence):
            settings.append({"instance": instance, "sequence": sequence, "state": "enabled"})
    return {
        "name": name,
        "version": version,
        "state": "enabled",
        "multi_config": bool(instances),
        "settings": settings,
    }


def _without_settings(layout: Layout, name: str, version: str, instance: str, sequence: int) -> bool:
    try:
        return os.stat(layout.settings_file(name, version, instance, sequence)).st_size == 0
    except OSError:
        return True


def _word(path: str) -> str:
    try:
        return foreign.read(path, 64)[0].decode("ascii", "replace").strip()
    except OSError:
        return ""


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            fields = json.loads(stream.read(16 * 1024 * 1024).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _stamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
