"""The aggregate status: what the agent and the extensions are doing, as the platform reads it. Lean: json only.

document(...) -> bytes, UTF-8 JSON of the status blob

    stamp       str, time of composing, "2026-11-23T09:17:40Z"
    version     str, the agent's          host   (computer name, OS name, OS version)
    handlers    list of dict, entries of handlerAggregateStatus as waagent/extensions made them
    goal_state  GoalStateOutcome or None (no goal state was processed yet)
    update      UpdateOutcome or None (the platform does not drive updates of the agent)
    features    list of names, of features(); each is reported with version "1.0"

features(fast_track=…, served=…) -> list of names: what this agent can do and may be asked to do. Who makes a report
takes them from there. VersioningGovernance is not one of them: it says that the platform can have the agent move to
a version of its choice, and waits for that; this agent comes from the distribution and does not replace itself.

Signatures in URLs are hidden in every message; the rest is passed on as it is. An entry that json cannot express
is left out and reported by name, so that one handler never silences the others.

Source: wire-protocol 5.3, extensions 8.1.
"""

from __future__ import annotations

import json

from waagent.system.redact import redact_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

LANGUAGE = "en-US"
MULTI_CONFIG, FAST_TRACK = "MultipleExtensionsPerHandler", "FastTrack"
SUCCESS, UNEXPECTED, UNSUPPORTED_FEATURES = 0, -1, 2001


class GoalStateOutcome:
    """How the goal state as a whole was processed; failed extensions do not make it fail.

    sequence  what Desired.sequence says     stamp  when it was processed; stays until the next one
    """

    __slots__ = ("code", "message", "sequence", "stamp")

    def __init__(
        self, sequence: str, stamp: str, code: int = SUCCESS, message: str = "GoalState executed successfully"
    ) -> None:
        self.sequence, self.stamp, self.code, self.message = sequence, stamp, code, message


class UpdateOutcome:
    """The agent's own update: the version that runs, and what went wrong ("" for nothing)."""

    __slots__ = ("message", "version")

    def __init__(self, version: str, message: str = "") -> None:
        self.version, self.message = version, message


def features(*, fast_track: bool, served: bool) -> list[str]:
    """fast_track: whether it is switched on; served: whether the host plugin of this node serves vmSettings."""
    return [MULTI_CONFIG, *([FAST_TRACK] if fast_track and served else [])]


def document(
    stamp: str,
    version: str,
    host: tuple[str, str, str],
    *,
    handlers: Iterable[Mapping[str, Any]] = (),
    goal_state: GoalStateOutcome | None = None,
    update: UpdateOutcome | None = None,
    features: Iterable[str] = (),
    message: str = "Guest Agent is running",
) -> bytes:
    agent: dict[str, object] = {"version": version, "status": "Ready", "formattedMessage": formatted(message)}
    if update is not None:
        agent["updateStatus"] = {
            "expectedVersion": update.version,
            "status": "Error" if update.message else "Success",
            "code": 1 if update.message else 0,
            "formattedMessage": formatted(update.message),
        }
    aggregate: dict[str, object] = {
        "guestAgentStatus": agent,
        "handlerAggregateStatus": [_expressible(entry) for entry in handlers],
    }
    if goal_state is not None:
        aggregate["vmArtifactsAggregateStatus"] = {
            "goalStateAggregateStatus": {
                "inSvdSeqNo": goal_state.sequence,
                "status": "Success" if goal_state.code == SUCCESS else "Failed",
                "code": goal_state.code,
                "timestampUTC": goal_state.stamp,
                "formattedMessage": formatted(goal_state.message),
            }
        }
    name, system, release = host
    whole = {
        "version": "1.1",
        "timestampUTC": stamp,
        "aggregateStatus": aggregate,
        "guestOSInfo": {"computerName": name, "osName": system, "osVersion": release, "version": version},
        "supportedFeatures": [{"Key": feature, "Value": "1.0"} for feature in features],
    }
    return json.dumps(whole).encode("ascii")


def without_times(value: object) -> object:
    """A report, or a part of one, without the times of its making: to tell whether anything in it is new.

    When the goal state was processed stays: that is no time of the report.
    """
    if isinstance(value, dict):
        left_out = () if "inSvdSeqNo" in value else ("timestampUTC",)
        return {name: without_times(one) for name, one in value.items() if name not in left_out}
    if isinstance(value, list):
        return [without_times(one) for one in value]
    return value


def formatted(message: str) -> dict[str, str]:
    return {"lang": LANGUAGE, "message": redact_text(message)}


def _expressible(entry: Mapping[str, Any]) -> object:
    """The entry with redacted texts; a plain NotReady entry when json cannot take it."""
    try:
        clean = _redacted(dict(entry))
        json.dumps(clean, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return {
            "handlerName": str(entry.get("handlerName", "")),
            "handlerVersion": str(entry.get("handlerVersion", "")),
            "status": "NotReady",
            "code": UNEXPECTED,
            "useExactVersion": True,
            "formattedMessage": formatted(f"the status of this handler cannot be reported: {error}"),
        }
    return clean


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(inner) for inner in value]
    return value
