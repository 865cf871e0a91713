"""waagent-simulator: run a simulated Azure fabric, and talk to a running one.

    waagent-simulator serve …         the fabric itself
    waagent-simulator machine …, publish …, reported …, requests …, violations …, fault …, package …, media …

Exit status: 0 done; 1 the answer is no (not reported in time, violations found); 2 wrong usage or no simulator.
"""
from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from typing import Any, Optional

from . import media
from .client import DEFAULT, Client
from .errors import ControlError, NotReported, SimulatorError
from .faults import ANSWERS, CONTENT

ENVIRONMENT = "WAAGENT_SIMULATOR"


def main(arguments: Optional[list[str]] = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except NotReported as error:
        print(f"waagent-simulator: {error}", file=sys.stderr)
        return 1
    except SimulatorError as error:
        print(f"waagent-simulator: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


# --- arguments ---------------------------------------------------------------------------------------------------

def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="waagent-simulator",
        description="A simulated Azure fabric for images and agents: wire server, host plugin, metadata, storage.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--control", metavar="ADDRESS", default=os.environ.get(ENVIRONMENT, DEFAULT),
                        help=f"the simulator's control port or URL (default ${ENVIRONMENT} or {DEFAULT})")
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--format", choices=("text", "json"), default="text")
    _serve_arguments(commands)
    _machine_arguments(commands, common, form)
    _publish_arguments(commands, common)
    one = commands.add_parser("reported", parents=[common, form], help="what a machine reported")
    one.add_argument("machine", nargs="?", help="name; may be left out if there is one machine only")
    one.add_argument("--wait", metavar="WHAT", help="ready, failed, provisioning, status, goal-state, "
                     "extension=NAME or extension=NAME/INSTANCE")
    one.add_argument("--timeout", type=float, default=60.0, metavar="S")
    one.set_defaults(run=_reported)
    one = commands.add_parser("requests", parents=[common, form], help="what came in")
    one.add_argument("--machine", metavar="NAME")
    one.add_argument("--after", type=int, default=0, metavar="N", help="only requests with a higher number")
    one.add_argument("--limit", type=int, default=200, metavar="N")
    one.add_argument("--bodies", action="store_true", help="with headers and bodies (json)")
    one.add_argument("--follow", action="store_true", help="go on until interrupted")
    one.set_defaults(run=_requests)
    one = commands.add_parser("violations", parents=[common, form], help="broken rules; exit status 1 if any")
    one.add_argument("--clear", action="store_true")
    one.set_defaults(run=_violations)
    _fault_arguments(commands, common, form)
    _package_arguments(commands, common, form)
    one = commands.add_parser("media", parents=[common], help="write the provisioning medium of a machine")
    one.add_argument("machine")
    one.add_argument("directory", nargs="?", metavar="DIR", help="put ovf-env.xml there; - prints it")
    one.add_argument("--iso", metavar="FILE", help="write a DVD image (needs genisoimage)")
    one.set_defaults(run=_media)
    return parser


def _serve_arguments(commands: Any) -> None:
    one = commands.add_parser("serve", help="run the fabric")
    one.add_argument("--host", default="168.63.129.16", help="address of wire server and host plugin")
    one.add_argument("--wire-port", type=int, default=80, metavar="PORT")
    one.add_argument("--plugin-port", type=int, default=32526, metavar="PORT")
    one.add_argument("--imds-host", default=None, metavar="HOST",
                     help="default 169.254.169.254 if --host is the real address, else as --host")
    one.add_argument("--imds-port", type=int, default=80, metavar="PORT")
    one.add_argument("--no-imds", action="store_true")
    one.add_argument("--blob-host", metavar="HOST")
    one.add_argument("--blob-port", type=int, metavar="PORT",
                     help="a port of its own for storage; else under /blob/ of the wire server")
    one.add_argument("--blob-url", metavar="URL", help="base of storage URLs as the guest reaches them")
    one.add_argument("--blob-tls", nargs=2, metavar=("CERT", "KEY"), help="serve the storage port over https")
    one.add_argument("--wire-url", metavar="URL", help="base of goal state URLs (default: from the Host header)")
    one.add_argument("--state", metavar="FILE", help="SQLite file that survives restarts")
    one.add_argument("--packages", metavar="DIR", help="serve the handler packages in DIR")
    one.add_argument("--control", type=int, default=int(DEFAULT.rpartition(":")[2]), metavar="PORT",
                     help="control API and web page on 127.0.0.1; 0 picks a free port, -1 turns it off")
    one.add_argument("--machine", action="append", default=[], metavar="NAME", help="create it unless it exists")
    one.add_argument("--keep-requests", type=int, default=20000, metavar="N")
    one.add_argument("--shared-certificate", action="store_true", help="one tenant certificate for all machines")
    one.set_defaults(run=_serve)


def _machine_arguments(commands: Any, common: Any, form: Any) -> None:
    group = commands.add_parser("machine", help="create, list, show, remove, move machines")
    actions = group.add_subparsers(metavar="ACTION", required=True)
    one = actions.add_parser("create", parents=[common, form])
    one.add_argument("name")
    one.add_argument("--host-name")
    one.add_argument("--user")
    one.add_argument("--password", help="use --password-file to keep it out of the process list")
    one.add_argument("--password-file", metavar="FILE")
    one.add_argument("--ssh-key", action="append", default=[], metavar="FILE", help="public key file, or its line")
    one.add_argument("--custom-data", metavar="FILE")
    one.add_argument("--user-data", metavar="FILE")
    one.add_argument("--vm-id", metavar="ID", help="SMBIOS product UUID of the guest")
    one.add_argument("--address", action="append", default=[], metavar="IP", help="address the guest connects from")
    one.add_argument("--no-guest-agent", action="store_true", help="ProvisionGuestAgent=false")
    one.add_argument("--status-blob-type", choices=("BlockBlob", "PageBlob"))
    one.add_argument("--no-fast-track", action="store_true", help="/vmSettings answers 404")
    one.add_argument("--json", metavar="FILE", help="further fields as a JSON object; - reads standard input")
    one.set_defaults(run=_machine_create)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=_machine_list)
    for name, function in (("show", _machine_show), ("remove", _machine_remove), ("move", _machine_move),
                           ("rotate", _machine_rotate)):
        one = actions.add_parser(name, parents=[common])
        one.add_argument("name")
        one.set_defaults(run=function)
    one.add_argument("--same-incarnation", action="store_true", help="a new certificate under the old incarnation")


