"""The control API: JSON over HTTP on loopback, for the command line, the web page and scripts.

    GET    /api/machines                      POST {name, …}: create
    GET    /api/machines/NAME                 DELETE
    POST   /api/machines/NAME/publish         {extensions, source, …}: the arguments of Machine.publish
    POST   /api/machines/NAME/extension       one extension is put into, or taken out of, the set in force
    POST   /api/machines/NAME/move, /rotate
    GET    /api/machines/NAME/reported?wait=WHAT&seen=N      what it reported; `met` says if WHAT holds
    GET    /api/machines/NAME/ovf-env.xml
    GET    /api/requests?after=N&machine=NAME&limit=N&bodies=1
    GET    /api/violations                    DELETE
    GET    /api/faults                        POST {path, status, …}; DELETE /api/faults[/N]
    GET    /api/packages                      POST (a zip) ?name=&version=&internal=1&family=
    GET    /                                  the web page (page.py)

A POST has to come as application/json or application/zip, and the Host header has to be a loopback name: a web page
from elsewhere, opened in the same browser, can neither read nor change anything here.
"""
from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Callable, Optional
from urllib.parse import unquote

from . import page
from .errors import SimulatorError
from .listener import Answer, Later, Request, Response
from .rules import RULES, Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

JSON = "application/json; charset=utf-8"
LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$")
PUBLISH = ("extensions", "source", "remote_users", "on_hold", "families", "required_features", "ticks", "sequence")


def error_document(refused: Refused) -> Response:
    return _json({"error": refused.message}, refused.status)


def handle(simulator: Simulator, request: Request) -> Answer:
    if not LOOPBACK.match(request.header("host")):
        raise Refused(403, f"Host is {request.header('host') or 'missing'}; use a loopback address")
    kind = request.header("content-type").split(";")[0].strip().lower()
    if request.method == "POST" and kind not in ("application/json", "application/zip"):
        raise Refused(415, "POST needs Content-Type application/json, or application/zip for packages")
    parts = [unquote(one) for one in request.path.strip("/").split("/")]
    if parts[0] != "api":
        return page.handle(simulator, request, parts)
    try:
        return _api(simulator, request, parts[1:])
    except SimulatorError as error:
        raise Refused(400, str(error)) from None


def _api(simulator: Simulator, request: Request, parts: list[str]) -> Answer:
    head = parts[0] if parts else ""
    if head == "machines":
        return _machines(simulator, request, parts[1:])
    if head == "requests" and request.method == "GET":
        return _requests(simulator, request)
    if head == "violations":
        if request.method == "DELETE":
            simulator.clear_violations()
        return _json([one.as_dict() for one in list(simulator.violations)])
    if head == "rules" and request.method == "GET":
        return _json(RULES)
    if head == "faults":
        return _faults(simulator, request, parts[1:])
    if head == "packages":
        return _packages(simulator, request)
    raise Refused(404, f"no such resource: {request.method} {request.path}")


def _json(content: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(content), JSON)


def _later(simulator: Simulator, work: Callable[[], Any], status: int = 200) -> Later:
    """Work that may take long; its changes are on disk before the answer goes out."""
    def run() -> Response:
        try:
            content = work()
            simulator.flush()
        except (SimulatorError, TypeError) as error:
            return _json({"error": str(error)}, 400)
        return _json(content, status)
    return Later(run)


def _body(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body.decode("utf-8") or "{}")
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is not a JSON object")
    return found


def _found(simulator: Simulator, name: str) -> Machine:
    machine = simulator.machines.get(name)
    if machine is None:
        known = ", ".join(sorted(simulator.machines)) or "none"
        raise Refused(404, f"there is no machine {name}; known are {known}")
    return machine


def _machines(simulator: Simulator, request: Request, parts: list[str]) -> Answer:
    if not parts:
        if request.method == "GET":
            with simulator.lock:
                return _json([_brief(one) for one in simulator.machines.values()])
        if request.method == "POST":
            given = _body(request)
            name = str(given.pop("name", ""))
            if name in simulator.machines:
                raise Refused(409, f"machine {name} exists already")
            return _later(simulator, lambda: _details(simulator.machine(name, **given)), 201)
    elif len(parts) == 1:
        machine = _found(simulator, parts[0])
        if request.method == "GET":
            with simulator.lock:
                return _json(_details(machine))
        if request.method == "DELETE":
            simulator.remove_machine(machine.name)
            return _json({"removed": machine.name})
    elif len(parts) == 2:
        return _machine_action(simulator, request, _found(simulator, parts[0]), parts[1])
    raise Refused(404, f"no such resource: {request.method} {request.path}")


def _machine_action(simulator: Simulator, request: Request, machine: Machine, action: str) -> Answer:
    if request.method == "GET" and action == "reported":
        return _reported(simulator, request, machine)
    if request.method == "GET" and action == "ovf-env.xml":
        return Response(200, machine.ovf_env(), "text/xml; charset=utf-8")
    if request.method == "POST" and action == "publish":
        given = _body(request)
        unknown = sorted(set(given) - set(PUBLISH))
        if unknown:
            raise Refused(400, f"cannot publish {', '.join(unknown)}; known are {', '.join(PUBLISH)}")

        def publish() -> dict[str, Any]:
            simulator.scan_packages()
            return _published(simulator, machine, machine.publish(**given), given.get("source", "fabric"))
        return _later(simulator, publish)
    if request.method == "POST" and action == "extension":
        return _later(simulator, lambda: _one_extension(simulator, machine, _body(request)))
    if request.method == "POST" and action == "move":
        return _later(simulator, lambda: {"container_id": machine.move()})
    if request.method == "POST" and action == "rotate":
        keep = not _body(request).get("new_incarnation", True)
        return _later(simulator, lambda: {"thumbprint": machine.rotate_certificate(not keep).thumbprint})
    raise Refused(404, f"no such resource: {request.method} {request.path}")


