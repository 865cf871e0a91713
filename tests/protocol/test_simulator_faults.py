"""Injected faults: what a client gets, how often, and that the record says so."""
from __future__ import annotations

import http.client
import json
import random
import socket
import time
import xml.etree.ElementTree as ElementTree

import pytest

from waagent.simulator import Simulator, SimulatorError

from .simulator_client import WIRE, XML, ask, goal_state, health, plugin_headers, transport

GOAL_STATE = "/machine/?comp=goalstate"


pytestmark = pytest.mark.usefixtures("vm")


def goal(sim):
    return ask(f"{sim.wire_url}{GOAL_STATE}", headers=WIRE, timeout=3)


@pytest.mark.wire("11/faults")
def test_status_count_and_after(sim):
    fault = sim.fault(GOAL_STATE, status=503, count=2, after=1, headers={"Retry-After": "7"}, body="busy")
    answers = [goal(sim) for _ in range(4)]
    assert [one.status for one in answers] == [200, 503, 503, 200]
    assert (answers[1].body, answers[1].headers["retry-after"]) == (b"busy", "7")
    assert (fault.met, fault.spent) == (2, True)
    assert [one.fault for one in sim.requests] == ["", "fault 1: status 503", "fault 1: status 503", ""]


@pytest.mark.wire("11/faults")
def test_probability(sim):
    random.seed(7)
    sim.fault(GOAL_STATE, status=500, probability=0.3)
    answers = [goal(sim).status for _ in range(100)]
    assert 15 <= answers.count(500) <= 45


@pytest.mark.wire("11/faults")
@pytest.mark.parametrize("path, meets", [
    (GOAL_STATE, True), ("/machine/", True), ("*goalstate", True), ("/machine/*", True), ("*", True),
    ("/machine/Xcomp=goalstate", False), ("/vmSettings", False), ("/machine/?comp=goal", False)])
def test_paths_are_shell_patterns_and_a_question_mark_is_one(sim, path, meets):
    sim.fault(path, status=500)
    assert goal(sim).status == (500 if meets else 200)


@pytest.mark.wire("11/faults")
def test_method_service_and_machine(sim):
    sim.machine("vm02", addresses=["127.0.0.2"])
    sim.fault(GOAL_STATE, machine="vm02", status=500)
    sim.fault("*", service="host_plugin", method="PUT", status=501)
    assert goal(sim).status == 200
    assert ask(f"{sim.wire_url}{GOAL_STATE}", headers=WIRE, source="127.0.0.2").status == 500
    assert ask(f"{sim.plugin_url}/health").status == 200
    assert ask(f"{sim.plugin_url}/status", "PUT", body=b"{}").status == 501


def test_the_direct_way_can_be_dead_while_the_host_works(sim):
    url = sim.put_file("x", b"content")
    sim.fault("*", service="blob", reset=True)
    with pytest.raises(ConnectionResetError):
        ask(url)
    answer = ask(f"{sim.plugin_url}/extensionArtifact",
                 headers=plugin_headers(goal_state(sim), **{"x-ms-artifact-location": url}))
    assert answer.body == b"content"


@pytest.mark.wire("11/faults.slow")
def test_delay(sim):
    sim.fault(GOAL_STATE, delay=0.3, count=1)
    start = time.monotonic()
    assert goal(sim).status == 200
    assert time.monotonic() - start >= 0.3
    start = time.monotonic()
    goal(sim)
    assert time.monotonic() - start < 0.3


def test_a_delay_holds_up_nobody_else(sim):
    sim.fault(GOAL_STATE, delay=2, count=1)
    with socket.create_connection(("127.0.0.1", sim.wire_port)) as slow:
        slow.sendall(f"GET {GOAL_STATE} HTTP/1.1\r\nHost: a\r\nx-ms-version: 2012-11-30\r\n\r\n".encode())
        start = time.monotonic()
        assert goal(sim).status == 200
        assert time.monotonic() - start < 1


@pytest.mark.wire("11/faults.truncated")
@pytest.mark.parametrize("cut", [0, 10, -1])
def test_truncation_announces_more_than_it_sends(sim, cut):
    sim.fault(GOAL_STATE, truncate=cut)
    with pytest.raises(http.client.IncompleteRead) as caught:
        goal(sim)
    whole = len(sim.default_machine.goal_state_document(sim.wire_url))
    assert len(caught.value.partial) == (cut if cut >= 0 else whole + cut)


def test_reset_and_silence(sim):
    sim.fault(GOAL_STATE, reset=True, count=1)
    sim.fault(GOAL_STATE, silent=True, count=1)
    with pytest.raises(ConnectionResetError):
        goal(sim)
    with pytest.raises(http.client.RemoteDisconnected):
        goal(sim)
    assert [one.status for one in sim.requests] == [0, 0]
    assert goal(sim).status == 200


