"""When the status report goes out, and what is in it. Lean.

It is composed at every turn from what is on disk and uploaded when it differs from the last one that was taken, and
once a minute otherwise, also while a worker is busy. The host plugin is the way; when it refuses, a worker uploads
to the blob directly (event "status"), because that needs TLS and proxies, which this process does without. What was
taken is kept for support (fabric/local_copy.py).
"""

from __future__ import annotations

import os

from waagent import __version__
from waagent.errors import WaagentError
from waagent.extensions import report
from waagent.fabric import endpoint as endpoints
from waagent.fabric import host_calls, local_copy, poll, status
from waagent.system.clock import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.system.http import Http
    from waagent.watcher.settings import Settings

EVERY = 60.0  # seconds between uploads of an unchanged report


class Reporter:
    def __init__(self, http: Http, settings: Settings, clock: Clock | None = None) -> None:
        self.http, self.settings, self.clock = http, settings, clock or Clock()
        self._taken: object = None
        self._taken_at = -EVERY
        self._failing_since: float | None = None
        self.observed: list[dict[str, object]] = []  # of the host plugin, by the latest upload

    def turn(self, known: poll.Known, now: float) -> WaagentError | None:
        """Upload the report if it is time; returns what went wrong, None if nothing."""
        if not known.status_blob:
            return None  # no goal state yet that says where to
        host = (os.uname().nodename, self.settings.os_name, self.settings.os_version)
        entries = report.handler_statuses(self.settings.lib, self.clock.now().timestamp())
        handlers = report.fitted(entries)
        outcome = report.goal_state_outcome(self.settings.lib)
        features = status.features(fast_track=self.settings.fast_track, served=known.vm_settings == poll.SERVED)
        told = outcome and (outcome.sequence, outcome.stamp, outcome.code)
        content = (host, features, status.without_times(handlers), told)
        if content == self._taken and now - self._taken_at < EVERY:
            return None
        stamp = self.clock.stamp()
        payload = status.document(
            stamp, __version__, host, handlers=handlers, goal_state=outcome, features=features
        )
        try:
            endpoint = endpoints.parse(known.endpoint)
            taken = poll.put_status(
                self.http, endpoint, known, known.status_blob, known.status_blob_type, payload, stamp
            )
        except WaagentError as error:
            self._judge(error.facts.get("status"), error.message, now)
            return error
        self._judge(200, "", now)
        if taken:
            self._taken, self._taken_at = content, now
            self._keep(payload)
        return None

    def _keep(self, payload: bytes) -> None:
        """For support; a disk that refuses is told by the steps, and changes nothing here."""
        try:
            local_copy.keep(self.settings.lib, payload)
        except OSError:
            return

    def _judge(self, status: object, error: str, now: float) -> None:
        """What the upload says of the host plugin; no answer says nothing here, the heartbeat tells that."""
        if isinstance(status, int):
            healthy, self._failing_since = host_calls.judge(host_calls.STATUS, status, self._failing_since, now)
            self.observed = [host_calls.seen(host_calls.STATUS, status, healthy, error)]
