"""What a handler says of itself: its status files and its heartbeat, as entries of the status report. LEAN.

    extension_status(path, name, sequence, now)   -> dict, "status" of runtimeSettingsStatus.settingsStatus
    heartbeat(path, now)                          -> (status, message)
    entry(stored, ...)                            -> dict, one element of handlerAggregateStatus

Nothing here raises for what a file holds: a bad file becomes an error that names it. A file that is bad and younger
than 10 seconds counts as half written: until then its extension is "transitioning". Paths are of this process.
What is in a file's place and is none (a named pipe, a link out of its directory) is never waited for.

Limits: a file over 131072 characters has its message, operation, time and code cut to 1024, the texts of its
sub-statuses to 10240 each, and as many sub-statuses kept as fit into 131072 and number 1000 at most; one over 4 MiB
is not read. A number of more than 40 digits is malformed.

Source: extensions 7.
"""

from __future__ import annotations

import json
import os

from waagent.extensions import codes, texts
from waagent.system import foreign
from waagent.system.redact import redact_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional, Union

STATES = ("transitioning", "warning", "error", "success")

TEXT_LIMIT = 131072
MESSAGE_LIMIT = 1024
SUB_TEXT_LIMIT = 10240
SUB_LIMIT = 1000
FILE_LIMIT = 4 * 1024 * 1024
HALF_WRITTEN = 10.0  # seconds
HEARTBEAT_AGE = 600.0
HEARTBEAT_BYTES = 64 * 1024
EXCERPT, EXCERPT_OF_OTHER = 2000, 4096  # of what is no JSON, of what is another document


class Malformed(ValueError):
    """A status file that breaks its format; the text says how."""


