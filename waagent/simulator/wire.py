"""The wire server: port 80 of 168.63.129.16.

    GET  /?comp=versions                                   no headers needed
    GET  /machine/?comp=goalstate                          x-ms-version
    GET  /machine/<container>/<instance>?comp=config&type=…    hostingEnvironmentConfig, sharedConfig,
                                                           extensionsConfig, fullConfig
    GET  …?comp=certificates, …?comp=remoteaccessinfo      also the transport certificate and the cipher
    POST /machine?comp=health, roleProperties, telemetrydata   x-ms-version, text/xml
    POST /HealthService, /provisioning/health              JSON

`/machine` and `/machine/` are the same.

Source: wire-protocol 1.4, 1.5, 2, 5.1, 5.2, 5.4, 5.7, 10.
"""
from __future__ import annotations

import html
import json
import re
import time
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from . import documents, keys
from .errors import SimulatorError
from .listener import Answer, Later, Request, Response
from .reports import HealthReport, TelemetryEvent
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

XML = "text/xml; charset=utf-8"
CONFIG_PATH = re.compile(r"^/machine/(?P<container>[^/]+)/(?P<instance>[^/]+)$")
DESCRIPTION_LIMIT = 4096
TELEMETRY_LIMIT = 64512
OBSERVATIONS = ("GuestAgentPluginHeartbeat", "GuestAgentPluginVersions", "GuestAgentPluginArtifact",
                "GuestAgentPluginStatus", "InstanceMetadataHeartbeat")
TELEMETRY_CALLS, TELEMETRY_SECONDS = 15, 15.0
EVENT = re.compile(rb"<Event\b[^>]*>(.*?)</Event>", re.DOTALL)


def error_document(refused: Refused) -> Response:
    """How the wire server words an error."""
    return Response(refused.status, f'<?xml version="1.0" encoding="utf-8"?>\n<Error><Code>'
                    f"{refused.code or refused.status}</Code><Message>{escape(refused.message)}</Message></Error>",
                    XML, refused.headers)


def handle(simulator: Simulator, request: Request) -> Answer:
    path = request.path
    if path in ("/machine", "/machine/"):
        return _machine(simulator, request)
    if path.startswith("/machine/"):
        return _config(simulator, request)
    if path == "/" and request.parameters.get("comp") == "versions":
        _method(request, "GET")
        machine = simulator.identify(request)
        request.machine = machine.name if machine else ""
        return Response(200, documents.versions(), XML)
    if path == "/HealthService":
        return _observations(simulator, request)
    if path == "/provisioning/health":
        return _json_health(simulator, request)
    raise Refused(404, f"no such resource: {path}", "unknown-path")


def _method(request: Request, method: str) -> None:
    if request.method != method:
        raise Refused(405, f"{request.method} is not allowed here", "method", headers={"Allow": method})


def _version(request: Request) -> None:
    version = request.header("x-ms-version")
    if version not in documents.WIRE_VERSIONS:
        raise Refused(400, f"x-ms-version is {version or 'missing'}", "wire-version")


def _require_machine(simulator: Simulator, request: Request) -> Machine:
    machine = simulator.identify(request)
    if machine is None:
        raise Refused(410, "no machine is known for this address", code="ResourceNotAvailable")
    request.machine = machine.name
    return machine


def _machine(simulator: Simulator, request: Request) -> Answer:
    comp = request.parameters.get("comp", "").lower()
    if comp == "goalstate":
        _method(request, "GET")
        _version(request)
        machine = _require_machine(simulator, request)
        return Response(200, machine.goal_state_document(simulator.wire_base(request)), XML)
    reports = {"health": _health, "roleproperties": _role_properties, "telemetrydata": _telemetry}
    if comp in reports:
        _method(request, "POST")
        _version(request)
        if request.header("content-type").split(";")[0].strip().lower() != "text/xml":
            raise Refused(415, f"Content-Type is {request.header('content-type') or 'missing'}, not text/xml",
                          "content-type")
        return reports[comp](simulator, request)
    raise Refused(404, f"no such component: {comp or 'none given'}", "unknown-path")


# --- documents of the goal state ---------------------------------------------------------------------------------

