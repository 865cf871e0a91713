"""The host plugin (HostGAPlugin): port 32526 of 168.63.129.16.

    GET /versions                       JSON list
    GET /health                         200
    GET /vmSettings                     ETag, If-None-Match, 304; 404 where fast track is not supported
    GET /extensionArtifact              the blob named by x-ms-artifact-location
    PUT /status                         carries out the described storage request
    PUT /vmAgentLog                     a zip archive

Container id and config name are checked on all that carry them: 410 when they were right once, 410 and a violation
when they never were. Locations are looked up in the simulated storage, whatever their host; nothing is fetched from
elsewhere.

Source: wire-protocol 3.
"""
from __future__ import annotations

import base64
import binascii
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .listener import Request, Response
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

API_VERSION = "2015-09-01"
JSON = "application/json; charset=utf-8"


def error_document(refused: Refused) -> Response:
    """How the host plugin words an error."""
    body = {"errorCode": refused.code or "BadRequest", "message": refused.message}
    return Response(refused.status, json.dumps(body), JSON, refused.headers)


def handle(simulator: Simulator, request: Request) -> Response:
    routes = {"/versions": ("GET", _versions), "/health": ("GET", _health), "/vmSettings": ("GET", _vm_settings),
              "/extensionArtifact": ("GET", _artifact), "/status": ("PUT", _status),
              "/vmAgentLog": ("PUT", _agent_log)}
    if request.path not in routes:
        raise Refused(404, f"no such resource: {request.path}", "unknown-path", "ResourceNotFound")
    method, serve = routes[request.path]
    if request.method != method:
        raise Refused(405, f"{request.method} is not allowed here", "method", "MethodNotAllowed", {"Allow": method})
    return serve(simulator, request)


def _machine(simulator: Simulator, request: Request, config_name: bool = True) -> Machine:
    """The machine that the headers name, after all checks of 3."""
    version = request.header("x-ms-version")
    if version != API_VERSION:
        raise Refused(400, f"x-ms-version is {version or 'missing'}; {API_VERSION} was expected", "wire-version",
                      "InvalidVersion")
    container = request.header("x-ms-containerid")
    name = request.header("x-ms-host-config-name")
    if not container or (config_name and not name):
        raise Refused(400, "x-ms-containerid or x-ms-host-config-name is missing", "missing-header",
                      "MissingRequiredHeader")
    machine, current = simulator.container(container)
    if machine is None:
        raise Refused(410, f"The container {container} is not known here.", "unknown-container",
                      "RequestRoleConfigFileNotFound")
    request.machine = machine.name
    if not current:
        raise Refused(410, f"The container {container} has moved.", code="RequestRoleConfigFileNotFound")
    if config_name and name != machine.config_name:
        rule = None if name in machine.retired_config_names else "unknown-config-name"
        raise Refused(410, f"The role config {name} is not known here.", rule, "RequestRoleConfigFileNotFound")
    return machine


def _versions(simulator: Simulator, request: Request) -> Response:
    container = request.header("x-ms-containerid")
    machine = simulator.container(container)[0] if container else simulator.identify(request)
    request.machine = machine.name if machine else ""
    return Response(200, json.dumps([API_VERSION]), JSON)


def _health(simulator: Simulator, request: Request) -> Response:
    machine = simulator.identify(request)
    request.machine = machine.name if machine else ""
    return Response(200, b"")


def _vm_settings(simulator: Simulator, request: Request) -> Response:
    machine = _machine(simulator, request)
    if not machine.vm_settings_supported:
        raise Refused(404, "vmSettings is not supported", code="ResourceNotFound")
    if request.header("if-none-match") == machine.etag:
        return Response(304, b"", headers={"ETag": machine.etag})
    return Response(200, machine.vm_settings_document(simulator.blob_base(request)), JSON, {"ETag": machine.etag})


def _artifact(simulator: Simulator, request: Request) -> Response:
    _machine(simulator, request)
    location = request.header("x-ms-artifact-location")
    found = simulator.blobs.locate(location)
    if found is None:
        raise Refused(400, f"x-ms-artifact-location is {location or 'missing'}", "artifact-location",
                      "InvalidArtifactLocation")
    owner = request.machine
    try:
        response = simulator.blobs.get(request, found[0], _parameters(found[1]), simulator.blob_base(request))
    except Refused as error:
        request.machine = owner
        raise Refused(502, f"storage answered {error.status}: {error.message}", error.rule, "UpstreamFailure") \
            from None
    request.machine = owner
    return response


def _status(simulator: Simulator, request: Request) -> Response:
    machine = _machine(simulator, request)
    if request.header("content-type").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, f"Content-Type is {request.header('content-type') or 'missing'}", "content-type")
    uri, headers, content = _storage_request(request.body)
    found = simulator.blobs.locate(uri)
    if found is None:
        raise Refused(400, f"requestUri is {uri!r}", "status-request")
    try:
        simulator.blobs.put(request, found[0], _parameters(found[1]), headers, content)
    except Refused as error:
        raise Refused(502, f"storage answered {error.status}: {error.message}", error.rule, "UpstreamFailure") \
            from None
    finally:
        request.machine = machine.name
    return Response(200, b"")


def _parameters(query: str) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}


def _storage_request(body: bytes) -> tuple[str, dict[str, str], bytes]:
    """requestUri, headers with lower-case names, and the decoded content of a description."""
    def refuse(why: str) -> Refused:
        return Refused(400, f"the description of the storage request: {why}", "status-request")

    try:
        given: Any = json.loads(body.decode("utf-8"))
    except ValueError as error:
        raise refuse(f"not JSON: {error}") from None
    if not isinstance(given, dict) or not isinstance(given.get("requestUri"), str):
        raise refuse("requestUri is missing")
    items = given.get("headers")
    if not isinstance(items, list):
        raise refuse("headers is not a list")
    headers: dict[str, str] = {}
    for one in items:
        if not isinstance(one, dict) or not isinstance(one.get("headerName"), str) \
                or not isinstance(one.get("headerValue"), str):
            raise refuse("a header lacks headerName or headerValue, or one is not text")
        headers[one["headerName"].lower()] = one["headerValue"]
    content = given.get("content", "")
    if not isinstance(content, str):
        raise refuse("content is not text")
    try:
        return given["requestUri"], headers, base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise refuse(f"content is not base64: {error}") from None


def _agent_log(simulator: Simulator, request: Request) -> Response:
    machine = _machine(simulator, request, config_name=False)
    for name in ("x-ms-vmagentlog-deploymentid", "x-ms-client-name", "x-ms-client-version",
                 "x-ms-client-correlationid"):
        if not request.header(name):
            raise Refused(400, f"{name} is missing", "missing-header", "MissingRequiredHeader")
    if request.header("x-ms-vmagentlog-deploymentid") != machine.deployment_id:
        raise Refused(400, "x-ms-vmagentlog-deploymentid is not the machine's", "unknown-config-name")
    if not request.body.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise Refused(400, "the body is not a zip archive", "agent-log")
    machine.reports.logs = (time.time(), request.body)
    simulator.reported(machine)
    return Response(200, b"")