def extension_status(path: str, name: str, sequence: int, now: float) -> dict[str, Any]:
    """The status of one extension, from its file or in its place. now: seconds since the epoch."""
    code, why = codes.STATUS_INVALID, ""
    try:
        content, found = foreign.read(path, FILE_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        message = f"reported by the agent: {name} has not written the status file {path} yet"
        return _own(name, "transitioning", 0, message)
    except OSError as error:
        return _unusable(name, sequence, codes.UNKNOWN, f"it cannot be read ({error.strerror or error})")
    try:
        if found.st_size > FILE_LIMIT:
            raise Malformed(f"it has {found.st_size} bytes, {FILE_LIMIT} are allowed")
        return parse(content.decode("utf-8-sig"), name)
    except UnicodeDecodeError as error:
        code, why = codes.UNKNOWN, f"it is not UTF-8 (byte {error.start})"
    except Malformed as error:
        why = str(error)
    if 0 <= now - found.st_mtime < HALF_WRITTEN:
        message = f"reported by the agent: {name} is writing its status file {path}"
        return _own(name, "transitioning", 0, message)
    return _unusable(name, sequence, code, why)


def _unusable(name: str, sequence: int, code: int, why: str) -> dict[str, Any]:
    return _own(name, "error", code, f"cannot use the status file of {name} for sequence {sequence}: {why}")


def _own(name: str, status: str, code: int, message: str) -> dict[str, Any]:
    return {
        "name": name,
        "operation": None,
        "configurationAppliedTime": None,
        "status": status,
        "code": code,
        "formattedMessage": {"lang": "en-US", "message": redact_text(message)},
    }


def parse(text: str, name: str) -> dict[str, Any]:
    """The status object of a status file's text. Raises Malformed."""
    try:
        document = foreign.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON ({error}); it begins {text[:EXCERPT]!r}") from error
    if not isinstance(document, list):
        raise Malformed(f"it is not an array; it begins {text[:EXCERPT_OF_OTHER]!r}")
    if not document or not isinstance(document[0], dict):
        raise Malformed("it has no object in its array")
    status = document[0].get("status")
    if not isinstance(status, dict):
        raise Malformed('it has no object "status"')
    if not isinstance(status.get("status"), str):
        raise Malformed('it has no text "status.status"')
    report = {
        "name": name,
        "operation": _text(status.get("operation")),
        "configurationAppliedTime": _text(status.get("configurationAppliedTime")),
        "status": status["status"] if status["status"] in STATES else "error",
        "code": _code(status.get("code", 0)),
        "formattedMessage": _message(status.get("formattedMessage"), "status.formattedMessage"),
    }
    subs = _substatus(status.get("substatus"))
    if len(text) > TEXT_LIMIT:
        subs = _shrink(report, subs)
    if subs:
        report["substatus"] = subs
    return report


def _text(value: Any) -> Optional[str]:
    return redact_text(value) if isinstance(value, str) else None


def _code(value: Any) -> Any:
    """Finite numbers and texts as they are; anything else is no code."""
    if isinstance(value, str):
        return redact_text(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < float("inf") else 0


def _message(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {"lang": "en-US", "message": ""}
    if not isinstance(value, dict):
        raise Malformed(f'"{where}" is not an object')
    for key in ("lang", "message"):
        if key not in value:
            raise Malformed(f'"{where}" has no "{key}"')
    message = value["message"]
    if message is not None and not isinstance(message, str):
        message = json.dumps(message)
    return {"lang": "en-US", "message": redact_text(message) if message is not None else None}


def _substatus(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed('"status.substatus" is not an array')
    subs = []
    for number, element in enumerate(value):
        if element is None:
            continue
        where = f"status.substatus[{number}]"
        if not isinstance(element, dict):
            raise Malformed(f'"{where}" is not an object')
        if element.get("status") not in STATES:
            raise Malformed(
                f'"{where}.status" is {json.dumps(element.get("status"))[:80]}, not one of {", ".join(STATES)}'
            )
        sub_name = element.get("name")
        if sub_name is not None:
            sub_name = redact_text(sub_name if isinstance(sub_name, str) else json.dumps(sub_name))
        subs.append(
            {
                "name": sub_name,
                "status": element["status"],
                "code": _code(element.get("code", 0)),
                "formattedMessage": _message(element.get("formattedMessage"), f"{where}.formattedMessage"),
            }
        )
    return subs


def _shrink(report: dict[str, Any], subs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cut an oversize status: its own texts, then each sub-status, then those that do not fit any more."""
    message = report["formattedMessage"]
    message["message"] = texts.shorten(message["message"] or "", MESSAGE_LIMIT)
    for key in ("operation", "configurationAppliedTime", "code"):
        if isinstance(report[key], str):
            report[key] = texts.shorten(report[key], MESSAGE_LIMIT)
    used, kept = len(message["message"]), []
    for sub in subs[:SUB_LIMIT]:
        if isinstance(sub["code"], str):
            sub["code"] = texts.shorten(sub["code"], MESSAGE_LIMIT)
        sub["name"] = texts.shorten(sub["name"] or "", SUB_TEXT_LIMIT)
        inner = sub["formattedMessage"]
        inner["message"] = texts.shorten(inner["message"] or "", SUB_TEXT_LIMIT)
        used += len(sub["name"]) + len(inner["message"])
        if used > TEXT_LIMIT:
            break
        kept.append(sub)
    return kept


# -- heartbeat -----------------------------------------------------------------------------------------------

HANDLER_STATES = ("Ready", "NotReady", "Installing", "Unresponsive")
_HEARTBEATS = {state.lower(): state for state in HANDLER_STATES}


def heartbeat(path: str, now: float) -> tuple[str, str, bool]:
    """(handler status, message or "", whether the file was in order). Unknown status values mean NotReady."""
    try:
        content, found = foreign.read(path, HEARTBEAT_BYTES)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return "NotReady", f"the heartbeat file {path} is missing", False
    except (OSError, UnicodeDecodeError) as error:
        return "NotReady", f"the heartbeat file {path} cannot be read: {error}", False
    if now - found.st_mtime > HEARTBEAT_AGE:
        return "Unresponsive", "", True
    try:
        beat = foreign.loads(text)[0]["heartbeat"]
        status = _HEARTBEATS.get(str(beat["status"]).lower(), "NotReady")
        message = beat.get("formattedMessage")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "NotReady", f"the heartbeat file {path} is malformed", False
    said = message.get("message") if isinstance(message, dict) else None
    return status, redact_text(said) if isinstance(said, str) else "", True


def newest_sequence(config: str, instance: str) -> int:
    """The number of the settings file that was written last; -1 without one."""
    newest, number = -1.0, -1
    start = f"{instance}." if instance else ""
    try:
        files = os.listdir(config)
    except OSError:
        return -1
    for file in files:
        digits = file[len(start) : -len(".settings")] if file.endswith(".settings") else ""
        if not file.startswith(start) or not (digits.isascii() and digits.isdigit()):
            continue
        try:
            written = os.stat(os.path.join(config, file)).st_mtime
        except OSError:
            continue
        if written > newest:
            newest, number = written, int(digits)
    return number


def entry(name: str, version: str, status: str, code: Union[int, str], message: Optional[str]) -> dict[str, Any]:
    """The handler's part of an element of handlerAggregateStatus."""
    fields: dict[str, Any] = {
        "handlerName": name,
        "handlerVersion": version,
        "status": status,
        "code": code,
        "useExactVersion": True,
    }
    if message:
        fields["formattedMessage"] = {"lang": "en-US", "message": redact_text(message)}
    return fields