def test_garbage_drip_and_an_answer_that_never_ends(sim):
    sim.fault(GOAL_STATE, garbage=333, count=1)
    assert len(goal(sim).body) == 333
    sim.fault("/health", body="slow", drip=0.001, count=1)
    assert ask(f"{sim.plugin_url}/health").body == b"slow"
    sim.fault(GOAL_STATE, endless=True)
    with socket.create_connection(("127.0.0.1", sim.wire_port), timeout=3) as client:
        client.sendall(f"GET {GOAL_STATE} HTTP/1.1\r\nHost: a\r\nx-ms-version: 2012-11-30\r\n\r\n".encode())
        received = 0
        while received < 300_000:
            received += len(client.recv(65536))
    sim.clear_faults()
    assert goal(sim).status == 200


@pytest.mark.wire("11/faults")
def test_a_lost_confirmation(sim):
    """The report was taken, but the client hears of a failure."""
    fabric = goal_state(sim)
    sim.fault("/machine", method="POST", status=500, processed=True, count=1)
    assert ask(f"{sim.wire_url}/machine?comp=health", "POST", XML, health(fabric)).status == 500
    assert sim.default_machine.reports.provisioning_state == "Ready"
    sim.fault("/machine", method="POST", status=500, count=1)
    assert ask(f"{sim.wire_url}/machine?comp=health", "POST", XML, health(fabric)).status == 500
    assert len(sim.default_machine.reports.health) == 1


@pytest.mark.wire("11/faults.invalid-container", "11/faults.upstream", "11/faults.bursts")
@pytest.mark.parametrize("answer, status, text", [
    ("invalid-container", 400, "InvalidContainerConfiguration"), ("stale", 410, "RequestRoleConfigFileNotFound"),
    ("throttled", 429, ""), ("upstream", 502, "UpstreamFailure")])
def test_named_answers(sim, answer, status, text):
    sim.fault("/vmSettings", answer=answer)
    got = ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(goal_state(sim)))
    assert got.status == status
    assert text.encode() in got.body


def parses(body: bytes) -> bool:
    try:
        ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return False
    return True


@pytest.mark.wire("11/faults.no-role-instance", "11/faults.bom")
@pytest.mark.parametrize("content, check", [
    ("bom", lambda body: body.startswith(b"\xef\xbb\xbf<?xml") and parses(body)),
    ("empty", lambda body: body == b""),
    ("no-role-instance", lambda body: parses(body) and b"ContainerId" in body and b"RoleInstance>" not in body),
    ("no-extensions-config", lambda body: parses(body) and b"<ExtensionsConfig>" not in body),
    ("no-certificates", lambda body: parses(body) and b"<Certificates>" not in body),
    ("cut-xml", lambda body: not parses(body)),
    ("doctype", lambda body: b"<!ENTITY" in body and parses(body)),
    ("nul-padding", lambda body: len(body) % 512 == 0 and body.endswith(b"\x00")),
    ("deep", lambda body: body.startswith(b"<a><a>")),
])
def test_spoilt_goal_states(sim, content, check):
    sim.fault(GOAL_STATE, content=content, count=1)
    answer = goal(sim)
    assert answer.status == 200
    assert check(answer.body)
    assert parses(goal(sim).body)


@pytest.mark.wire("11/faults.no-data", "11/faults.other-format", "11/faults.no-status-url", "11/faults.mixed-case")
def test_spoilt_certificates_settings_and_status_blob(sim, tmp_path):
    _, _, header = transport(tmp_path)
    fabric = goal_state(sim)
    headers = {**WIRE, "x-ms-guest-agent-public-x509-cert": header}
    sim.fault("*comp=certificates*", content="no-data", count=1)
    sim.fault("*comp=certificates*", content="other-format", count=1)
    first, second = (ask(fabric.urls["Certificates"], headers=headers).xml for _ in range(2))
    assert (first.find("Data"), first.findtext("Format")) == (None, "Pkcs7BlobWithPfxContents")
    assert second.findtext("Format") == "CertificatesNonPfxPackage"
    sim.fault("*type=extensionsConfig*", content="no-status-blob")
    assert ask(fabric.urls["ExtensionsConfig"], headers=WIRE).xml.find("StatusUploadBlob") is None
    sim.fault("/vmSettings", content="mixed-case")
    settings = ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(fabric)).json()
    assert "StatusUploadBlob" in settings
    assert {key.lower() for key in settings} >= {"hostgapluginversion", "extensiongoalstates"}


def test_a_transformation_of_ones_own(sim):
    sim.fault(GOAL_STATE, transform=lambda body: body.replace(b"Started", b"Stopped"))
    assert b"<ExpectedState>Stopped" in goal(sim).body


def test_faults_are_tried_in_order_and_can_be_cleared(sim):
    first = sim.fault(GOAL_STATE, status=500)
    sim.fault(GOAL_STATE, status=501)
    assert goal(sim).status == 500
    assert sim.clear_faults(first.number) == 1
    assert goal(sim).status == 501
    assert sim.clear_faults() == 1
    assert goal(sim).status == 200


@pytest.mark.parametrize("given, text", [
    ({"content": "nonsense"}, "fault content 'nonsense' is unknown"), ({"answer": "x"}, "fault answer 'x' is unknown"),
    ({"probability": 2}, "expected 0 to 1"), ({"colour": "red"}, "fault has no field colour")])
