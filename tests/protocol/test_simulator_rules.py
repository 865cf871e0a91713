"""What the simulator refuses: one case and more for every rule, with the answer the client gets."""
from __future__ import annotations

import base64
import json
import socket
import time
from typing import Any, Callable, NamedTuple, Optional

import pytest

from waagent.simulator import RULES, Simulator

from .simulator_client import (
    WIRE,
    XML,
    Fabric,
    ask,
    block_upload,
    goal_state,
    handler_status,
    health,
    plugin_headers,
    status_document,
    telemetry,
    transport,
)

JSON = {"Content-Type": "application/json"}
GUID = "00000000-1111-2222-3333-444444444444"
STORAGE = {"x-ms-version": "2014-02-14", "x-ms-blob-type": "BlockBlob"}


class Sent(NamedTuple):
    url: str
    method: str = "GET"
    headers: Optional[dict[str, str]] = None
    body: Optional[bytes] = None


class Scene:
    """A simulator with one machine, and what its goal state says."""

    def __init__(self, sim: Simulator, tmp_path: Any) -> None:
        self.sim = sim
        self.tmp_path = tmp_path
        self.machine = sim.machine("vm01", password="hunter22!")
        self.machine.publish([{"name": "A.B", "version": "1.0", "public": {}}])
        self.fabric: Fabric = goal_state(sim)
        self.plugin = plugin_headers(self.fabric)
        self.status_url = self.machine.status_url(sim.blob_url)
        self.profile_url = self.machine.profile_url(sim.blob_url)
        sim.requests.clear()

    def wire(self, path: str) -> str:
        return self.sim.wire_url + path

    def hgap(self, path: str) -> str:
        return self.sim.plugin_url + path

    def imds(self, path: str) -> str:
        return f"{self.sim.imds_url}{path}"

    def certificate(self, identifier: bool = True) -> str:
        return transport(self.tmp_path, subject_key_identifier=identifier)[2]


@pytest.fixture
def scene(tmp_path, certificate):
    with Simulator(shared_certificate=certificate) as sim:
        yield Scene(sim, tmp_path)
        assert sim.errors == []


def post(path: str, body: bytes, headers: Optional[dict[str, str]] = None) -> Callable[[Scene], Sent]:
    return lambda s: Sent(s.wire(path), "POST", XML if headers is None else headers, body)


def put_status(uri: Callable[[Scene], str] = lambda s: s.status_url, change: Callable[[dict], Any] = lambda d: None,
               content: Optional[bytes] = None) -> Callable[[Scene], Sent]:
    def make(s: Scene) -> Sent:
        body = json.loads(block_upload(uri(s), content or json.dumps(status_document()).encode()))
        changed = change(body)
        return Sent(s.hgap("/status"), "PUT", {**s.plugin, **JSON},
                    json.dumps(body if changed is None else changed).encode())
    return make


def document(change: Callable[[dict], Any]) -> Callable[[Scene], Sent]:
    """PUT /status of a status document that `change` has spoilt."""
    spoilt = status_document(handler_status("A.B", "1.0", 0))
    changed = change(spoilt)
    return put_status(content=json.dumps(spoilt if changed is None else changed).encode())


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def observations(**changes: Any) -> bytes:
    one = {"ObservationName": "GuestAgentPluginStatus", "IsHealthy": True, "Description": "", "Value": ""}
    return json.dumps({"Api": "reporttargethealth", "Version": "1.0", "Source": "WALinuxAgent",
                       "Observations": [one], **changes}).encode()


PARAM = ("Message", "m", "mt:wstr")
BAD_CERTIFICATE = {"x-ms-guest-agent-public-x509-cert": "bm8gY2VydGlmaWNhdGU="}