def _config(simulator: Simulator, request: Request) -> Answer:
    found = CONFIG_PATH.match(request.path)
    if found is None:
        raise Refused(404, f"no such resource: {request.path}", "unknown-path")
    _method(request, "GET")
    _version(request)
    machine, current = simulator.container(found["container"])
    if machine is None:
        raise Refused(410, f"container {found['container']} is not known", "unknown-container",
                      "ResourceNotAvailable")
    request.machine = machine.name
    if not current:
        raise Refused(410, f"container {found['container']} is no longer here", code="ResourceNotAvailable")
    parameters = request.parameters
    comp = parameters.get("comp", "").lower()
    state = machine.incarnation_state(parameters.get("incarnation", ""))
    if state == "unknown":
        raise Refused(400, f"incarnation {parameters.get('incarnation', '')!r} was never published",
                      "unknown-incarnation")
    if state != "current":
        raise Refused(410, f"incarnation {parameters['incarnation']} has been superseded",
                      code="ResourceNotAvailable")
    _verbatim(request, machine, comp, parameters.get("type", ""))
    if comp == "config":
        return _config_document(simulator, request, machine, parameters.get("type", ""))
    if comp == "certificates":
        presented, cipher = _presented(request, machine)
        incarnation = machine.certificates_incarnation

        def certificates() -> Response:
            try:
                data = machine.encrypted_bundle(presented, cipher) if machine.certificates else None
            except SimulatorError as error:
                return error_document(Refused(500, str(error)))
            return Response(200, documents.certificates(data, incarnation), XML)
        return Later(certificates)
    if comp == "remoteaccessinfo" and machine.remote_users is not None:
        presented, cipher = _presented(request, machine)
        users, incarnation = machine.remote_users, machine.incarnation

        def remote() -> Response:
            try:
                passwords = [machine.encrypted_password(one, presented, cipher) for one in users]
            except SimulatorError as error:
                return error_document(Refused(500, str(error)))
            return Response(200, documents.remote_access(users, passwords, incarnation), XML)
        return Later(remote)
    raise Refused(404, f"no such component: {comp or 'none given'}", "unknown-path")


def _verbatim(request: Request, machine: Machine, comp: str, kind: str) -> None:
    """Goal state URLs are opaque: parameters neither change nor move. Escapes of unreserved characters (%2D, %5F)
    may arrive decoded, since the HTTP library of cloud-init does that and the fabric serves it."""
    middle = f"comp=config&type={kind}" if comp == "config" else f"comp={comp}"
    wanted = f"{documents.machine_path(machine)}?{middle}&incarnation={machine.incarnation}"
    if request.target != wanted and unquote(request.target) != unquote(wanted):
        raise Refused(400, f"got {request.target}, the goal state says {wanted}", "url-not-verbatim")


def _config_document(simulator: Simulator, request: Request, machine: Machine, kind: str) -> Response:
    if kind == "extensionsConfig":
        return Response(200, machine.extensions_document(simulator.blob_base(request)), XML)
    renders = {"hostingEnvironmentConfig": documents.hosting_environment, "sharedConfig": documents.shared_config,
               "fullConfig": documents.full_config}
    if kind not in renders:
        raise Refused(404, f"no such configuration: {kind}", "unknown-path")
    return Response(200, machine.rendered(kind, "", lambda: renders[kind](machine)), XML)


def _presented(request: Request, machine: Machine) -> tuple[str, str]:
    """The presented certificate as PEM and the cipher to use."""
    header = request.header("x-ms-guest-agent-public-x509-cert")
    if not header:
        raise Refused(400, "x-ms-guest-agent-public-x509-cert is missing", "missing-header")
    try:
        pem = keys.check_presented(header)
    except ValueError as error:
        raise Refused(400, f"x-ms-guest-agent-public-x509-cert: {error}", "transport-certificate") from None
    cipher = request.header("x-ms-cipher-name") or "AES128_CBC"
    if cipher not in keys.CIPHERS:
        raise Refused(400, f"x-ms-cipher-name is {cipher!r}; known are {', '.join(keys.CIPHERS)}", "cipher")
    if cipher not in machine.ciphers:
        raise Refused(400, f"cipher {cipher} is not offered for this machine")
    return pem, cipher


# --- reports -----------------------------------------------------------------------------------------------------

def _parse(request: Request, rule: str, root: str) -> ElementTree.Element:
    try:
        if b"<!DOCTYPE" in request.body:
            raise ElementTree.ParseError("a document type declaration")
        found = ElementTree.fromstring(request.body)
    except ElementTree.ParseError as error:
        raise Refused(400, f"the document cannot be parsed: {error}", rule) from None
    if found.tag != root:
        raise Refused(400, f"the document is {found.tag}, not {root}", rule)
    return found


