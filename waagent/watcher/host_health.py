"""When the platform is told whether its host plugin and its metadata service work. Lean.

One request to each and one report, at the first turn a minute after the last one. A service that fails for minutes
on end is called unhealthy; the platform's people look at the node then. Nothing of this VM depends on it.
"""

from __future__ import annotations

from waagent.errors import WaagentError
from waagent.fabric import endpoint as endpoints
from waagent.fabric import host_health
from waagent.fabric.host_health import METADATA, PLUGIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from waagent.fabric import poll
    from waagent.system.http import Http
    from waagent.watcher.settings import Settings

EVERY = 60.0  # seconds


class HostHealth:
    def __init__(self, http: Http, settings: Settings, service: str = endpoints.METADATA_SERVICE) -> None:
        """service: where the metadata are, host or host:port."""
        self.http, self.service = http, service
        self.troubles: dict[str, float] = {}
        self._wanted = settings.host_health
        self._asked_at = -EVERY

    def turn(self, known: poll.Known, now: float, also: Sequence[dict[str, object]] = ()) -> WaagentError | None:
        """Ask and report if it is time; returns why the report was not taken, None if it was.

        also: what other requests to the host plugin have shown since the last report.
        """
        if not self._wanted or now - self._asked_at < EVERY:
            return None
        self._asked_at = now
        try:
            endpoint = endpoints.parse(known.endpoint)
            metadata = host_health.probe(self.http, service=self.service)
            answered = {PLUGIN: host_health.plugin_answers(self.http, endpoint), METADATA: metadata.healthy}
            healthy, self.troubles = host_health.judge(self.troubles, answered, now)
            host_health.report(self.http, endpoint, healthy, {METADATA: metadata.description}, also)
        except WaagentError as error:
            return error
        return None
