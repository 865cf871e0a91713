"""What our own requests to the host plugin say about it, for the health service. Lean: the watcher imports it.

    healthy, since = judge(name, status, since, now)     since: when it began to fail; None while it does not
    seen(name, status, healthy, error, caller)           the observation; status 0: there was no answer at all

A worker's requests are told as they are made, by Teller, at most once a minute of a kind, also from one worker to
the next; the watcher's go with its report of each minute (waagent/watcher/host_health.py).

    VERSIONS           each /versions: unhealthy at once with 5xx but 502, and without an answer
    ARTIFACT, STATUS   /extensionArtifact, /status: unhealthy after five minutes of 5xx but 502; any other answer
                       is a success that begins the count anew, none at all says nothing

502 is the storage's failure, told on by a host plugin that works.

Source: wire-protocol 5.7.
"""

from __future__ import annotations

import json

from waagent.errors import SystemRefused, WaagentError
from waagent.fabric import headers, health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from waagent.fabric.endpoint import Endpoint
    from waagent.system import System
    from waagent.system.http import Http

VERSIONS, ARTIFACT, STATUS = "GuestAgentPluginVersions", "GuestAgentPluginArtifact", "GuestAgentPluginStatus"
CALLER = "WireClient"  # who fetches artifacts, as the platform knows it
PATIENCE, EVERY = 300.0, 60.0
HEALTH_SERVICE = "/HealthService"
TIMEOUT = 5.0
FILE = "/run/waagent/host-calls.json"


def judge(name: str, status: int, since: Optional[float], now: float) -> tuple[bool, Optional[float]]:
    if name == VERSIONS:
        return not (status == 0 or _is_failure(status)), None
    if status == 0:
        return since is None or now - since < PATIENCE, since
    if not _is_failure(status):
        return True, None
    began = now if since is None else min(since, now)  # a later one is from before a boot that did not empty /run
    return now - began < PATIENCE, began


def seen(name: str, status: int, healthy: bool, error: str = "") -> dict[str, object]:
    failed = status == 0 or _is_failure(status)
    caller = CALLER if name == ARTIFACT else ""
    return health.observation(name, healthy=healthy, description=caller, value=error if failed else "")


def _is_failure(status: int) -> bool:
    return status >= 500 and status != 502


class Teller:
    """For workers: saw() after each request. Nothing depends on it, so it raises nothing."""

    def __init__(self, system: System, http: Http, endpoint: Endpoint) -> None:
        self.system, self.http, self.endpoint = system.quietly(), http, endpoint

    def saw(self, name: str, status: int, error: str = "") -> None:
        if self.system.planning or (status == 0 and name != VERSIONS):
            return
        now = self.system.clock.boot()
        known = self._read()
        mine = known.get(name, {})
        healthy, since = judge(name, status, mine.get("since"), now)
        told = mine.get("told")
        due = name == VERSIONS or told is None or not told <= now < told + EVERY
        known[name] = {"since": since, "told": now if due else told}
        if known[name] != mine:
            self._write(known)
        if due:
            body = health.observations([seen(name, status, healthy, error)])
            url = self.endpoint.wire(HEALTH_SERVICE)
            try:
                self.http.request("POST", url, [headers.JSON_BODY], body, timeout=TIMEOUT)
            except WaagentError:
                return

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self.system.read(FILE))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: one for name, one in found.items() if isinstance(one, dict) and all(map(_fits, one.values()))}

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        try:
            self.system.make_directory("/run/waagent", 0o755)
            self.system.write(FILE, json.dumps(known))
        except (SystemRefused, OSError):
            return


def _fits(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