def _need(element: ElementTree.Element, path: str, rule: str) -> str:
    found = element.findtext(path)
    if not found:
        raise Refused(400, f"{path} is missing or empty", rule)
    return found


def _reporting_machine(simulator: Simulator, request: Request, container: str, instance: str) -> Machine:
    machine, current = simulator.container(container)
    if machine is None:
        raise Refused(400, f"container {container} is not known", "unknown-container")
    request.machine = machine.name
    if not current:
        raise Refused(410, f"container {container} is no longer here", code="ResourceNotAvailable")
    if instance != machine.instance_id:
        raise Refused(400, f"role instance {instance} does not belong to container {container}", "unknown-instance")
    return machine


def _health(simulator: Simulator, request: Request) -> Response:
    rule = "health-document"
    document = _parse(request, rule, "Health")
    incarnation = _need(document, "GoalStateIncarnation", rule)
    container = _need(document, "Container/ContainerId", rule)
    role = "Container/RoleInstanceList/Role"
    machine = _reporting_machine(simulator, request, container, _need(document, f"{role}/InstanceId", rule))
    known = machine.incarnation_state(incarnation)
    if known == "unknown":
        raise Refused(400, f"incarnation {incarnation} was never published", "unknown-incarnation")
    if known == "stale":
        raise Refused(410, f"incarnation {incarnation} has been superseded", code="ResourceNotAvailable")
    state = _need(document, f"{role}/Health/State", rule)
    details = document.find(f"{role}/Health/Details")
    substatus = "" if details is None else details.findtext("SubStatus") or ""
    description = "" if details is None else details.findtext("Description") or ""
    if state not in ("Ready", "NotReady"):
        raise Refused(400, f"state is {state!r}; Ready or NotReady was expected", rule)
    if state == "NotReady" and substatus not in ("Provisioning", "ProvisioningFailed"):
        raise Refused(400, f"substatus is {substatus!r}; Provisioning or ProvisioningFailed was expected", rule)
    _accept_health(simulator, request, machine,
                   HealthReport(time.time(), state, substatus, description, incarnation, "xml"))
    return Response(200, b"")


def _json_health(simulator: Simulator, request: Request) -> Response:
    _method(request, "POST")
    machine = _require_machine(simulator, request)
    document = _json(request, "health-document")
    state = document.get("state")
    details = document.get("details") or {}
    if state not in ("Ready", "NotReady") or not isinstance(details, dict):
        raise Refused(400, f"state is {state!r}; Ready or NotReady was expected", "health-document")
    substatus = str(details.get("subStatus", ""))
    if state == "NotReady" and substatus not in ("Provisioning", "ProvisioningFailed"):
        raise Refused(400, f"subStatus is {substatus!r}", "health-document")
    _accept_health(simulator, request, machine,
                   HealthReport(time.time(), state, substatus, str(details.get("description", "")), "", "json"))
    return Response(201, b"")


def _accept_health(simulator: Simulator, request: Request, machine: Machine, report: HealthReport) -> None:
    if len(report.description.encode("utf-8")) > DESCRIPTION_LIMIT:
        raise Refused(400, f"the description has more than {DESCRIPTION_LIMIT} bytes", "health-size")
    simulator.check_secrets(request, machine, report.description)
    machine.reports.health.append(report)
    simulator.reported(machine)


def _role_properties(simulator: Simulator, request: Request) -> Response:
    rule = "role-properties-document"
    document = _parse(request, rule, "RoleProperties")
    instance = "Container/RoleInstances/RoleInstance"
    machine = _reporting_machine(simulator, request, _need(document, "Container/ContainerId", rule),
                                 _need(document, f"{instance}/Id", rule))
    found = document.findall(f"{instance}/Properties/Property")
    if not found or any(one.get("name") is None or one.get("value") is None for one in found):
        raise Refused(400, "a property lacks its name or value, or there is none", rule)
    for one in found:
        machine.reports.properties[one.attrib["name"]] = one.attrib["value"]
    simulator.reported(machine)
    return Response(202, b"")