def _publish_arguments(commands: Any, common: Any) -> None:
    one = commands.add_parser(
        "publish", parents=[common], help="publish a goal state",
        description="Publish a goal state: from FILE (a JSON object with extensions, families, remote_users, "
                    "on_hold), or the extensions in force with the one named by --extension put in.")
    one.add_argument("machine")
    one.add_argument("file", nargs="?", metavar="FILE", help="- reads standard input")
    one.add_argument("--extension", metavar="NAME=VERSION")
    one.add_argument("--public", metavar="JSON")
    one.add_argument("--protected", metavar="JSON", help="@FILE reads a file")
    one.add_argument("--state", choices=("enabled", "disabled", "uninstall"), default="enabled")
    one.add_argument("--sequence", type=int, metavar="N", help="default: counts up when the settings change")
    one.add_argument("--remove", metavar="NAME", help="leave an extension out of the set")
    one.add_argument("--source", choices=("fabric", "fasttrack"), default="fabric")
    hold = one.add_mutually_exclusive_group()
    hold.add_argument("--hold", dest="hold", action="store_true", default=None)
    hold.add_argument("--no-hold", dest="hold", action="store_false")
    one.set_defaults(run=_publish)


def _fault_arguments(commands: Any, common: Any, form: Any) -> None:
    group = commands.add_parser("fault", help="inject faults")
    actions = group.add_subparsers(metavar="ACTION", required=True)
    one = actions.add_parser("add", parents=[common, form])
    one.add_argument("--path", default="*", help="shell pattern on path or path?query")
    for name in ("method", "service", "machine", "body"):
        one.add_argument(f"--{name}")
    for name in ("after", "count", "status", "truncate", "garbage"):
        one.add_argument(f"--{name}", type=int, metavar="N")
    for name in ("probability", "delay", "drip"):
        one.add_argument(f"--{name}", type=float)
    for name in ("endless", "reset", "silent", "processed"):
        one.add_argument(f"--{name}", action="store_true")
    one.add_argument("--content", choices=sorted(CONTENT))
    one.add_argument("--answer", choices=sorted(ANSWERS))
    one.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    one.set_defaults(run=_fault_add)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=_fault_list)
    one = actions.add_parser("clear", parents=[common])
    one.add_argument("number", nargs="?", type=int)
    one.set_defaults(run=_fault_clear)


