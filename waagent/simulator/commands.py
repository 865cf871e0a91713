"""What each verb of waagent-simulator does; cli.py has their arguments. Each prints and returns the exit status."""
from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from typing import Any

from . import media as provisioning_media
from .client import Client
from .errors import SimulatorError

# --- serve -------------------------------------------------------------------------------------------------------

def serve(args: argparse.Namespace) -> int:
    from .simulator import Simulator
    imds_host = args.imds_host or ("169.254.169.254" if args.host == "168.63.129.16" else args.host)
    simulator = Simulator(
        args.host, args.wire_port, args.plugin_port, None if args.no_imds else args.imds_port, imds_host=imds_host,
        blob_port=args.blob_port, blob_host=args.blob_host, blob_url=args.blob_url,
        blob_tls=tuple(args.blob_tls) if args.blob_tls else None, wire_public_url=args.wire_url,
        control_port=None if args.control < 0 else args.control, state=args.state, packages=args.packages,
        keep_requests=args.keep_requests, shared_certificate=args.shared_certificate)
    for name in args.machine:
        simulator.machine(name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with simulator:
        for label, url in (("wire server", simulator.wire_url), ("host plugin", simulator.plugin_url),
                           ("metadata", simulator.imds_url), ("storage", simulator.blob_url),
                           ("control", simulator.control_url)):
            print(f"{label:12} {url or 'off'}", flush=True)
        print("ready", flush=True)
        stop.wait()
    return 0


# --- client commands ---------------------------------------------------------------------------------------------

def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2, sort_keys=False))


def _text_of(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"cannot read {path}: {error}") from None


