"""Every request as it is sent, header by header, and every answer to it (wire-protocol 1.4, 1.5, 2, 3, 4, 5)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.protocol.simulator_client import telemetry
from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricError, FabricRejected, FabricUnreachable, WaagentError
from waagent.fabric import blobs, health, imds
from waagent.fabric.poll import Known, put_status
from waagent.fabric.retry import Policy

EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}
USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}
LOG = b"PK\5\6" + bytes(18)
STAMP = "2026-11-23T09:16:12Z"
ONE_TRY = Policy(attempts=1, throttled_attempts=1)

GENERAL = {"host", "user-agent", "content-length"}
OF_REQUESTS = {"accept", "accept-encoding", "connection"}  # what the library of that name adds on the way to storage
GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"
WIRE = {"x-ms-agent-name": "WALinuxAgent", "x-ms-version": "2012-11-30"}


class Scene(NamedTuple):
    talk: Talk
    sim: Any
    vm: Any

    @property
    def known(self) -> Known:
        return self.talk.known()

    @property
    def plugin(self) -> dict[str, str]:
        return {
            "x-ms-version": "2015-09-01",
            "x-ms-containerid": self.vm.container_id,
            "x-ms-host-config-name": self.vm.config_name,
        }

    @property
    def transport(self) -> dict[str, str]:
        lines = self.talk.system.read_text(f"{LIB}/TransportCert.pem").splitlines()
        one_line = "".join(line for line in lines if "----" not in line)
        return {**WIRE, "x-ms-guest-agent-public-x509-cert": one_line, "x-ms-cipher-name": "AES128_CBC"}

    def place(self, comp: str) -> str:
        escaped = self.vm.instance_id.replace("-", "%2D").replace("_", "%5F")
        return f"/machine/{self.vm.container_id}/{escaped}?comp={comp}&incarnation={self.vm.incarnation}"

    @property
    def status_target(self) -> str:
        return self.known.status_blob.replace(f"http://127.0.0.1:{self.sim.wire_port}", "")

    def fetch(self) -> None:
        self.talk.session.update(force=True)

    def file(self) -> str:
        return str(self.sim.put_file("x", b"x"))

    def metadata(self) -> str:
        return f"127.0.0.1:{self.sim.imds_port}"


@pytest.fixture
def scene(talk: Talk, sim: Any, vm: Any) -> Scene:
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    talk.session.update()
    sim.requests.clear()
    return Scene(talk, sim, vm)


class Sent(NamedTuple):
    rows: str  # of docs/fabric-coverage.md
    act: Callable[[Scene], object]
    which: str  # part of the target, by which the request is found among those that `act` made
    target: Callable[[Scene], str]
    headers: Callable[[Scene], dict[str, str]]
    method: str = "GET"
    body: Callable[[Scene], bytes] | None = None


def same(target: str) -> str:
    """The library on the way to storage writes %3A for %3a, which is the same."""
    return re.sub("%[0-9a-f]{2}", lambda found: found[0].upper(), target)


def goal(scene: Scene) -> Any:
    return scene.talk.wire.goal_state()


def described(kind: str) -> Callable[[Scene], object]:
    return lambda s: blobs.upload(s.talk.internet, STAMP, s.known.status_blob, kind, b"{}" * 650)


def document(comp: str) -> Callable[[Scene], str]:
    return lambda s: s.place(comp)


STATUS = b'{"version": "1.1"}'
XML = {**WIRE, "content-type": "text/xml;charset=utf-8"}
STORAGE = {"x-ms-version": "2014-02-14", "x-ms-date": STAMP}
OBSERVATIONS = health.observations([health.observation("GuestAgentPluginHeartbeat", healthy=True)])
EVENTS = telemetry(("Message", "m", "mt:wstr"))

REQUESTS: dict[str, Sent] = {
    "versions": Sent(
        "1.4/request 1.4/headers 1.5/versions", lambda s: s.talk.wire.check_version(), "comp=versions",
        lambda s: "/?comp=versions", lambda s: {},
    ),
    "goal state": Sent("2.1/request 2.1/headers 1.5/documents 0.1/wire-server", goal, "goalstate",
                       lambda s: "/machine/?comp=goalstate", lambda s: WIRE),
    "goal state of the watcher": Sent("2.1/request 2.1/headers", lambda s: s.talk.poll(s.known), "goalstate",
                                      lambda s: "/machine/?comp=goalstate", lambda s: WIRE),
    "extensions": Sent("1.5/documents 2.7/document", Scene.fetch, "extensionsConfig",
                       document("config&type=extensionsConfig"), lambda s: WIRE),
    "hosting environment": Sent("1.5/documents 2.5/hosting-environment", Scene.fetch, "hostingEnvironmentConfig",
                                document("config&type=hostingEnvironmentConfig"), lambda s: WIRE),
    "shared config": Sent("1.5/documents 2.5/shared-config", Scene.fetch, "sharedConfig",
                          document("config&type=sharedConfig"), lambda s: WIRE),
    "certificates": Sent(
        "2.6/request 2.6/headers 2.6/x-ms-guest-agent-public-x509-cert 2.6/x-ms-cipher-name 1.5/certificates",
        Scene.fetch, "certificates", document("certificates"), lambda s: s.transport,
    ),
    "remote users": Sent("2.8/request 2.8/headers 1.5/certificates", Scene.fetch, "remoteaccessinfo",
                         document("remoteaccessinfo"), lambda s: s.transport),
    "host plugin's versions": Sent(
        "3.1/request 3.1/headers", lambda s: s.talk.plugin.available(), "/versions", lambda s: "/versions",
        lambda s: {"x-ms-containerid": s.vm.container_id},
    ),
    "host plugin's health": Sent("3.2/health", lambda s: s.talk.plugin.healthy(), "/health", lambda s: "/health",
                                 lambda s: {}),
    "vmSettings": Sent(
        "3.4/request 3.4/headers 3/x-ms-version 3/x-ms-containerid 3/x-ms-host-config-name 0.1/host-plugin",
        lambda s: s.talk.plugin.vm_settings(), "/vmSettings", lambda s: "/vmSettings",
        lambda s: {**s.plugin, "x-ms-client-correlationid": GUID},
    ),
    "vmSettings with an ETag": Sent(
        "3.4/headers", lambda s: s.talk.plugin.vm_settings("18446744073709551616"), "/vmSettings", lambda s: "/vmSettings",
        lambda s: {**s.plugin, "x-ms-client-correlationid": GUID, "if-none-match": "18446744073709551616"},
    ),
    "vmSettings of the watcher": Sent(
        "3.4/request 3.4/headers", lambda s: s.talk.poll(s.known), "/vmSettings", lambda s: "/vmSettings",
        lambda s: {**s.plugin, "x-ms-client-correlationid": GUID, "if-none-match": s.known.etag},
    ),
    "artifact": Sent(
        "3.5/request 3.5/headers 3.5/x-ms-artifact-location", lambda s: s.talk.plugin.artifact(s.file(), limit=1000),
        "/extensionArtifact", lambda s: "/extensionArtifact", lambda s: {**s.plugin, "x-ms-artifact-location": s.file()},
    ),
    "artifact of fast track": Sent(
        "3.5/x-ms-verify-from-artifacts-blob 3.5/x-ms-artifact-manifest-location",
        lambda s: s.talk.plugin.artifact(s.file(), limit=1000, verify=True, manifest_url="https://m.example/?sig=m"),
        "/extensionArtifact", lambda s: "/extensionArtifact",
        lambda s: {
            **s.plugin, "x-ms-artifact-location": s.file(), "x-ms-verify-from-artifacts-blob": "true",
            "x-ms-artifact-manifest-location": "https://m.example/?sig=m",
        },
    ),
    "status": Sent(
        "3.7/request 3.7/headers 3.7/body",
        lambda s: put_status(s.talk.http, s.talk.endpoint, s.known, s.known.status_blob, "BlockBlob", STATUS, STAMP),
        "/status", lambda s: "/status", lambda s: {**s.plugin, "content-type": "application/json"}, "PUT",
        lambda s: json.dumps({
            "requestUri": s.known.status_blob,
            "headers": [
                {"headerName": "Content-Length", "headerValue": str(len(STATUS))},
                {"headerName": "x-ms-blob-type", "headerValue": "BlockBlob"},
                {"headerName": "x-ms-date", "headerValue": STAMP},
                {"headerName": "x-ms-version", "headerValue": "2014-02-14"},
            ],
            "content": base64.b64encode(STATUS).decode(),
        }).encode(),
    ),
    "log": Sent(
        "3.8/request 3.8/headers 3.8/body", lambda s: s.talk.plugin.upload_log(LOG), "/vmAgentLog", lambda s: "/vmAgentLog",
        lambda s: {
            "x-ms-version": "2015-09-01", "x-ms-containerid": s.vm.container_id,
            "x-ms-vmagentlog-deploymentid": s.vm.deployment_id, "x-ms-client-name": "WALinuxAgent",
            "x-ms-client-version": r"\d+\.\d+\S*", "x-ms-client-correlationid": GUID,
        },
        "PUT", lambda s: LOG,
    ),
    "block blob": Sent("4.1/request 4.1/headers 4.1/body 0.1/storage", described("BlockBlob"), "/status/",
                       lambda s: s.status_target, lambda s: {**STORAGE, "x-ms-blob-type": "BlockBlob"}, "PUT",
                       lambda s: b"{}" * 650),
    "health": Sent(
        "5.1/request 5.1/headers 5.1/body 1.5/reports", lambda s: s.talk.wire.report_ready(goal(s)), "comp=health",
        lambda s: "/machine?comp=health", lambda s: XML, "POST",
        lambda s: health.ready(str(s.vm.incarnation), s.vm.container_id, s.vm.instance_id),
    ),
    "role properties": Sent(
        "5.2/request 5.2/headers 1.5/reports", lambda s: s.talk.wire.role_properties(goal(s), [("a", "b")]),
        "comp=roleProperties", lambda s: "/machine?comp=roleProperties", lambda s: XML, "POST",
    ),
    "telemetry": Sent(
        "5.4/request 5.4/headers 1.5/reports", lambda s: s.talk.wire.telemetry(EVENTS), "comp=telemetrydata",
        lambda s: "/machine?comp=telemetrydata", lambda s: XML, "POST", lambda s: EVENTS,
    ),
    "observations": Sent(
        "5.7/request 5.7/headers 1.5/health-service 0.1/health-service",
        lambda s: s.talk.wire.host_observations(OBSERVATIONS), "/HealthService", lambda s: "/HealthService",
        lambda s: {"content-type": "application/json"}, "POST", lambda s: OBSERVATIONS,
    ),
    "metadata": Sent(
        "5.5/requests 5.5/headers 0.1/metadata",
        lambda s: imds.fetch_instance(s.talk.system, s.talk.http, service=s.metadata()), "/metadata/",
        lambda s: "/metadata/instance?api-version=2021-08-01&extended=true", lambda s: {"metadata": "[Tt]rue"},
    ),
    "heartbeat of the metadata": Sent(
        "5.5/requests 5.5/headers 5.6/user-agent", lambda s: imds.probe(s.talk.http, service=s.metadata()), "/metadata/",
        lambda s: "/metadata/instance?api-version=2018-02-01", lambda s: {"metadata": "[Tt]rue"},
    ),
}  # fmt: skip


@pytest.mark.wire("7.1/user-agent", "5.6/user-agent", "7.1/exactly-what-is-asked-for")
@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent(scene: Scene, name: str) -> None:
    wanted = REQUESTS[name]
    expected_headers, target = wanted.headers(scene), wanted.target(scene)
    body = None if wanted.body is None else wanted.body(scene)
    wanted.act(scene)
    record = scene.sim.requests.select(path=wanted.which)[0]
    assert (record.method, record.target) == (wanted.method, same(target) if record.service == "blob" else target)
    general = GENERAL | OF_REQUESTS if record.service == "blob" else GENERAL
    sent = {name: value for name, value in record.headers.items() if name not in general}
    assert sent.keys() == expected_headers.keys()
    for header, value in expected_headers.items():
        assert sent[header] == value or re.fullmatch(value, sent[header]), header
    assert re.fullmatch(r"waagent/\d+\.\d+\S*", record.headers["user-agent"].replace("+health", ""))
    assert record.headers["user-agent"].endswith("+health") == (name == "heartbeat of the metadata")
    if wanted.method != "GET":
        assert record.headers["content-length"] == str(record.body_size)
    if body is not None:
        assert record.body == body
    scene.sim.clear_violations()  # a status and an event of a few bytes are none


@pytest.mark.wire("4.2/create", "4.2/pages")
def test_a_page_blob_is_created_and_then_written(sim: Any, talk: Talk, vm: Any) -> None:
    vm.status_blob_type = "PageBlob"
    vm.publish(extensions=[])
    talk.session.update()
    scene = Scene(talk, sim, vm)
    described("PageBlob")(scene)
    create, pages = sim.requests.select(method="PUT")
    assert create.target == same(scene.status_target)
    assert (create.body, create.headers["content-length"]) == (b"", "0")
    assert {**STORAGE, "x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": "1536"}.items() <= create.headers.items()
    assert pages.target == f"{same(scene.status_target)}&comp=page"
    assert {**STORAGE, "x-ms-range": "bytes=0-1535", "x-ms-page-write": "update", "content-length": "1536"}.items() <= pages.headers.items()
    assert pages.body == b"{}" * 650 + bytes(236)
    sim.clear_violations()


# -- answers ----------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """What becomes of a call whose request is answered with `fault` each time."""

    act: Callable[[Scene], object]
    path: str
    fault: dict[str, Any]
    outcome: object  # what is returned, or the error's class
    tries: int = 1


RESENT = 2  # one attempt: what gets no byte of an answer on a kept connection is sent again on a new one


def fetch_status(scene: Scene) -> object:
    return put_status(scene.talk.http, scene.talk.endpoint, scene.known, scene.known.status_blob, "BlockBlob", STATUS, STAMP)


def hand_status(scene: Scene) -> object:
    return scene.talk.plugin.upload_status(scene.known.status_blob, "BlockBlob", STATUS)


def upload(scene: Scene) -> object:
    return described("BlockBlob")(scene)


def log(scene: Scene) -> object:
    return scene.talk.plugin.upload_log(LOG)


def report(scene: Scene) -> object:
    scene.talk.wire.report_not_ready(goal(scene), health.PROVISIONING, "x", ONE_TRY)
    return None


def roles(scene: Scene) -> object:
    return scene.talk.wire.role_properties(goal(scene), [("a", "b")])


def versions(scene: Scene) -> object:
    return scene.talk.wire.check_version()


def speaks(scene: Scene) -> object:
    return scene.talk.plugin.available()


def remote(scene: Scene) -> object:
    return scene.fetch()


def instance(scene: Scene) -> object:
    return bool(imds.fetch_instance(scene.talk.system, scene.talk.http, service=scene.metadata()))


def each(statuses: tuple[int, ...], act: Callable[[Scene], object], path: str, outcome: object, **more: Any) -> list[Taken]:
    return [Taken(act, path, {"status": status}, outcome, **more) for status in statuses]


GOOD, OTHERS = (200, 201, 202), (204, 302, 400, 404, 409, 410)
LATER = (500, 501, 502, 503, 504, 507, 403, 429)
ANSWERS: dict[str, list[Taken]] = {
    "1.4/success": [Taken(versions, "/?comp=versions", {"content": "bom"}, "2012-11-30")],
    "1.4/action": [
        Taken(versions, "/?comp=versions", {"transform": lambda body: body.replace(b"2015-04-05", b"2012-11-30", 1)}, "2012-11-30"),
        Taken(versions, "/?comp=versions", {"transform": lambda body: body.replace(b"2012-11-30", b"2031-01-01")}, FabricRejected),
        Taken(versions, "/?comp=versions", {"body": "<Versions/>"}, FabricRejected),
    ],
    "1.4/failure": [
        *each(OTHERS, versions, "/?comp=versions", FabricRejected),
        Taken(versions, "/?comp=versions", {"status": 500}, FabricUnreachable, 6),
    ],
    "2.8/failure": each((204, 302, 400, 404, 409, 410), remote, "*comp=remoteaccessinfo*", FabricRejected),
    "3.1/success": [Taken(speaks, "/versions", {"body": '["2014-01-01", "2015-09-01"]'}, True)],
    "3.1/failure": [
        *each((400, 404, 410, 500, 502), speaks, "/versions", False),
        Taken(speaks, "/versions", {"reset": True}, False, RESENT),
        Taken(speaks, "/versions", {"body": '["2014-01-01"]'}, False),
    ],
    "3.7/success": [*each(GOOD, fetch_status, "/status", True), *each(GOOD, hand_status, "/status", True)],
    "3.7/410": [*each((410,), fetch_status, "/status", False), *each((410,), hand_status, "/status", False)],
    "3.7/InvalidContainerConfiguration": [
        Taken(act, "/status", {"answer": "invalid-container"}, FabricRejected) for act in (fetch_status, hand_status)
    ],
    "3.7/failure": [
        *each((204, 302, 400, 403, 404, 409, 429, 500, 502, 503), fetch_status, "/status", FabricRejected),
        *each((204, 302, 400, 403, 404, 409, 429, 500, 502, 503), hand_status, "/status", FabricRejected),
        Taken(fetch_status, "/status", {"reset": True}, FabricUnreachable, RESENT),
        Taken(hand_status, "/status", {"truncate": 0, "body": "xx"}, FabricUnreachable),
    ],
    "3.8/success": each(GOOD, log, "/vmAgentLog", None),
    "3.8/failure": [
        *each(OTHERS, log, "/vmAgentLog", FabricRejected),
        *each((500, 502, 504), log, "/vmAgentLog", FabricUnreachable, tries=6),
    ],
    "4.1/success": [
        *each((201,), upload, "/blob/*", None),
        *each((200, 202, 204, 302, 400, 404, 409, 410), upload, "/blob/*", FabricRejected),
        *each(LATER, upload, "/blob/*", FabricUnreachable),
    ],
    "5.1/success": each(GOOD, report, "/machine?comp=health", None),
    "5.1/failure": [
        *each((204, 302, 404, 409), report, "/machine?comp=health", FabricRejected),
        *each(LATER, report, "/machine?comp=health", FabricUnreachable),
    ],
    "5.2/success": each((202,), roles, "/machine?comp=roleProperties", None),
    "5.2/failure": [
        *each((200, 201, 204, 302, 400, 404, 410), roles, "/machine?comp=roleProperties", FabricRejected),
        *each((500,), roles, "/machine?comp=roleProperties", FabricUnreachable, tries=6),
    ],
    "5.4/success": each(GOOD, lambda s: s.talk.wire.telemetry(EVENTS), "/machine?comp=telemetrydata", None),
    "5.4/failure": [
        *each(OTHERS, lambda s: s.talk.wire.telemetry(EVENTS), "/machine?comp=telemetrydata", FabricRejected),
        *each(LATER, lambda s: s.talk.wire.telemetry(EVENTS), "/machine?comp=telemetrydata", FabricUnreachable, tries=3),
    ],
    "5.7/success": each(GOOD, lambda s: s.talk.wire.host_observations(OBSERVATIONS), "/HealthService", None),
    "5.7/failure": [
        *each(OTHERS, lambda s: s.talk.wire.host_observations(OBSERVATIONS), "/HealthService", FabricRejected),
        *each(LATER, lambda s: s.talk.wire.host_observations(OBSERVATIONS), "/HealthService", FabricUnreachable),
    ],
    "5.5/success": [
        Taken(instance, "/metadata/*", {"body": "[]"}, FabricError),
        *each((201, 202, 204, 302), instance, "/metadata/*", FabricRejected),
    ],
    "7.3/vmSettings": each(
        (400, 403, 429, 500, 502, 503, 504), lambda s: s.talk.plugin.vm_settings(), "/vmSettings", FabricError
    ),
    "7.3/plugin-health": each((400, 404, 500, 502, 503), lambda s: s.talk.plugin.healthy(), "/health", False),
    "7.3/logs": each((500,), log, "/vmAgentLog", FabricUnreachable, tries=6),
}  # fmt: skip


@pytest.mark.parametrize("row", ANSWERS)
def test_how_answers_are_taken(scene: Scene, row: str) -> None:
    for case in ANSWERS[row]:
        scene.sim.clear_faults()
        fault = scene.sim.fault(case.path, **case.fault)
        if isinstance(case.outcome, type) and issubclass(case.outcome, WaagentError):
            with pytest.raises(case.outcome) as raised:
                case.act(scene)
            assert "sig=" not in str(raised.value), case
            assert str(case.fault.get("status", "")) in str(raised.value), case
        else:
            assert case.act(scene) == case.outcome, case
        assert fault.met == case.tries, case
    scene.sim.clear_violations()


# -- vmSettings, whose every answer means something of its own ------------------------------------------------------


class Meaning(NamedTuple):
    fault: dict[str, Any]
    poll: tuple[str, ...]  # what has changed, as the watcher sees it
    fails: bool  # and whether it tells an error
    version: str  # of the extension that the worker wants afterwards; 1.9.1 was published last, 1.9.0 is known
    later: bool = False  # nobody asks for six hours


CHANGED = ("vm-settings",)
VM_SETTINGS: dict[str, list[Meaning]] = {
    "3.4/200": [
        Meaning({}, CHANGED, fails=False, version="1.9.1"),
        Meaning({"status": 200, "body": '{"hostGAPluginVersion": "1.0.8.161"}'}, (), fails=True, version="1.9.0"),  # no ETag
    ],
    "3.4/304": [Meaning({"status": 304}, (), fails=False, version="1.9.0")],
    "3.4/404": [Meaning({"status": 404}, (), fails=False, version="1.9.0", later=True)],
    "3.4/410": [
        Meaning({"answer": "stale", "count": 1}, CHANGED, fails=False, version="1.9.1"),
        Meaning({"answer": "stale"}, (), fails=True, version="1.9.0"),
    ],
    "3.4/4xx": [Meaning({"status": status}, (), fails=True, version="1.9.0") for status in (400, 401, 403, 409, 429)]
    + [Meaning({"answer": "invalid-container"}, (), fails=True, version="1.9.0")],
    "3.4/5xx": [Meaning({"status": status}, (), fails=True, version="1.9.0") for status in (500, 502, 503)],
    "3.4/other": [Meaning({"status": status}, (), fails=True, version="1.9.0") for status in (201, 202, 204, 302)],
    "3.4/no-answer": [
        Meaning(fault, (), fails=True, version="1.9.0") for fault in ({"reset": True}, {"truncate": 40}, {"garbage": 40})
    ],
    "3.4/parse-failure": [
        Meaning({"content": content}, (), fails=True, version="1.9.0") for content in ("empty", "cut-xml")
    ],
    "3/502": [Meaning({"answer": "upstream"}, (), fails=True, version="1.9.0")],
}


@pytest.mark.wire("3.4/attempts")
@pytest.mark.parametrize("row", VM_SETTINGS)
def test_answers_to_vm_settings(talk: Talk, sim: Any, vm: Any, row: str) -> None:
    for meaning in VM_SETTINGS[row]:
        sim.clear_faults()
        vm.publish(extensions=[{**EXTENSION, "version": "1.9.0"}])
        vm.publish(extensions=[{**EXTENSION, "version": "1.9.0"}], source="fasttrack")
        talk.session.update(force=True)
        vm.publish(extensions=[EXTENSION], source="fasttrack")
        fault = sim.fault("/vmSettings", **meaning.fault)
        polled = talk.poll(talk.known())
        if "garbage" not in meaning.fault:
            assert (polled.changed, bool(polled.errors)) == (meaning.poll, meaning.fails), meaning
        assert (polled.known.ask_vm_settings_at > 1000) == meaning.later
        asked = fault.met
        assert asked <= 2, meaning
        if "count" in meaning.fault:
            fault = sim.fault("/vmSettings", **meaning.fault)
        _, state = talk.session.update()
        assert state.desired is not None
        assert state.desired.handlers[0].version == meaning.version, meaning
        assert all("sig=" not in note for note in talk.notes)


# -- the host plugin's ways of saying no ----------------------------------------------------------------------------


ARTIFACT = {
    "3/410": ({"answer": "stale", "count": 1}, 2, None),
    "3/InvalidContainerConfiguration": ({"answer": "invalid-container", "count": 1}, 2, None),
    "3/stale-twice": ({"answer": "stale"}, 2, FabricRejected),
    "3/5xx": ({"status": 500}, 1, FabricUnreachable),
    "3.5/success": ({}, 1, None),
    "3.5/failure": ({"status": 400}, 1, FabricUnreachable),  # its cache is at fault: a later attempt may help
    "7.3/400-of-the-cache": ({"status": 400}, 1, FabricUnreachable),
    "7.3/InvalidContainerConfiguration": ({"answer": "invalid-container", "count": 1}, 2, None),
}


@pytest.mark.parametrize("row", ARTIFACT)
def test_answers_to_a_request_for_an_artifact(scene: Scene, row: str) -> None:
    fault, requests, error = ARTIFACT[row]
    url = scene.file()
    scene.sim.fault("/extensionArtifact", **fault)
    before = len(scene.sim.requests.select(path="goalstate"))
    if error is None:
        assert scene.talk.plugin.artifact(url, limit=1000).body == b"x"
    else:
        with pytest.raises(error):
            scene.talk.plugin.artifact(url, limit=1000)
    assert len(scene.sim.requests.select(path="/extensionArtifact")) == requests
    refreshed = len(scene.sim.requests.select(path="goalstate")) - before
    assert refreshed == requests - 1  # one GET of the goal state, not all its documents
