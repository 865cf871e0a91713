"""What one machine has told the fabric.

    health         HealthReport list, oldest first (XML reports and azure-init's JSON ones)
    status         the latest status document (parsed JSON) or None; `status_time`, `status_count`
    statuses       the last STATUSES_KEPT documents as (time, document)
    telemetry      TelemetryEvent list, bounded
    observations   HealthService observations, bounded
    properties     role properties by name
    logs           uploaded agent logs as (time, zip bytes), the last one only

Source: wire-protocol 3.8, 5.1 to 5.7.
"""
from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple, Optional

STATUSES_KEPT = 50
EVENTS_KEPT = 5000


def part(document: Any, *keys: str) -> dict[str, Any]:
    """The object under `keys`, or an empty one where there is none: uploads may hold anything anywhere."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def items(document: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the list under `key`."""
    found = document.get(key) if isinstance(document, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class HealthReport(NamedTuple):
    """One provisioning report. `form` is xml or json."""

    time: float
    state: str
    substatus: str
    description: str
    incarnation: str
    form: str

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


class TelemetryEvent(NamedTuple):
    """One telemetry event; `parameters` maps names to text values, `types` to the T attributes."""

    time: float
    provider: str
    event_id: str
    parameters: dict[str, str]
    types: dict[str, str]


class Reports:
    """Everything a machine reported since it was created."""

    def __init__(self) -> None:
        self.health: list[HealthReport] = []
        self.status: Optional[dict[str, Any]] = None
        self.status_text = ""
        self.status_time = 0.0
        self.status_count = 0
        self.statuses: deque[tuple[float, dict[str, Any]]] = deque(maxlen=STATUSES_KEPT)
        self.telemetry: deque[TelemetryEvent] = deque(maxlen=EVENTS_KEPT)
        self.observations: deque[tuple[float, dict[str, Any]]] = deque(maxlen=1000)
        self.properties: dict[str, str] = {}
        self.logs: Optional[tuple[float, bytes]] = None
        self.first_seen = 0.0
        self.last_seen = 0.0

    def add_status(self, text: str, document: dict[str, Any]) -> None:
        self.status = document
        self.status_text = text
        self.status_time = time.time()
        self.status_count += 1
        self.statuses.append((self.status_time, document))

    @property
    def provisioning_state(self) -> str:
        """Creating until the first report; then Provisioning, Ready or Failed, as the last one says."""
        if not self.health:
            return "Creating"
        last = self.health[-1]
        if last.state == "Ready":
            return "Ready"
        return "Failed" if last.substatus == "ProvisioningFailed" else "Provisioning"

    def handlers(self) -> list[dict[str, Any]]:
        return items(part(self.status, "aggregateStatus"), "handlerAggregateStatus")

    def extension(self, name: str, instance: str = "") -> Optional[dict[str, Any]]:
        """The handler entry of the latest status for `name` (and instance), or None."""
        for entry in self.handlers():
            if str(entry.get("handlerName", "")).lower() == name.lower():
                own = part(entry, "runtimeSettingsStatus").get("extensionName", "")
                if not instance or own == instance:
                    return entry
        return None

    def events(self, operation: str = "", name: str = "") -> list[TelemetryEvent]:
        return [one for one in self.telemetry
                if (not operation or one.parameters.get("Operation") == operation)
                and (not name or one.parameters.get("Name") == name)]

    def summary(self) -> dict[str, Any]:
        """For people and the control API: what the portal would show."""
        agent: Optional[dict[str, Any]] = None
        goal: Optional[dict[str, Any]] = None
        if self.status is not None:
            own = part(self.status, "aggregateStatus", "guestAgentStatus")
            agent = {"version": own.get("version"), "status": own.get("status"),
                     "message": _message(own), "reported": self.status.get("timestampUTC"),
                     "os": part(self.status, "guestOSInfo")}
            goal = part(self.status, "aggregateStatus", "vmArtifactsAggregateStatus",
                        "goalStateAggregateStatus") or None
        return {
            "provisioning": {"state": self.provisioning_state, "reports": [one.as_dict() for one in self.health]},
            "stages": self.stages(),
            "agent": agent,
            "goal_state": goal,
            "extensions": [_extension_summary(one) for one in self.handlers()],
            "status_uploads": self.status_count,
            "status_time": self.status_time or None,
            "telemetry_events": len(self.telemetry),
            "first_seen": self.first_seen or None,
            "last_seen": self.last_seen or None,
        }

    def stages(self) -> list[dict[str, Any]]:
        """Boot stages as far as the agent told: telemetry whose operation is `Stage`, one entry per message."""
        return [{"time": one.parameters.get("OpcodeName", ""), "message": one.parameters.get("Message", ""),
                 "success": one.parameters.get("OperationSuccess", "") == "True",
                 "milliseconds": int(one.parameters["Duration"])
                 if one.parameters.get("Duration", "").isdigit() else None}
                for one in self.events("Stage")]

    def as_dict(self) -> dict[str, Any]:
        """What survives a restart (the newest telemetry only; logs are left out)."""
        return {"health": [list(one) for one in self.health], "status_text": self.status_text,
                "status_time": self.status_time, "status_count": self.status_count, "properties": self.properties,
                "telemetry": [list(one) for one in list(self.telemetry)[-500:]],
                "first_seen": self.first_seen, "last_seen": self.last_seen}

    def restore(self, given: dict[str, Any]) -> None:
        import json
        self.health = [HealthReport(*one) for one in given.get("health", ())]
        self.telemetry.extend(TelemetryEvent(*one) for one in given.get("telemetry", ()))
        self.properties = dict(given.get("properties", {}))
        self.status_text = given.get("status_text", "")
        self.status_time = given.get("status_time", 0.0)
        self.status_count = given.get("status_count", 0)
        self.first_seen = given.get("first_seen", 0.0)
        self.last_seen = given.get("last_seen", 0.0)
        if self.status_text:
            self.status = json.loads(self.status_text)
            self.statuses.append((self.status_time, json.loads(self.status_text)))


def _message(entry: Optional[dict[str, Any]]) -> Optional[str]:
    text = part(entry, "formattedMessage").get("message")
    return None if text is None else str(text)


def _extension_summary(entry: dict[str, Any]) -> dict[str, Any]:
    runtime = part(entry, "runtimeSettingsStatus")
    status = part(runtime, "settingsStatus", "status")
    return {
        "name": entry.get("handlerName"),
        "instance": runtime.get("extensionName"),
        "version": entry.get("handlerVersion"),
        "handler_status": entry.get("status"),
        "code": entry.get("code"),
        "message": _message(entry),
        "sequence": runtime.get("sequenceNumber"),
        "status": status.get("status"),
        "status_code": status.get("code"),
        "operation": status.get("operation"),
        "status_message": _message(status),
        "substatus": [{"name": one.get("name"), "status": one.get("status"), "code": one.get("code"),
                       "message": _message(one)} for one in items(status, "substatus")],
    }