def _one_extension(simulator: Simulator, machine: Machine, given: dict[str, Any]) -> dict[str, Any]:
    """Publish the set in force with this extension put in (or, with `remove`, left out)."""
    source = given.pop("source", "fabric")
    remove = given.pop("remove", False)
    simulator.scan_packages()
    before = (machine.fast_goal or machine.fabric_goal).extensions
    name = str(given.get("name", "")).lower()
    if remove and not any(one.name.lower() == name for one in before):
        raise SimulatorError(f"{machine.name} has no extension {given.get('name')}")
    replaced: list[Any] = [given if one.name.lower() == name else one for one in before
                           if not (remove and one.name.lower() == name)]
    if not remove and not any(one is given for one in replaced):
        replaced.append(given)
    return _published(simulator, machine, machine.publish(replaced, source=source), source)


def _published(simulator: Simulator, machine: Machine, label: Any, source: str) -> dict[str, Any]:
    """The answer; `unserved` has what the goal state asks for and no package here is."""
    goal = machine.fast_goal if source == "fasttrack" else machine.fabric_goal
    unserved = [f"{one.name} {one.version}" for one in (goal.extensions if goal is not None else ())
                if one.locations is None and one.version not in simulator.blobs.versions(one.name)]
    return {"label": label, "source": source, "unserved": unserved}


def _brief(machine: Machine) -> dict[str, Any]:
    goal = machine.fast_goal or machine.fabric_goal
    return {"name": machine.name, "vm_id": machine.vm_id, "container_id": machine.container_id,
            "incarnation": machine.incarnation, "etag": machine.etag, "source": machine.vm_settings_source,
            "provisioning": machine.reports.provisioning_state,
            "extensions": [f"{one.name} {one.version} {one.state}" for one in goal.extensions],
            "last_seen": machine.reports.last_seen or None}


def _details(machine: Machine) -> dict[str, Any]:
    """Everything about a machine but its secrets: no keys, no passwords, no protected settings."""
    found = machine.as_dict()
    for name in ("certificates", "sequences", "blob_key", "password", "remote_users", "superseded"):
        found.pop(name)
    for goal in (found["fabric_goal"], found["fast_goal"] or {}):
        for extension in goal.get("extensions", ()):
            for one in [*extension["settings"], *extension["instances"]]:
                one.pop("protected", None)
    found.update({"instance_id": machine.instance_id, "config_name": machine.config_name,
                  "thumbprints": [one.thumbprint for one in machine.certificates],
                  "source": machine.vm_settings_source,
                  "remote_users": [one.name for one in machine.remote_users or ()],
                  "provisioning": machine.reports.provisioning_state})
    return found


def _reported(simulator: Simulator, request: Request, machine: Machine) -> Response:
    wait = request.parameters.get("wait", "")
    seen = request.parameters.get("seen", "")
    with simulator.lock:
        found = {"machine": machine.name, **machine.reports.summary()}
        if wait:
            test = machine.condition(wait, int(seen) if seen.isdigit() else None)
            found["met"] = bool(test(machine))
    return _json(found)


def _requests(simulator: Simulator, request: Request) -> Response:
    given = request.parameters
    after = int(given["after"]) if given.get("after", "").isdigit() else 0
    limit = int(given["limit"]) if given.get("limit", "").isdigit() else 200
    machine: Optional[str] = given.get("machine")
    with simulator.lock:
        found = simulator.requests.after(after, limit if machine is None else 1000000)
    if machine is not None:
        found = [one for one in found if one.machine == machine][-limit:]
    return _json([one.as_dict(with_body=bool(given.get("bodies"))) for one in found])


def _faults(simulator: Simulator, request: Request, parts: list[str]) -> Answer:
    if request.method == "POST" and not parts:
        given = _body(request)
        return _later(simulator, lambda: simulator.fault(**given).as_dict(), 201)
    if request.method == "DELETE":
        if parts and not parts[0].isdigit():
            raise Refused(400, f"{parts[0]} is not a fault's number")
        return _json({"removed": simulator.clear_faults(int(parts[0]) if parts else None)})
    return _json([one.as_dict() for one in simulator.faults])


def _packages(simulator: Simulator, request: Request) -> Answer:
    if request.method == "POST":
        given = request.parameters
        name, version = given.get("name") or None, given.get("version") or None
        if given.get("family"):
            name = f"GuestAgent.{given['family']}"

        def add() -> dict[str, Any]:
            made = simulator.add_package(request.body, name, version, bool(given.get("internal")))
            return {"name": made.name, "version": made.version, "size": len(made.content)}
        return _later(simulator, add, 201)
    with simulator.lock:
        return _json([{"name": one.name, "version": one.version, "size": len(one.content), "internal": one.internal}
                      for one in simulator.blobs.packages.values()])