CASES: list[tuple[str, int, Callable[[Scene], Sent]]] = [
    ("method", 405, lambda s: Sent(s.wire("/machine/?comp=goalstate"), "POST", XML, b"")),
    ("method", 405, lambda s: Sent(s.wire("/machine?comp=health"), "GET", WIRE)),
    ("method", 405, lambda s: Sent(s.wire("/?comp=versions"), "POST", XML, b"")),
    ("method", 405, lambda s: Sent(s.wire("/HealthService"), "GET")),
    ("method", 405, lambda s: Sent(s.hgap("/status"), "POST", s.plugin, b"{}")),
    ("method", 405, lambda s: Sent(s.hgap("/vmSettings"), "PUT", s.plugin, b"")),
    ("method", 405, lambda s: Sent(s.imds("/metadata/instance?api-version=2018-02-01"), "POST",
                                   {"Metadata": "true"}, b"")),
    ("method", 405, lambda s: Sent(s.status_url, "DELETE", STORAGE)),
    ("unknown-path", 404, lambda s: Sent(s.wire("/machine/?comp=wisdom"), "GET", WIRE)),
    ("unknown-path", 404, lambda s: Sent(s.wire("/machine/?noise=1"), "GET", WIRE)),
    ("unknown-path", 404, lambda s: Sent(s.wire("/nothing"), "GET", WIRE)),
    ("unknown-path", 404, lambda s: Sent(s.hgap("/nothing"), "GET", s.plugin)),
    ("unknown-path", 404, lambda s: Sent(s.imds("/nothing"), "GET", {"Metadata": "true"})),
    ("proxy", 400, lambda s: Sent(s.wire("/machine/?comp=goalstate"), "GET", {**WIRE, "Via": "1.1 squid"})),
    ("proxy", 400, lambda s: Sent(s.wire("/machine/?comp=goalstate"), "GET",
                                  {**WIRE, "X-Forwarded-For": "10.0.0.4"})),
    ("proxy", 400, lambda s: Sent(s.hgap("/health"), "GET", {"Proxy-Connection": "keep-alive"})),
    ("wire-version", 400, lambda s: Sent(s.wire("/machine/?comp=goalstate"))),
    ("wire-version", 400, lambda s: Sent(s.wire("/machine/?comp=goalstate"), "GET", {"x-ms-version": "1999-01-01"})),
    ("wire-version", 400, lambda s: Sent(s.fabric.urls["SharedConfig"])),
    ("wire-version", 400, lambda s: Sent(s.wire("/machine?comp=health"), "POST",
                                         {"Content-Type": "text/xml"}, health(s.fabric))),
    ("wire-version", 400, lambda s: Sent(s.hgap("/vmSettings"), "GET", {**s.plugin, "x-ms-version": "2012-11-30"})),
    ("url-not-verbatim", 400, lambda s: Sent(s.fabric.urls["SharedConfig"].replace("%2D", ""), "GET", WIRE)),
    ("url-not-verbatim", 400, lambda s: Sent(
        s.fabric.urls["SharedConfig"].replace("comp=config&type=sharedConfig", "type=sharedConfig&comp=config"),
        "GET", WIRE)),
    ("url-not-verbatim", 400, lambda s: Sent(s.fabric.urls["SharedConfig"] + "&more=1", "GET", WIRE)),
    ("unknown-container", 410, lambda s: Sent(
        s.fabric.urls["SharedConfig"].replace(s.fabric.container, GUID), "GET", WIRE)),
    ("unknown-container", 400, lambda s: Sent(
        s.wire("/machine?comp=health"), "POST", XML, health(s.fabric._replace(container=GUID)))),
    ("unknown-container", 410, lambda s: Sent(
        s.hgap("/vmSettings"), "GET", {**s.plugin, "x-ms-containerid": GUID})),
    ("unknown-instance", 400, lambda s: Sent(
        s.wire("/machine?comp=health"), "POST", XML, health(s.fabric._replace(instance="somebody.else")))),
    ("unknown-incarnation", 400, lambda s: Sent(
        s.wire("/machine?comp=health"), "POST", XML, health(s.fabric._replace(incarnation="99")))),
    ("unknown-incarnation", 400, lambda s: Sent(
        s.fabric.urls["SharedConfig"].replace("incarnation=2", "incarnation=99"), "GET", WIRE)),
    ("unknown-config-name", 410, lambda s: Sent(
        s.hgap("/vmSettings"), "GET", {**s.plugin, "x-ms-host-config-name": "a.b.c"})),
    ("unknown-config-name", 400, lambda s: Sent(s.hgap("/vmAgentLog"), "PUT", {
        **s.plugin, "x-ms-vmagentlog-deploymentid": GUID, "x-ms-client-name": "a", "x-ms-client-version": "1",
        "x-ms-client-correlationid": GUID}, b"PK\x05\x06")),
    ("missing-header", 400, lambda s: Sent(s.hgap("/vmSettings"), "GET", without(s.plugin, "x-ms-containerid"))),
    ("missing-header", 400, lambda s: Sent(s.hgap("/vmSettings"), "GET", without(s.plugin, "x-ms-host-config-name"))),
    ("missing-header", 400, lambda s: Sent(s.hgap("/vmAgentLog"), "PUT", s.plugin, b"PK\x05\x06")),
    ("missing-header", 400, lambda s: Sent(s.fabric.urls["Certificates"], "GET", WIRE)),
    ("transport-certificate", 400, lambda s: Sent(s.fabric.urls["Certificates"], "GET", {**WIRE, **BAD_CERTIFICATE})),
    ("transport-certificate", 400, lambda s: Sent(s.fabric.urls["Certificates"], "GET", {
        **WIRE, "x-ms-guest-agent-public-x509-cert": s.certificate(identifier=False)})),
    ("cipher", 400, lambda s: Sent(s.fabric.urls["Certificates"], "GET", {
        **WIRE, "x-ms-guest-agent-public-x509-cert": s.certificate(), "x-ms-cipher-name": "ROT13"})),
    ("content-type", 415, lambda s: Sent(s.wire("/machine?comp=health"), "POST", {**WIRE, **JSON}, health(s.fabric))),
    ("content-type", 415, post("/HealthService", observations())),
    ("content-type", 415, lambda s: Sent(s.hgap("/status"), "PUT", s.plugin, b"{}")),
    ("content-length", 502, put_status(change=lambda d: d["headers"][0].update(headerValue="1"))),
    ("content-length", 502, put_status(change=lambda d: d.update(headers=d["headers"][1:]))),
    ("health-document", 400, post("/machine?comp=health", b"<Health>")),
    ("health-document", 400, post("/machine?comp=health", b"<Wealth/>")),
    ("health-document", 400, post("/machine?comp=health", b'<!DOCTYPE a [<!ENTITY b "c">]><Health/>')),
    ("health-document", 400, lambda s: Sent(s.wire("/machine?comp=health"), "POST", XML, health(s.fabric, "Fine"))),
    ("health-document", 400, lambda s: Sent(s.wire("/machine?comp=health"), "POST", XML,
                                            health(s.fabric, "NotReady"))),
    ("health-document", 400, lambda s: Sent(s.wire("/machine?comp=health"), "POST", XML,
                                            health(s.fabric, "NotReady", "Sulking"))),
    ("health-document", 400, post("/provisioning/health", b'{"state": "Asleep"}', JSON)),
    ("health-document", 400, post("/provisioning/health", b"[1]", JSON)),
    ("health-size", 400, lambda s: Sent(s.wire("/machine?comp=health"), "POST", XML,
                                        health(s.fabric, "NotReady", "ProvisioningFailed", "ä" * 2049))),
    ("role-properties-document", 400, post("/machine?comp=roleProperties", b"<RoleProperties/>")),
    ("telemetry-document", 400, post("/machine?comp=telemetrydata", b"<TelemetryData version='1.0'/>")),
    ("telemetry-document", 400, post("/machine?comp=telemetrydata", telemetry(("Duration", "x", "mt:uint64")))),
    ("telemetry-document", 400, post("/machine?comp=telemetrydata", telemetry(("OK", "1", "mt:bool")))),
    ("telemetry-document", 400, post("/machine?comp=telemetrydata", telemetry(("OK", "1", "mt:what")))),
    ("telemetry-document", 400, post("/machine?comp=telemetrydata", telemetry(PARAM, provider=""))),
    ("telemetry-size", 400, post("/machine?comp=telemetrydata", telemetry(("Message", "m" * 64512, "mt:wstr")))),
    ("observation", 400, post("/HealthService", observations(Version="2.0"), JSON)),
    ("observation", 400, post("/HealthService", observations(Observations=[{}]), JSON)),
    ("observation", 400, post("/HealthService", observations(Observations=[
        {"ObservationName": "GuestAgentPluginMood", "IsHealthy": True}]), JSON)),
    ("observation", 400, post("/HealthService", observations(Observations=[
        {"ObservationName": "GuestAgentPluginStatus", "IsHealthy": True, "Value": "v" * 129}]), JSON)),
    ("observation", 400, post("/HealthService", observations(Observations=[
        {"ObservationName": "GuestAgentPluginStatus", "IsHealthy": True}] * 11), JSON)),
    ("observation", 400, post("/HealthService", b"{", JSON)),
    ("status-request", 400, lambda s: Sent(s.hgap("/status"), "PUT", {**s.plugin, **JSON}, b"{")),
    ("status-request", 400, put_status(change=lambda d: d.pop("requestUri"), content=b"{}")),
    ("status-request", 400, put_status(change=lambda d: d["headers"][0].update(headerValue=58))),
    ("status-request", 400, put_status(change=lambda d: d.update(content="not base64!"))),
    ("status-request", 400, put_status(change=lambda d: d.update(requestUri="status"))),
    ("status-document", 200, document(lambda d: d.update(version="1.0"))),
    ("status-document", 200, document(lambda d: d.update(timestampUTC="now"))),
    ("status-document", 200, document(lambda d: d["aggregateStatus"]["guestAgentStatus"].update(status="Fine"))),
    ("status-document", 200, document(lambda d: d["aggregateStatus"].pop("handlerAggregateStatus"))),
    ("status-document", 200, document(
        lambda d: d["aggregateStatus"]["handlerAggregateStatus"][0].pop("handlerVersion"))),
    ("status-document", 200, document(
        lambda d: d["aggregateStatus"]["handlerAggregateStatus"][0]["runtimeSettingsStatus"]["settingsStatus"][
            "status"].update(status="fine"))),
    ("status-document", 200, put_status(content=b"\xff\xfe not UTF-8")),
    ("agent-log", 400, lambda s: Sent(s.hgap("/vmAgentLog"), "PUT", {
        **s.plugin, "x-ms-vmagentlog-deploymentid": s.machine.deployment_id, "x-ms-client-name": "a",
        "x-ms-client-version": "1", "x-ms-client-correlationid": GUID}, b"not a zip")),
    ("artifact-location", 400, lambda s: Sent(s.hgap("/extensionArtifact"), "GET", s.plugin)),
    ("artifact-location", 400, lambda s: Sent(s.hgap("/extensionArtifact"), "GET",
                                              {**s.plugin, "x-ms-artifact-location": "/relative"})),
    ("imds-header", 400, lambda s: Sent(s.imds("/metadata/instance?api-version=2018-02-01"))),
    ("imds-header", 400, lambda s: Sent(s.imds("/metadata/instance?api-version=2018-02-01"), "GET",
                                        {"Metadata": "true", "X-Forwarded-For": "1.2.3.4"})),
    ("imds-version", 400, lambda s: Sent(s.imds("/metadata/instance"), "GET", {"Metadata": "true"})),
    ("imds-version", 400, lambda s: Sent(s.imds("/metadata/instance?api-version=1999-01-01"), "GET",
                                         {"Metadata": "true"})),
    ("sas", 403, lambda s: Sent(s.status_url.replace("sig=", "sig=A"), "PUT", STORAGE, b"{}")),
    ("sas", 403, lambda s: Sent(s.status_url, "GET")),
    ("sas", 403, lambda s: Sent(s.profile_url.replace("sp=r", "sp=w"), "GET")),
    ("sas", 403, lambda s: Sent(s.profile_url, "PUT", STORAGE, b"{}")),
    ("sas", 403, lambda s: Sent(s.sim.blob_url + "/primary/packages/x", "PUT", STORAGE, b"{}")),
    ("sas", 502, put_status(uri=lambda s: s.status_url.partition("?")[0])),
    ("storage-header", 400, lambda s: Sent(s.status_url, "PUT", without(STORAGE, "x-ms-blob-type"), b"{}")),
    ("storage-header", 400, lambda s: Sent(s.status_url, "PUT", {**STORAGE, "x-ms-blob-type": "Heap"}, b"{}")),
    ("storage-header", 400, lambda s: Sent(s.status_url + "&comp=block", "PUT", STORAGE, b"{}")),
    ("storage-version", 400, lambda s: Sent(s.status_url, "PUT", without(STORAGE, "x-ms-version"), b"{}")),
    ("blob-type", 409, lambda s: Sent(s.status_url, "PUT", {
        **STORAGE, "x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "512"}, b"")),
    ("blob-type", 404, lambda s: Sent(s.status_url + "&comp=page", "PUT", {
        "x-ms-version": "2014-02-14", "x-ms-range": "bytes=0-511", "x-ms-page-write": "update"}, b" " * 512)),
    ("secret", 200, lambda s: Sent(s.wire("/machine?comp=health"), "POST", XML,
                                   health(s.fabric, "NotReady", "ProvisioningFailed", "cannot set hunter22!"))),
    ("secret", 200, post("/machine?comp=telemetrydata",
                         telemetry(("Message", "GET https://a.example/b?sv=1&sig=c2lnbmF0dXJl", "mt:wstr")))),
    ("secret", 200, document(lambda d: d["aggregateStatus"]["guestAgentStatus"].update(
        formattedMessage={"lang": "en-US", "message": "hunter22!"}))),
]


@pytest.mark.wire("11/refusals")
@pytest.mark.parametrize("rule, status, make", CASES, ids=[f"{rule}-{index}" for index, (rule, *_) in enumerate(CASES)])
def test_broken_rules_are_refused_and_recorded(scene, rule, status, make):
    sent = make(scene)
    answer = ask(sent.url, sent.method, sent.headers, sent.body)
    assert answer.status == status, answer
    assert [one.rule for one in scene.sim.violations] == [rule], list(scene.sim.violations)
    record = scene.sim.requests[-1]
    assert record.rules == (rule,)
    assert scene.sim.violations[0].request_number == record.number
    assert scene.machine.reports.provisioning_state in ("Creating", "Failed")


def raw(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while True:
            piece = connection.recv(65536)
            if not piece:
                return answer
            answer += piece


@pytest.mark.wire("11/refusals")
@pytest.mark.parametrize("text, status", [
    (b"GET /machine/?comp=goalstate HTTP/1.1\r\nx-ms-version: 2012-11-30\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"GET /machine HTTP/1.1\r\nno colon here\r\n\r\n", 400),
    (b"PUT /status HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n", 400),
    (b"PUT /status HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n", 413),
    (b"GET /" + b"a" * 70000, 431),
])
def test_what_is_no_http_is_refused(scene, text, status):
    answer = raw(scene.sim.wire_port, text)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert [one.rule for one in scene.sim.violations] == ["http"]


@pytest.mark.wire("11/no-proxy")
def test_an_absolute_target_came_through_a_proxy(scene):
    answer = raw(scene.sim.wire_port, b"GET http://168.63.129.16/machine/?comp=goalstate HTTP/1.1\r\nHost: a\r\n"
                 b"x-ms-version: 2012-11-30\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [one.rule for one in scene.sim.violations] == ["proxy"]


@pytest.mark.wire("11/storage")
def test_page_writes_are_checked(scene):
    scene.machine.status_blob_type = "PageBlob"
    scene.machine.touch()
    common = {"x-ms-version": "2014-02-14"}
    bad = ask(scene.status_url, "PUT", {**common, "x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "600"}, b"")
    assert bad.status == 400
    assert ask(scene.status_url, "PUT", {**common, "x-ms-blob-type": "PageBlob",
                                         "x-ms-blob-content-length": "1024"}, b"").status == 201
    for span, size in (("0-599", 600), ("512-1535", 1024), ("0-511", 100)):
        answer = ask(f"{scene.status_url}&comp=page", "PUT", {
            **common, "x-ms-page-write": "update", "x-ms-range": f"bytes={span}"}, b" " * size)
        assert answer.status in (400, 416)
    assert [one.rule for one in scene.sim.violations] == ["page-alignment", "page-alignment", "page-alignment",
                                                          "content-length"]


@pytest.mark.wire("11/wire-server")
def test_telemetry_is_throttled(scene):
    answers = [ask(scene.wire("/machine?comp=telemetrydata"), "POST", XML, telemetry(PARAM)).status
               for _ in range(16)]
    assert answers == [200] * 15 + [429]
    assert [one.rule for one in scene.sim.violations] == ["telemetry-rate"]


@pytest.mark.wire("11/refusals")
def test_every_rule_has_a_case():
    elsewhere = {"http", "page-alignment", "telemetry-rate"}
    assert {rule for rule, *_ in CASES} | elsewhere == set(RULES)


# --- refusals that are nobody's fault ----------------------------------------------------------------------------

@pytest.mark.wire("11/host-plugin", "11/faults.move")
def test_after_a_move_the_old_container_is_gone_without_a_violation(scene):
    scene.machine.move()
    assert ask(scene.hgap("/vmSettings"), headers=scene.plugin).status == 410
    assert ask(scene.fabric.urls["SharedConfig"], headers=WIRE).status == 410
    assert ask(scene.wire("/machine?comp=health"), "POST", XML, health(scene.fabric)).status == 410
    new = goal_state(scene.sim)
    mixed = {**plugin_headers(new), "x-ms-host-config-name": scene.fabric.config_name}
    assert ask(scene.hgap("/vmSettings"), headers=mixed).status == 410
    assert ask(scene.hgap("/vmSettings"), headers=plugin_headers(new)).status == 200
    assert not scene.sim.violations


@pytest.mark.wire("11/refusals")
def test_a_superseded_incarnation_is_gone_but_may_be_reported_for_a_while(scene):
    scene.machine.publish()
    assert ask(scene.fabric.urls["SharedConfig"], headers=WIRE).status == 410
    assert ask(scene.wire("/machine?comp=health"), "POST", XML, health(scene.fabric)).status == 200
    scene.machine.superseded[2] = time.time() - 3600
    assert ask(scene.wire("/machine?comp=health"), "POST", XML, health(scene.fabric)).status == 410
    assert not scene.sim.violations


@pytest.mark.wire("10/goal-state")
def test_decoded_escapes_are_served_as_cloud_init_sends_them(scene):
    url = scene.fabric.urls["SharedConfig"].replace("%2D", "-").replace("%5F", "_")
    assert ask(url, headers=WIRE).status == 200
    assert not scene.sim.violations


@pytest.mark.wire("11/storage")
def test_an_expired_signature_is_refused_without_a_violation(scene):
    scene.machine.sas_expires = "2020-01-01T00:00:00Z"
    scene.machine.touch()
    answer = ask(scene.machine.status_url(scene.sim.blob_url), "PUT", STORAGE, b"{}")
    assert answer.status == 403
    assert b"<Code>AuthenticationFailed</Code>" in answer.body
    assert not scene.sim.violations


@pytest.mark.wire("11/storage")
def test_content_is_not_taken_from_a_refused_upload(scene):
    answer = ask(scene.status_url.replace("sig=", "sig=A"), "PUT", STORAGE, json.dumps(status_document()).encode())
    assert answer.status == 403
    assert scene.machine.reports.status is None


# --- which machine -----------------------------------------------------------------------------------------------

@pytest.mark.wire("11/machines")
def test_machines_are_told_apart_by_container_and_by_address(scene):
    two = scene.sim.machine("vm02", addresses=["127.0.0.2"])
    three = scene.sim.machine("vm03", addresses=["127.0.0.3"])
    found = {source: goal_state(scene.sim, source=source).container for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3")}
    assert found == {"127.0.0.1": scene.machine.container_id, "127.0.0.2": two.container_id,
                     "127.0.0.3": three.container_id}
    third = goal_state(scene.sim, source="127.0.0.3")
    # The container id in the body counts, wherever the request comes from.
    assert ask(scene.wire("/machine?comp=health"), "POST", XML, health(third)).status == 200
    assert three.reports.provisioning_state == "Ready"
    assert scene.machine.reports.provisioning_state == two.reports.provisioning_state == "Creating"
    assert ask(third.urls["SharedConfig"], headers=WIRE).status == 200
    assert scene.sim.requests[-1].machine == "vm03"
    assert two.tenant_certificate == three.tenant_certificate  # shared_certificate
    assert not scene.sim.violations


@pytest.mark.wire("11/machines")
def test_without_any_machine_the_fabric_has_nothing_to_say():
    with Simulator() as sim:
        assert ask(f"{sim.wire_url}/machine/?comp=goalstate", headers=WIRE).status == 410
        assert ask(f"{sim.wire_url}/?comp=versions").status == 200
        assert not sim.violations


@pytest.mark.wire("11/record")
def test_the_record_keeps_requests_as_they_came(scene):
    body = block_upload(scene.status_url, json.dumps(status_document()).encode())
    ask(scene.hgap("/status"), "PUT", {**scene.plugin, **JSON, "User-Agent": "Test/1"}, body)
    record = scene.sim.requests[-1]
    assert (record.service, record.method, record.target, record.status) == ("host_plugin", "PUT", "/status", 200)
    assert record.headers["user-agent"] == "Test/1"
    assert base64.b64decode(json.loads(record.body)["content"]) == json.dumps(status_document()).encode()
    assert scene.sim.requests.select(method="PUT", service="host_plugin", machine="vm01") == [record]
