"""The host plugin: vmSettings, downloads and uploads on our behalf, its health.

    plugin = HostPlugin(system, http, endpoint, goal, refresh=wire.goal_state)

It knows the VM by the container id and role config name of `goal`; without one, `refresh` gives it before the first
request that needs them. When it calls them stale, `refresh` is asked again and the request repeated once
with the ids of now; plugin.goal is then that goal state.

    available()                      whether it speaks our version; asked until it says yes, then remembered
    healthy()                        /health, one attempt
    vm_settings(etag)                VmSettingsAnswer: kind "changed" (settings, etag), "unchanged" or "unsupported"
    artifact(url, ...)               a blob, one attempt; the caller repeats (artifacts.py)
    upload_status(...)               True: taken, False: stale, try next period
    upload_log(...)                  the zip of collected logs

Raises FabricUnreachable (later), FabricRejected (no), GoalStateInvalid (vmSettings cannot be used; its fact "etag"
says which). While planning, uploads are noted and not sent.

Source: wire-protocol 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waagent import __version__
from waagent.errors import FabricUnreachable, GoalStateInvalid, WaagentError
from waagent.fabric import headers, origin, upload, vm_settings
from waagent.fabric.host_calls import ARTIFACT, STATUS, VERSIONS
from waagent.fabric.poll import is_stale
from waagent.fabric.retry import COMMON, LATER, LOGS, asked_pause, persist, require
from waagent.fabric.vm_settings import VmSettings
from waagent.system.effects import Effect
from waagent.system.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.fabric.endpoint import Endpoint
    from waagent.fabric.goal_state import GoalState
    from waagent.system import System
    from waagent.system.http import Http, Response, Sink

CHANGED, UNCHANGED, UNSUPPORTED = "changed", "unchanged", "unsupported"


class VmSettingsAnswer(NamedTuple):
    kind: str
    settings: VmSettings | None = None
    etag: str = ""


class HostPlugin:
    def __init__(
        self,
        system: System,
        http: Http,
        endpoint: Endpoint,
        goal: GoalState | None = None,
        *,
        refresh: Callable[[], GoalState],
        note: Callable[[str], None] | None = None,
        saw: Callable[[str, int, str], None] | None = None,
    ) -> None:
        """saw: is told how requests ended (host_calls.Teller.saw)."""
        self.system, self.http, self.endpoint, self.note = system, http, endpoint, note
        self._saw = saw or (lambda name, status, error: None)
        self._goal = goal
        self._refresh = refresh
        self._speaks = False
        self.vm_settings_text = b""  # of the last answer, whether it could be used or not

    @property
    def goal(self) -> GoalState:
        if self._goal is None:
            self._goal = self._refresh()
        return self._goal

    @goal.setter
    def goal(self, goal: GoalState) -> None:
        self._goal = goal

    def available(self) -> bool:
        if not self._speaks:
            url = self.endpoint.plugin("/versions")
            sent = [("x-ms-containerid", self.goal.container_id)]
            try:
                response = self.http.request("GET", url, sent)
            except WaagentError as error:
                self._saw(VERSIONS, 0, error.message)
                return False
            self._judge(VERSIONS, response)
            self._speaks = response.good and headers.PLUGIN_VERSION.encode() in response.body
        return self._speaks

    def healthy(self) -> bool:
        try:
            return self.http.request("GET", self.endpoint.plugin("/health")).good
        except WaagentError:
            return False

    def vm_settings(self, etag: str = "") -> VmSettingsAnswer:
        """etag: of the document that is at hand; without it the answer is never "unchanged"."""
        url = self.endpoint.plugin("/vmSettings")
        response = self._ask_vm_settings(url, etag)
        if response.status == 410:
            self.goal = self._refresh()
            response = self._ask_vm_settings(url, etag)
        if response.status == 304 and etag:
            return VmSettingsAnswer(UNCHANGED, etag=etag)
        if response.status == 404:
            return VmSettingsAnswer(UNSUPPORTED)
        if response.status in LATER and response.status != 403:
            raise FabricUnreachable(
                f"cannot fetch vmSettings: {response.status} {response.reason} from {url}",
                url=url,
                status=response.status,
            )
        require(response, "fetch vmSettings", url, (200,))
        fresh = response.headers.get("etag", "")
        if not fresh:
            raise GoalStateInvalid(f"cannot use vmSettings from {url}: no ETag came with it", document="vmSettings")
        self.vm_settings_text = response.body
        try:
            with origin.told(url):
                settings = vm_settings.parse(response.body, fresh)
        except GoalStateInvalid as error:
            if error.facts.get("element"):  # JSON, and wrong: it will be so the next time; a damaged answer may not
                error.facts["etag"] = fresh
            raise
        if not settings.supported:
            return VmSettingsAnswer(UNSUPPORTED)
        return VmSettingsAnswer(CHANGED, settings, fresh)

    def artifact(
        self,
        url: str,
        *,
        limit: int,
        into: Sink | None = None,
        verify: bool = False,
        manifest_url: str = "",
        timeout: float = 60.0,
        pace: float = 0.0,
    ) -> Response:
        """Fetch a blob through the host.

        into          a file for the body (only that of a 200 goes there)
        verify        the goal state in use is a fast track one (never for the artifacts profile)
        manifest_url  for packages: where the handler's manifest came from
        pace          bytes a second; while so many come the time is put off

        A 400 that does not speak of the ids is the plugin's cache at fault: FabricUnreachable, as for a 503.
        """
        source = self.endpoint.plugin("/extensionArtifact")
        for last in (False, True):
            sent = [*self._headers(), ("x-ms-artifact-location", url)]
            if verify:
                sent.append(("x-ms-verify-from-artifacts-blob", "true"))
            if manifest_url:
                sent.append(("x-ms-artifact-manifest-location", manifest_url))
            response = self.http.request("GET", source, sent, timeout=timeout, limit=limit, into=into, pace=pace)
            self._judge(ARTIFACT, response)
            if not is_stale(response) or last:
                break
            self.goal = self._refresh()
        doing = f"fetch {redact(url)} through the host plugin"
        if response.status != 410 and (response.status in LATER or response.status == 400):
            asked = asked_pause(response.headers.get("retry-after"), self.system.clock.now())
            what = f"cannot {doing}: {response.status} {response.reason}"
            raise FabricUnreachable(what, url=redact(url), status=response.status, retry_after=asked)
        return require(response, doing, source, (200,))

    def upload_status(self, blob_url: str, blob_type: str, payload: bytes) -> bool:
        url = self.endpoint.plugin("/status")
        if self.system.planning:
            self.system.note(Effect("upload", url, note=f"status, {len(payload)} bytes"))
            return True
        stamp = self.system.clock.stamp()
        for body in upload.descriptions(blob_url, blob_type, payload, stamp):
            sent = [*self._headers(), headers.JSON_BODY]
            response = self.http.request("PUT", url, sent, body)
            self._judge(STATUS, response)
            if response.status == 410:
                self.goal = self._refresh()
                return False
            require(response, "upload the status through the host plugin", url)
        return True

    def upload_log(self, content: bytes) -> None:
        url = self.endpoint.plugin("/vmAgentLog")
        if self.system.planning:
            self.system.note(Effect("upload", url, note=f"logs, {len(content)} bytes"))
            return
        sent = [
            ("x-ms-version", headers.PLUGIN_VERSION),
            ("x-ms-containerid", self.goal.container_id),
            ("x-ms-vmagentlog-deploymentid", self.goal.deployment_id),
            ("x-ms-client-name", headers.AGENT_NAME),
            ("x-ms-client-version", __version__),
            headers.correlation(),
        ]

        def attempt() -> Response:
            return self.http.request("PUT", url, sent, content, timeout=LOGS.timeout)

        doing = "upload the logs through the host plugin"
        require(persist(self.system.clock, LOGS, attempt, doing, self.note), doing, url)
        self.system.note(Effect("upload", url, note=f"logs, {len(content)} bytes"))

    def _judge(self, name: str, response: Response) -> None:
        self._saw(name, response.status, f"{response.status} {response.reason}")

    def _headers(self) -> list[tuple[str, str]]:
        return headers.plugin(self.goal.container_id, self.goal.config_name)

    def _ask_vm_settings(self, url: str, etag: str) -> Response:
        sent = [*self._headers(), headers.correlation()]
        if etag:
            sent.append(("if-none-match", etag))
        return self.http.request("GET", url, sent, timeout=COMMON.timeout)