def test_mistakes_in_a_fault(sim, given, text):
    with pytest.raises(SimulatorError, match=text):
        sim.fault("/x", **given)


@pytest.mark.wire("11/state")
def test_faults_and_their_counts_survive_a_restart(certificate, tmp_path):
    state = tmp_path / "state"
    with Simulator(shared_certificate=certificate, state=state) as sim:
        sim.machine("vm01")
        sim.fault(GOAL_STATE, status=503, count=2)
        sim.fault("/gone", status=500)
        sim.clear_faults(2)
        assert goal(sim).status == 503
    with Simulator(shared_certificate=certificate, state=state) as sim:
        assert [one.number for one in sim.faults] == [1]
        assert [goal(sim).status for _ in range(2)] == [503, 200]
        assert sim.fault("/x", status=500).number == 2


def test_a_state_file_that_is_none(certificate, tmp_path):
    (tmp_path / "state").write_text("this is no database, and longer than a hundred bytes, so that nobody takes it "
                                    "for an empty one. " * 3)
    with pytest.raises(SimulatorError, match=r"cannot use state file .*; start with a new file"):
        Simulator(state=tmp_path / "state")


def test_an_address_that_is_taken(sim):
    with pytest.raises(SimulatorError, match=r"cannot listen on 127\.0\.0\.1: .*another simulator"):
        Simulator(wire_port=sim.wire_port)


# --- connections -------------------------------------------------------------------------------------------------

def test_keep_alive_and_close(sim):
    connection = http.client.HTTPConnection("127.0.0.1", sim.wire_port, timeout=3)
    times = []
    for _ in range(20):
        start = time.monotonic()
        connection.request("GET", GOAL_STATE, headers=WIRE)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Connection") is None
        answer.read()
        times.append(time.monotonic() - start)
    assert sorted(times)[10] < 0.03  # the delayed-acknowledgement pause is 40 ms
    connection.request("GET", GOAL_STATE, headers={**WIRE, "Connection": "close"})
    answer = connection.getresponse()
    assert answer.getheader("Connection") == "close"
    answer.read()
    connection.close()


def test_pipelined_and_chunked_requests(sim):
    body = health(goal_state(sim))
    head = (f"GET {GOAL_STATE} HTTP/1.1\r\nHost: a\r\nx-ms-version: 2012-11-30\r\n\r\n"
            "POST /machine?comp=health HTTP/1.1\r\nHost: a\r\nx-ms-version: 2012-11-30\r\n"
            "Content-Type: text/xml\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 100]), body[at:at + 100])
                      for at in range(0, len(body), 100)) + b"0\r\n\r\n"
    whole = head + chunks
    with socket.create_connection(("127.0.0.1", sim.wire_port), timeout=3) as client:
        for at in range(0, len(whole), 97):
            client.sendall(whole[at:at + 97])
        answer = b""
        while True:
            piece = client.recv(65536)
            if not piece:
                break
            answer += piece
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert sim.default_machine.reports.provisioning_state == "Ready"


def test_expect_continue_and_head(sim):
    url = sim.put_file("big", b"x" * 100000)
    with socket.create_connection(("127.0.0.1", sim.wire_port), timeout=3) as client:
        client.sendall(b"POST /HealthService HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = ask(url, "HEAD")
    assert (answer.headers["content-length"], answer.body) == ("100000", b"")


@pytest.mark.wire("11/listeners")
def test_storage_on_a_port_of_its_own_over_tls(certificate, tmp_path):
    import ssl
    import subprocess
    import urllib.request
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=storage", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)], check=True,
                   capture_output=True)
    with Simulator(shared_certificate=certificate, blob_port=0, blob_tls=(str(cert), str(key))) as sim:
        machine = sim.machine("vm01")
        assert sim.blob_port != sim.wire_port
        settings = ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(goal_state(sim))).json()
        url = settings["statusUploadBlob"]["value"]
        assert url == machine.status_url(sim.blob_url)
        assert url.startswith(f"https://127.0.0.1:{sim.blob_port}/")
        link = sim.put_file("a", b"over tls")
        with urllib.request.urlopen(link, context=ssl.create_default_context(cafile=str(cert))) as answer:
            assert answer.read() == b"over tls"
        assert ask(link.replace("https", "http").replace(str(sim.blob_port), str(sim.wire_port))).status == 404
        sim.clear_violations()


def test_waiting_tells_what_was_seen(sim):
    machine = sim.default_machine
    with pytest.raises(TimeoutError, match=r"vm01 did not report ready within 0\.05 s: provisioning state Creating"):
        machine.wait_for("ready", 0.05)
    ask(f"{sim.wire_url}/machine?comp=health", "POST", XML, health(goal_state(sim)))
    assert machine.wait_for(lambda one: one.reports.health, 1)[0].state == "Ready"
    assert sim.wait_for_request(lambda one: one.method == "POST", 1).path == "/machine"
    assert json.dumps(machine.reports.summary())
