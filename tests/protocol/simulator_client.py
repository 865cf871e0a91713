"""A tiny client of the fabric for the simulator's own tests: http.client and the openssl program, nothing of ours.

Answers are (status, headers with lower-case names, body). Transport keys are made and used with openssl alone.
"""
from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

WIRE = {"x-ms-agent-name": "TestAgent", "x-ms-version": "2012-11-30"}
XML = {**WIRE, "Content-Type": "text/xml;charset=utf-8"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def xml(self) -> ElementTree.Element:
        return ElementTree.fromstring(self.body)

    def json(self):
        return json.loads(self.body)


def ask(url: str, method: str = "GET", headers: Optional[dict[str, str]] = None, body: Optional[bytes] = None,
        source: str = "", timeout: float = 10) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout,
                                            source_address=(source, 0) if source else None)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class Fabric(NamedTuple):
    """The ids and URLs that a goal state gives."""

    incarnation: str
    container: str
    instance: str
    config_name: str
    urls: dict[str, str]


def goal_state(sim, source: str = "") -> Fabric:
    answer = ask(f"{sim.wire_url}/machine/?comp=goalstate", headers=WIRE, source=source)
    assert answer.status == 200, answer
    root = answer.xml
    configuration = root.find("Container/RoleInstanceList/RoleInstance/Configuration")
    urls = {one.tag: one.text for one in configuration if one.text.startswith("http")}
    remote = root.findtext("Container/RemoteAccessInfo")
    if remote:
        urls["RemoteAccessInfo"] = remote
    return Fabric(root.findtext("Incarnation"), root.findtext("Container/ContainerId"),
                  root.findtext("Container/RoleInstanceList/RoleInstance/InstanceId"),
                  configuration.findtext("ConfigName"), urls)


def plugin_headers(fabric: Fabric, **more: str) -> dict[str, str]:
    return {"x-ms-version": "2015-09-01", "x-ms-containerid": fabric.container,
            "x-ms-host-config-name": fabric.config_name, **more}


def transport(directory: Path, *, subject_key_identifier: bool = True) -> tuple[Path, Path, str]:
    """Key file, certificate file and header text of a new transport certificate, made as agents make it."""
    key, certificate = directory / "TransportPrivate.pem", directory / "TransportCert.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "730", "-subj", "/CN=LinuxTransport",
               "-keyout", str(key), "-out", str(certificate)]
    if not subject_key_identifier:
        command += ["-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"]
    subprocess.run(command, check=True, capture_output=True)
    text = "".join(line for line in certificate.read_text().splitlines() if "----" not in line)
    return key, certificate, text


def decrypt(data: bytes, key: Path, certificate: Optional[Path] = None) -> bytes:
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", str(key)]
    if certificate is not None:
        command += ["-recip", str(certificate)]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def open_bundle(answer: Answer, key: Path, certificate: Path) -> str:
    """The PEM text inside a Certificates document, by the recipe of the protocol (MIME form, cms, pkcs12)."""
    directory = key.parent
    data = answer.xml.findtext("Data")
    mime = ('MIME-Version:1.0\nContent-Disposition: attachment; filename="Certificates.p7m"\n'
            'Content-Type: application/x-pkcs7-mime; name="Certificates.p7m"\n'
            f"Content-Transfer-Encoding: base64\n\n{data}\n")
    (directory / "Certificates.p7m").write_text(mime)
    subprocess.run(["openssl", "cms", "-decrypt", "-in", str(directory / "Certificates.p7m"), "-inkey", str(key),
                    "-recip", str(certificate), "-out", str(directory / "Certificates.pfx")],
                   check=True, capture_output=True)
    return subprocess.run(["openssl", "pkcs12", "-nodes", "-password", "pass:", "-in",
                           str(directory / "Certificates.pfx")], check=True, capture_output=True, text=True).stdout


def certificates_in(pem: str) -> list[bytes]:
    found = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", pem, re.DOTALL)
    return [base64.b64decode(one) for one in found]


def health(fabric: Fabric, state: str = "Ready", substatus: str = "", description: str = "") -> bytes:
    details = f"<Details><SubStatus>{substatus}</SubStatus><Description>{description}</Description></Details>" \
        if substatus else ""
    return (f'<?xml version="1.0" encoding="utf-8"?><Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            f"<GoalStateIncarnation>{fabric.incarnation}</GoalStateIncarnation><Container>"
            f"<ContainerId>{fabric.container}</ContainerId><RoleInstanceList><Role>"
            f"<InstanceId>{fabric.instance}</InstanceId><Health><State>{state}</State>{details}</Health></Role>"
            f"</RoleInstanceList></Container></Health>").encode()


def status_document(*handlers: dict, sequence: str = "1") -> dict:
    return {"version": "1.1", "timestampUTC": "2026-11-23T09:17:40Z", "aggregateStatus": {
        "guestAgentStatus": {"version": "3.1.0.4", "status": "Ready",
                             "formattedMessage": {"lang": "en-US", "message": "Guest Agent is running"}},
        "handlerAggregateStatus": list(handlers),
        "vmArtifactsAggregateStatus": {"goalStateAggregateStatus": {
            "inSvdSeqNo": sequence, "status": "Success", "code": 0, "timestampUTC": "2026-11-23T09:17:31Z",
            "formattedMessage": {"lang": "en-US", "message": "done"}}}},
        "guestOSInfo": {"computerName": "vm01", "osName": "sim", "osVersion": "1", "version": "3.1.0.4"},
        "supportedFeatures": []}


def handler_status(name: str, version: str, sequence: int, status: str = "success", instance: str = "",
                   message: str = "done") -> dict:
    runtime = {"sequenceNumber": sequence, "settingsStatus": {
        "version": 1.0, "timestampUTC": "2026-11-23T09:17:40Z",
        "status": {"name": name, "operation": "Enable", "status": status, "code": 0,
                   "formattedMessage": {"lang": "en-US", "message": message}}}}
    if instance:
        runtime["extensionName"] = instance
    return {"handlerName": name, "handlerVersion": version, "status": "Ready", "code": 0, "useExactVersion": True,
            "formattedMessage": {"lang": "en-US", "message": "Plugin enabled"}, "runtimeSettingsStatus": runtime}


def block_upload(url: str, content: bytes) -> bytes:
    """The body of PUT /status for a block blob."""
    return json.dumps({
        "content": base64.b64encode(content).decode(),
        "headers": [{"headerName": "Content-Length", "headerValue": str(len(content))},
                    {"headerName": "x-ms-blob-type", "headerValue": "BlockBlob"},
                    {"headerName": "x-ms-date", "headerValue": "2026-11-23T09:16:12Z"},
                    {"headerName": "x-ms-version", "headerValue": "2014-02-14"}],
        "requestUri": url}).encode()


def telemetry(*values: tuple[str, str, str], provider: str = "69B669B9-4AF8-4C50-BDC4-6006FA76E975") -> bytes:
    from xml.sax.saxutils import quoteattr
    params = "".join(f"<Param Name={quoteattr(name)} Value={quoteattr(value)} T={quoteattr(kind)} />"
                     for name, value, kind in values)
    return (f'<?xml version="1.0"?><TelemetryData version="1.0"><Provider id="{provider}"><Event id="1">'
            f"<![CDATA[{params}]]></Event></Provider></TelemetryData>").encode()
