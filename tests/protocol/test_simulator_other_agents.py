"""Other agents on the same wire: what each of them sends, byte for byte, and what it needs of the answer (10)."""
from __future__ import annotations

import base64
import json
import subprocess

import pytest

from .simulator_client import ask, certificates_in, goal_state, health, open_bundle

CLOUD_INIT = {"x-ms-agent-name": "WALinuxAgent", "x-ms-version": "2012-11-30", "User-Agent": "Cloud-Init/25.1"}
AFTERBURN = {"x-ms-agent-name": "com.coreos.afterburn", "x-ms-version": "2012-11-30"}
AZURE_INIT = {"x-ms-guest-agent-name": "azure-init v0.1.1", "User-Agent": "azure-init v0.1.1"}
IMDS = {"Metadata": "true"}


@pytest.fixture
def machine(sim):
    return sim.machine("simvm01", user="simadmin", ssh_keys=["ssh-ed25519 AAAA me"])


@pytest.mark.wire("10/endpoint")
@pytest.mark.parametrize("host", ["168.63.129.16", "10.0.0.1", "127.0.0.1:8080"])
def test_whatever_address_led_to_it_the_urls_follow(sim, machine, host):
    body = ask(f"{sim.wire_url}/machine/?comp=goalstate", headers={**CLOUD_INIT, "Host": host}).body.decode()
    wanted = host if ":" in host else f"{host}:80"
    assert f"<Certificates>http://{wanted}/machine/" in body


@pytest.mark.wire("10/version-check")
def test_afterburn_looks_at_the_supported_versions_only(sim, machine):
    answer = ask(f"{sim.wire_url}/?comp=versions", headers={"x-ms-agent-name": "com.coreos.afterburn"})
    assert "2012-11-30" in [one.text for one in answer.xml.findall("Supported/Version")]


@pytest.mark.wire("10/agent-name", "10/goal-state")
@pytest.mark.parametrize("headers", [CLOUD_INIT, AFTERBURN, {"x-ms-version": "2012-11-30"}, {"x-ms-version": "2015-04-05"}])
def test_any_agent_gets_the_ids_of_the_goal_state(sim, machine, headers):
    answer = ask(f"{sim.wire_url}/machine/?comp=goalstate", headers=headers)
    assert answer.status == 200
    assert answer.xml.findtext("Container/ContainerId") == machine.container_id
    assert answer.xml.findtext("Container/RoleInstanceList/RoleInstance/InstanceId") == machine.instance_id
    assert answer.xml.findtext("Incarnation") == str(machine.incarnation)


@pytest.mark.wire("10/certificates")
def test_cloud_init_s_certificate_of_3072_bits_and_triple_des(sim, machine, tmp_path):
    wrapped = machine.add_ssh_certificate()
    key, certificate = tmp_path / "TransportPrivate.pem", tmp_path / "TransportCert.pem"
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-subj", "/CN=LinuxTransport", "-days", "32768", "-newkey",
                    "rsa:3072", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    header = "".join(line for line in certificate.read_text().splitlines() if "----" not in line)
    answer = ask(goal_state(sim).urls["Certificates"], headers={
        **CLOUD_INIT, "x-ms-cipher-name": "DES_EDE3_CBC", "x-ms-guest-agent-public-x509-cert": header})
    assert answer.status == 200
    assert len(certificates_in(open_bundle(answer, key, certificate))) == 2
    assert wrapped.thumbprint


@pytest.mark.wire("10/health", "10/health-success")
@pytest.mark.parametrize("path, headers, body, status", [
    ("/machine?comp=health", {**CLOUD_INIT, "Content-Type": "text/xml; charset=utf-8"}, None, 200),
    ("/machine/?comp=health", {**AFTERBURN, "Content-Type": "text/xml; charset=utf-8"}, None, 200),
    ("/provisioning/health", {**AZURE_INIT, "Content-Type": "application/json"}, {"state": "Ready"}, 201),
    ("/provisioning/health", {**AZURE_INIT, "Content-Type": "application/json"},
     {"state": "NotReady", "details": {"subStatus": "ProvisioningFailed", "description": "result=error|reason=x"}}, 201),
    ("/provisioning/health", {**AZURE_INIT, "Content-Type": "application/json"},
     {"state": "NotReady", "details": {"subStatus": "Provisioning", "description": "progress"}}, 201),
])
def test_each_reports_in_its_own_way(sim, machine, path, headers, body, status):
    sent = health(goal_state(sim)) if body is None else json.dumps(body).encode()
    assert ask(f"{sim.wire_url}{path}", "POST", headers, sent).status == status
    (report,) = machine.reports.health
    assert report.state == ("Ready" if body is None else body["state"])


@pytest.mark.wire("10/retries")
@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_a_report_that_failed_is_taken_the_next_time(sim, machine, status):
    sim.fault("/provisioning/health", status=status, count=2)
    answers = [ask(f"{sim.wire_url}/provisioning/health", "POST", {**AZURE_INIT, "Content-Type": "application/json"},
                   b'{"state": "Ready"}').status for _ in range(3)]
    assert answers == [status, status, 201]
    assert len(machine.reports.health) == 1


@pytest.mark.wire("10/imds")
@pytest.mark.parametrize("target, wanted", [
    ("instance?api-version=2021-08-01&extended=true", {"osProfile", "publicKeys", "userData"}),
    ("instance?api-version=2023-11-15&extended=true", {"osProfile", "publicKeys", "userData"}),
    ("instance?api-version=2019-06-01", {"publicKeys"}),
])
def test_documents_of_the_metadata_service(sim, machine, target, wanted):
    headers = {**IMDS, "x-ms-client-request-id": "5a1f3b92-6c8d-4e07-b4a9-1d2e3f405162"}
    document = ask(f"{sim.imds_url}/metadata/{target}", headers=headers).json()
    assert wanted <= document["compute"].keys()
    assert ("extended" in document) == ("extended" in target)


@pytest.mark.wire("10/imds")
@pytest.mark.parametrize("target, text", [
    ("compute/name?api-version=2017-08-01&format=text", "simvm01"),
    ("compute/vmSize?api-version=2017-08-01&format=text", None),
    ("compute/osProfile/adminUsername?api-version=2021-02-01&format=text", "simadmin"),
    ("compute/publicKeys?api-version=2021-02-01", None),
])
def test_single_values_that_afterburn_asks_for(sim, machine, target, text):
    answer = ask(f"{sim.imds_url}/metadata/instance/{target}", headers=IMDS)
    assert answer.status == 200
    assert text is None or answer.body.decode() == text
    if "publicKeys" in target:
        assert answer.json()[0]["keyData"] == "ssh-ed25519 AAAA me"


@pytest.mark.wire("10/reprovisioning")
def test_a_pool_machine_waits_for_its_owner(sim, machine):
    url = f"{sim.imds_url}/metadata/reprovisiondata?api-version=2019-06-01"
    assert ask(url, headers=IMDS).status == 404
    machine.reprovision_data = machine.ovf_env()
    machine.touch()
    assert ask(url, headers=IMDS).body.decode() == machine.ovf_env()


@pytest.mark.wire("10/imds")
def test_user_data_is_base64(sim):
    sim.machine("other", user_data="#!/bin/sh\n", addresses=["127.0.0.2"])
    answer = ask(f"{sim.imds_url}/metadata/instance/compute/userData?api-version=2021-01-01&format=text", headers=IMDS)
    assert base64.b64decode(answer.body) == b"#!/bin/sh\n"