def _json_of(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SimulatorError(f"{what} is not JSON: {error}") from None


def _object_of(path: str) -> dict[str, Any]:
    found = _json_of(_text_of(path), path)
    if not isinstance(found, dict):
        raise SimulatorError(f"{path}: expected a JSON object")
    return found


def machine_create(args: argparse.Namespace) -> int:
    given: dict[str, Any] = _object_of(args.json) if args.json else {}
    given["name"] = args.name
    for name in ("host_name", "user", "vm_id", "status_blob_type", "password"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    if args.password_file:
        given["password"] = _text_of(args.password_file).rstrip("\n")
    for name in ("custom_data", "user_data"):
        if getattr(args, name):
            given[name] = _text_of(getattr(args, name))
    if args.ssh_key:
        given["ssh_keys"] = [(one if " " in one else _text_of(one)).strip() for one in args.ssh_key]
    if args.address:
        given["addresses"] = args.address
    if args.no_guest_agent:
        given["provision_guest_agent"] = False
    if args.no_fast_track:
        given["vm_settings_supported"] = False
    made = Client(args.control).ask("POST", "machines", given)
    if args.format == "json":
        _print_json(made)
    else:
        print(f"{made['name']}: vm id {made['vm_id']}, container {made['container_id']}")
    return 0


def machine_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "machines")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        print(f"{one['name']:20} {one['provisioning']:13} incarnation {one['incarnation']:<5} {one['source']:9} "
              f"{', '.join(one['extensions'])}".rstrip())
    return 0


def machine_show(args: argparse.Namespace) -> int:
    client = Client(args.control)
    _print_json(client.ask("GET", client.machine(args.name)))
    return 0


def machine_remove(args: argparse.Namespace) -> int:
    client = Client(args.control)
    client.ask("DELETE", client.machine(args.name))
    return 0


def machine_move(args: argparse.Namespace) -> int:
    client = Client(args.control)
    print(client.ask("POST", client.machine(args.name, "move"))["container_id"])
    return 0


def machine_rotate(args: argparse.Namespace) -> int:
    client = Client(args.control)
    body = {"new_incarnation": not args.same_incarnation}
    print(client.ask("POST", client.machine(args.name, "rotate"), body)["thumbprint"])
    return 0


def publish(args: argparse.Namespace) -> int:
    client = Client(args.control)
    if args.remove:
        body: dict[str, Any] = {"name": args.remove, "remove": True, "source": args.source}
        answer = client.ask("POST", client.machine(args.machine, "extension"), body)
    elif args.extension:
        if args.file or args.hold is not None:
            raise SimulatorError("give either FILE, or --hold, or --extension")
        name, equals, version = args.extension.rpartition("=")
        if not equals:
            raise SimulatorError(f"--extension {args.extension}: expected NAME=VERSION")
        body = {"name": name, "version": version, "state": args.state, "source": args.source}
        if args.sequence is not None:
            body["sequence"] = args.sequence
        for key in ("public", "protected"):
            text = getattr(args, key)
            if text is not None:
                body[key] = _json_of(_text_of(text[1:]) if text.startswith("@") else text, f"--{key}")
        answer = client.ask("POST", client.machine(args.machine, "extension"), body)
    else:
        body = _object_of(args.file) if args.file else {}
        body.setdefault("source", args.source)
        if args.hold is not None:
            body["on_hold"] = args.hold
        answer = client.ask("POST", client.machine(args.machine, "publish"), body)
    print(f"{'incarnation' if answer['source'] == 'fabric' else 'etag'} {answer['label']}")
    for one in answer["unserved"]:
        print(f"note: no package of {one} is served here; see waagent-simulator package", file=sys.stderr)
    return 0


def reported(args: argparse.Namespace) -> int:
    client = Client(args.control)
    name = args.machine or client.only_machine()
    found = client.wait(name, args.wait, args.timeout) if args.wait \
        else client.ask("GET", client.machine(name, "reported"))
    if args.format == "json":
        _print_json(found)
        return 0
    print(f"{name}: {found['provisioning']['state']}")
    for one in found["provisioning"]["reports"]:
        print(f"  {_clock(one['time'])} {one['state']} {one['substatus']} {one['description']}".rstrip())
    for one in found["stages"]:
        print(f"  stage {'ok' if one['success'] else 'FAILED'} {one['message']}")
    if found["agent"]:
        print(f"  agent {found['agent']['version']} {found['agent']['status']}: {found['agent']['message']}")
    for one in found["extensions"]:
        label = one["name"] + (f"/{one['instance']}" if one["instance"] else "")
        print(f"  {label} {one['version']} {one['handler_status']} {one['message'] or ''}".rstrip())
        if one["status"]:
            print(f"    sequence {one['sequence']}: {one['status']} ({one['status_code']}) "
                  f"{one['status_message'] or ''}".rstrip())
        for sub in one["substatus"]:
            print(f"      {sub['name']}: {sub['status']} {sub['message'] or ''}".rstrip())
    return 0


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def requests(args: argparse.Namespace) -> int:
    client = Client(args.control)
    after = args.after
    while True:
        found = client.ask("GET", "requests", after=str(after), limit=str(args.limit), machine=args.machine,
                           bodies=args.bodies)
        if args.format == "json" and not args.follow:
            _print_json(found)
            return 0
        for one in found:
            if args.format == "json":
                print(json.dumps(one), flush=True)
                continue
            note = " ".join([*one["rules"], one["fault"]]).strip()
            print(f"{one['number']:6} {_clock(one['time'])} {one['machine'] or '-':12} {one['service']:11} "
                  f"{one['method']} {one['target']} {one['status'] or 'reset'} {note}".rstrip(), flush=True)
        if not args.follow:
            return 0
        after = max([after, *(one["number"] for one in found)])
        time.sleep(0.5)


def violations(args: argparse.Namespace) -> int:
    client = Client(args.control)
    found = client.ask("GET", "violations")
    if args.clear:
        client.ask("DELETE", "violations")
    if args.format == "json":
        _print_json(found)
    else:
        for one in found:
            print(f"{one['request_number']:6} {one['machine'] or '-':12} {one['rule']}: {one['message']}\n"
                  f"       {one['request']}")
    return 1 if found else 0


def fault_add(args: argparse.Namespace) -> int:
    body = {name: getattr(args, name) for name in (
        "path", "method", "service", "machine", "body", "after", "count", "status", "truncate", "garbage",
        "probability", "delay", "drip", "endless", "reset", "silent", "processed", "content", "answer")
        if getattr(args, name) not in (None, False)}
    if args.header:
        body["headers"] = dict(one.split("=", 1) if "=" in one else (one, "") for one in args.header)
    made = Client(args.control).ask("POST", "faults", body)
    if args.format == "json":
        _print_json(made)
    else:
        print(made["number"])
    return 0


def fault_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "faults")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        shown = {key: value for key, value in one.items()
                 if value not in (None, "", 0, False, {}) and key not in ("number", "met", "probability")}
        print(f"{one['number']:4} met {one['met']:<5} {json.dumps(shown)}")
    return 0


def fault_clear(args: argparse.Namespace) -> int:
    path = "faults" if args.number is None else f"faults/{args.number}"
    print(f"{Client(args.control).ask('DELETE', path)['removed']} removed")
    return 0


def package_add(args: argparse.Namespace) -> int:
    from urllib.parse import urlencode

    from .packages import read_package
    if args.agent_family and not args.version:
        raise SimulatorError("--agent-family needs --version")
    name = f"GuestAgent.{args.agent_family}" if args.agent_family else args.name
    package = read_package(args.path, name, args.version)
    query = {"name": package.name, "version": package.version}
    if args.internal:
        query["internal"] = "1"
    made = json.loads(Client(args.control).raw("POST", f"/api/packages?{urlencode(query)}", package.content,
                                               "application/zip"))
    print(f"{made['name']} {made['version']}, {made['size']} bytes")
    return 0


def package_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "packages")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        print(f"{one['name']} {one['version']}, {one['size']} bytes{' (internal)' if one['internal'] else ''}")
    return 0


def media(args: argparse.Namespace) -> int:
    client = Client(args.control)
    if not args.directory and not args.iso:
        raise SimulatorError("name a directory, or a file with --iso")
    text = client.raw("GET", "/api/" + client.machine(args.machine, "ovf-env.xml")).decode()
    if args.directory == "-":
        sys.stdout.write(text)
    elif args.directory:
        print(provisioning_media.write_directory(text, args.directory))
    if args.iso:
        program = provisioning_media.write_image(text, args.iso)
        print(f"{args.iso} ({program})")
    return 0