def _package_arguments(commands: Any, common: Any, form: Any) -> None:
    group = commands.add_parser("package", help="serve handler and agent packages")
    actions = group.add_subparsers(metavar="ACTION", required=True)
    one = actions.add_parser("add", parents=[common])
    one.add_argument("path", help="zip, or directory with HandlerManifest.json")
    one.add_argument("--name")
    one.add_argument("--version")
    one.add_argument("--internal", action="store_true", help="list it under InternalPlugins")
    one.add_argument("--agent-family", metavar="FAMILY", help="an agent package (needs --version)")
    one.set_defaults(run=_package_add)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=_package_list)


# --- serve -------------------------------------------------------------------------------------------------------

def _serve(args: argparse.Namespace) -> int:
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


def _machine_create(args: argparse.Namespace) -> int:
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


def _machine_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "machines")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        print(f"{one['name']:20} {one['provisioning']:13} incarnation {one['incarnation']:<5} {one['source']:9} "
              f"{', '.join(one['extensions'])}".rstrip())
    return 0


def _machine_show(args: argparse.Namespace) -> int:
    client = Client(args.control)
    _print_json(client.ask("GET", client.machine(args.name)))
    return 0


def _machine_remove(args: argparse.Namespace) -> int:
    client = Client(args.control)
    client.ask("DELETE", client.machine(args.name))
    return 0


def _machine_move(args: argparse.Namespace) -> int:
    client = Client(args.control)
    print(client.ask("POST", client.machine(args.name, "move"))["container_id"])
    return 0


def _machine_rotate(args: argparse.Namespace) -> int:
    client = Client(args.control)
    body = {"new_incarnation": not args.same_incarnation}
    print(client.ask("POST", client.machine(args.name, "rotate"), body)["thumbprint"])
    return 0


def _publish(args: argparse.Namespace) -> int:
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
    return 0


def _reported(args: argparse.Namespace) -> int:
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


def _requests(args: argparse.Namespace) -> int:
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


def _violations(args: argparse.Namespace) -> int:
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


def _fault_add(args: argparse.Namespace) -> int:
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


def _fault_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "faults")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        shown = {key: value for key, value in one.items()
                 if value not in (None, "", 0, False, {}) and key not in ("number", "met", "probability")}
        print(f"{one['number']:4} met {one['met']:<5} {json.dumps(shown)}")
    return 0


def _fault_clear(args: argparse.Namespace) -> int:
    path = "faults" if args.number is None else f"faults/{args.number}"
    print(f"{Client(args.control).ask('DELETE', path)['removed']} removed")
    return 0


def _package_add(args: argparse.Namespace) -> int:
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


def _package_list(args: argparse.Namespace) -> int:
    found = Client(args.control).ask("GET", "packages")
    if args.format == "json":
        _print_json(found)
        return 0
    for one in found:
        print(f"{one['name']} {one['version']}, {one['size']} bytes{' (internal)' if one['internal'] else ''}")
    return 0


def _media(args: argparse.Namespace) -> int:
    client = Client(args.control)
    if not args.directory and not args.iso:
        raise SimulatorError("name a directory, or a file with --iso")
    text = client.raw("GET", "/api/" + client.machine(args.machine, "ovf-env.xml")).decode()
    if args.directory == "-":
        sys.stdout.write(text)
    elif args.directory:
        print(media.write_directory(text, args.directory))
    if args.iso:
        program = media.write_image(text, args.iso)
        print(f"{args.iso} ({program})")
    return 0


__all__ = ["ControlError", "main"]
