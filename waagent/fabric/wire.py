"""The wire server: versions, the goal state and its documents, reports of health, telemetry.

    wire = WireServer(system, Http(system.clock), endpoint.parse("168.63.129.16"), note=ctx.note)
    goal = wire.goal_state()
    wire.report_ready(goal)

Every call retries as retry.py says and raises FabricUnreachable (nothing but "later" came), FabricRejected (the
answer is no) or GoalStateInvalid (the document cannot be used). While planning, what would be posted is noted as
an effect and not sent; documents are fetched as always.

A report is made with the ids of a goal state; when the wire server refuses them, the goal state is fetched once
more and the report repeated with what it says then, since ids change when the VM moves.

Source: wire-protocol 1.4, 2.1, 2.6, 2.8, 5.1, 5.2, 5.4, 5.7, 7.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.errors import FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric import goal_state, headers, health, origin, xml
from waagent.fabric.goal_state import GoalState
from waagent.fabric.retry import COMMON, HEALTH, ONCE, TELEMETRY, Policy, persist, require
from waagent.system.effects import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.fabric.endpoint import Endpoint
    from waagent.system import System
    from waagent.system.http import Http, Response

GOAL_STATE = "/machine/?comp=goalstate"
HEALTH_REPORT = "/machine?comp=health"
ROLE_PROPERTIES = "/machine?comp=roleProperties"
TELEMETRY_DATA = "/machine?comp=telemetrydata"
HEALTH_SERVICE = "/HealthService"

# A goal state without a RoleInstance is one in the making: six requests, half a second apart.
INCOMPLETE_TRIES, INCOMPLETE_WAIT = 6, 0.5

AES, TRIPLE_DES = "AES128_CBC", "DES_EDE3_CBC"


class WireServer:
    def __init__(
        self, system: System, http: Http, endpoint: Endpoint, note: Callable[[str], None] | None = None
    ) -> None:
        self.system, self.http, self.endpoint, self.note = system, http, endpoint, note
        self.goal_state_text = b""  # of the last one that could be used

    # -- asking ----------------------------------------------------------------------------------------------

    def check_version(self, policy: Policy = COMMON) -> str:
        """Make sure that the server speaks our version, and return it. The first request of all."""
        url = self.endpoint.wire("/?comp=versions")
        answer = self._get(url, "ask for the wire protocol's versions", [], policy)
        with origin.told(url):
            root = xml.parse(answer.body, "the list of protocol versions", "Versions")
        listed = [version.text for version in root.iterfind("Supported/Version")]
        listed.append(xml.text(root, "Preferred/Version"))
        spoken = [version.strip() for version in listed if version]
        if headers.WIRE_VERSION not in spoken:
            raise FabricRejected(
                f"cannot talk to {self.endpoint.text}: it speaks {', '.join(spoken)[:200] or 'nothing'}, "
                f"not {headers.WIRE_VERSION}",
                url=url,
            )
        return headers.WIRE_VERSION

    def goal_state(self, policy: Policy = COMMON) -> GoalState:
        """The goal state as of now; container id and config name are to be taken from it each time."""
        url = self.endpoint.wire(GOAL_STATE)
        for attempt in range(1, INCOMPLETE_TRIES + 1):
            answer = self._get(url, "fetch the goal state", headers.wire(), policy)
            try:
                with origin.told(url):
                    goal = goal_state.parse(answer.body)
                self.goal_state_text = answer.body
                return goal
            except GoalStateInvalid as error:
                if error.facts.get("element") != goal_state.INCOMPLETE or attempt == INCOMPLETE_TRIES:
                    raise
            self.system.clock.sleep(INCOMPLETE_WAIT)
        raise AssertionError("unreachable")

    def document(self, url: str, what: str, extra: list[tuple[str, str]] | None = None) -> bytes:
        """A document of the goal state by its URL, which is used as written. `what` completes "cannot fetch"."""
        return self._get(url, f"fetch {what}", headers.wire() + (extra or []), COMMON).body

    def encrypted_document(self, url: str, what: str, certificate: str, cipher: str) -> bytes:
        """A document whose secrets the host encrypts to our transport certificate (base64 of its DER)."""
        presented = [("x-ms-guest-agent-public-x509-cert", certificate), ("x-ms-cipher-name", cipher)]
        return self.document(url, what, presented)

    # -- telling ---------------------------------------------------------------------------------------------

    def report_ready(self, goal: GoalState, policy: Policy = HEALTH) -> GoalState:
        """Tell that the VM is ready; returns the goal state whose ids were accepted."""
        return self._report(goal, policy, "report ready", health.ready)

    def report_not_ready(
        self, goal: GoalState, substatus: str, description: str, policy: Policy = HEALTH
    ) -> GoalState:
        """Tell that the VM is being provisioned, or that this failed and why."""

        def document(incarnation: str, container_id: str, instance_id: str) -> bytes:
            return health.not_ready(incarnation, container_id, instance_id, substatus, description)

        return self._report(goal, policy, f"report not ready ({substatus})", document)

    def role_properties(self, goal: GoalState, properties: list[tuple[str, str]]) -> None:
        body = health.role_properties(goal.container_id, goal.instance_id, properties)
        url = self.endpoint.wire(ROLE_PROPERTIES)
        self._post(url, "report the role's properties", body, COMMON, headers.XML_BODY, good=(202,))

    def telemetry(self, body: bytes) -> None:
        """Send one document of telemetry.batches; a batch that fails three times is lost."""
        self._post(
            self.endpoint.wire(TELEMETRY_DATA), "send telemetry", body, TELEMETRY, headers.XML_BODY, journal=False
        )

    def host_observations(self, body: bytes) -> None:
        """Tell the health service what we saw of the host's services (health.observations)."""
        url = self.endpoint.wire(HEALTH_SERVICE)
        self._post(url, "report on the host's health", body, ONCE, headers.JSON_BODY, journal=False)

    # -- the two ways ----------------------------------------------------------------------------------------

    def _get(self, url: str, doing: str, sent: list[tuple[str, str]], policy: Policy) -> Response:
        def attempt() -> Response:
            return self.http.request("GET", url, sent, timeout=policy.timeout)

        return require(persist(self.system.clock, policy, attempt, doing, self.note), doing, url)

    def _post(
        self,
        url: str,
        doing: str,
        body: bytes,
        policy: Policy,
        content_type: tuple[str, str],
        *,
        good: tuple[int, ...] = (200, 201, 202),
        journal: bool = True,
    ) -> None:
        effect = Effect("upload", url, note=f"{doing}, {len(body)} bytes")
        if self.system.planning:
            self.system.note(effect)
            return
        sent = [content_type] if content_type == headers.JSON_BODY else [*headers.wire(), content_type]

        def attempt() -> Response:
            return self.http.request("POST", url, sent, body, timeout=policy.timeout)

        require(persist(self.system.clock, policy, attempt, doing, self.note), doing, url, good)
        if journal:
            self.system.note(effect)

    def _report(
        self, goal: GoalState, policy: Policy, doing: str, document: Callable[[str, str, str], bytes]
    ) -> GoalState:
        url = self.endpoint.wire(HEALTH_REPORT)
        try:
            body = document(goal.incarnation, goal.container_id, goal.instance_id)
            self._post(url, doing, body, policy, headers.XML_BODY)
        except FabricRejected as refused:
            fresh = self._fresh(refused)
            if fresh == goal:
                raise
            body = document(fresh.incarnation, fresh.container_id, fresh.instance_id)
            self._post(url, doing, body, policy, headers.XML_BODY)
            return fresh
        return goal

    def _fresh(self, refused: FabricRejected) -> GoalState:
        """The goal state of now, or the refusal itself when even that cannot be had."""
        try:
            return self.goal_state()
        except (FabricUnreachable, GoalStateInvalid) as error:
            raise refused from error