def _telemetry(simulator: Simulator, request: Request) -> Response:
    machine = _require_machine(simulator, request)
    now = time.monotonic()
    machine.throttle = [one for one in machine.throttle if now - one < TELEMETRY_SECONDS]
    if len(machine.throttle) >= TELEMETRY_CALLS:
        raise Refused(429, f"more than {TELEMETRY_CALLS} calls in {TELEMETRY_SECONDS:g} s", "telemetry-rate",
                      headers={"Retry-After": "15"})
    machine.throttle.append(now)
    document = _parse(request, "telemetry-document", "TelemetryData")
    size = sum(len(one) for one in EVENT.findall(request.body))
    if size >= TELEMETRY_LIMIT:
        raise Refused(400, f"the events have {size} bytes; the limit is {TELEMETRY_LIMIT}", "telemetry-size")
    events = []
    for provider in document.findall("Provider"):
        for event in provider.findall("Event"):
            events.append(_event(provider.get("id", ""), event))
    if not events:
        raise Refused(400, "there is no event", "telemetry-document")
    for one in events:
        machine.reports.telemetry.append(one)
    simulator.check_secrets(request, machine, html.unescape(request.body.decode("utf-8", "replace")))
    simulator.reported(machine)
    return Response(200, b"")


def _event(provider: str, event: ElementTree.Element) -> TelemetryEvent:
    rule = "telemetry-document"
    text = event.text or ""
    try:
        parameters = ElementTree.fromstring(f"<Event>{text}</Event>")
    except ElementTree.ParseError as error:
        raise Refused(400, f"the content of an event cannot be parsed: {error}", rule) from None
    values: dict[str, str] = {}
    types: dict[str, str] = {}
    for one in parameters:
        name = one.get("Name")
        if one.tag != "Param" or name is None or "Value" not in one.attrib:
            raise Refused(400, "a parameter lacks its name or value", rule)
        values[name], types[name] = one.attrib["Value"], one.get("T", "")
        _check_type(name, values[name], types[name])
    if not provider or not event.get("id") or not values:
        raise Refused(400, "an event lacks its provider, id or parameters", rule)
    return TelemetryEvent(time.time(), provider, event.get("id", ""), values, types)


def _check_type(name: str, value: str, kind: str) -> None:
    fits = {"mt:wstr": r".*", "mt:bool": r"(?i:true|false)", "mt:uint64": r"\d+", "mt:int32": r"-?\d+",
            "mt:int64": r"-?\d+", "mt:float64": r"-?(\d+(\.\d*)?([eE][-+]?\d+)?|inf|nan)"}
    if kind not in fits or re.fullmatch(fits[kind], value, re.DOTALL) is None:
        raise Refused(400, f"parameter {name}: {value[:40]!r} does not fit type {kind!r}", "telemetry-document")


def _json(request: Request, rule: str) -> dict[str, Any]:
    if request.header("content-type").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, f"Content-Type is {request.header('content-type') or 'missing'}; application/json was "
                      "expected", "content-type")
    try:
        found = json.loads(request.body.decode("utf-8"))
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}", rule) from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is not a JSON object", rule)
    return found


def _observations(simulator: Simulator, request: Request) -> Response:
    _method(request, "POST")
    machine = _require_machine(simulator, request)
    document = _json(request, "observation")
    wrong = _observation_fault(document)
    if wrong:
        raise Refused(400, wrong, "observation")
    for one in document["Observations"]:
        machine.reports.observations.append((time.time(), one))
    simulator.reported(machine)
    return Response(200, b"")


def _observation_fault(document: dict[str, Any]) -> Optional[str]:
    if document.get("Api") != "reporttargethealth" or document.get("Version") != "1.0" \
            or not document.get("Source"):
        return "Api, Version or Source is missing or wrong"
    items = document.get("Observations")
    if not isinstance(items, list) or len(items) > 10:
        return "Observations is not a list of at most ten"
    for one in items:
        if not isinstance(one, dict) or not isinstance(one.get("IsHealthy"), bool) \
                or not one.get("ObservationName"):
            return "an observation lacks ObservationName or IsHealthy"
        if one["ObservationName"] not in OBSERVATIONS:
            return f"nobody observes {str(one['ObservationName'])[:64]!r}"
        for key, limit in (("ObservationName", 64), ("Description", 128), ("Value", 128)):
            if len(str(one.get(key, ""))) > limit:
                return f"{key} has more than {limit} characters"
    return None
