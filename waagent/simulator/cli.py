"""waagent-simulator: run a simulated Azure fabric, and talk to a running one.

    waagent-simulator serve …         the fabric itself
    waagent-simulator machine …, publish …, reported …, requests …, violations …, fault …, package …, media …

Exit status: 0 done; 1 the answer is no (not reported in time, violations found); 2 wrong usage or no simulator.
"""
from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Optional

from . import commands
from .client import DEFAULT
from .errors import NotReported, SimulatorError
from .faults import ANSWERS, CONTENT

ENVIRONMENT = "WAAGENT_SIMULATOR"


def main(arguments: Optional[list[str]] = None) -> int:
    args = parser().parse_args(arguments)
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

def parser() -> argparse.ArgumentParser:
    program = argparse.ArgumentParser(
        prog="waagent-simulator",
        description="A simulated Azure fabric for images and agents: wire server, host plugin, metadata, storage.")
    verbs = program.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--control", metavar="ADDRESS", default=os.environ.get(ENVIRONMENT, DEFAULT),
                        help=f"the simulator's control port or URL (default ${ENVIRONMENT} or {DEFAULT})")
    form = argparse.ArgumentParser(add_help=False)
    form.add_argument("--format", choices=("text", "json"), default="text")
    _serve_arguments(verbs)
    _machine_arguments(verbs, common, form)
    _publish_arguments(verbs, common)
    one = verbs.add_parser("reported", parents=[common, form], help="what a machine reported")
    one.add_argument("machine", nargs="?", help="name; may be left out if there is one machine only")
    one.add_argument("--wait", metavar="WHAT", help="ready, failed, provisioning, status, goal-state, "
                     "extension=NAME or extension=NAME/INSTANCE")
    one.add_argument("--timeout", type=float, default=60.0, metavar="S")
    one.set_defaults(run=commands.reported)
    one = verbs.add_parser("requests", parents=[common, form], help="what came in")
    one.add_argument("--machine", metavar="NAME")
    one.add_argument("--after", type=int, default=0, metavar="N", help="only requests with a higher number")
    one.add_argument("--limit", type=int, default=200, metavar="N")
    one.add_argument("--bodies", action="store_true", help="with headers and bodies (json)")
    one.add_argument("--follow", action="store_true", help="go on until interrupted")
    one.set_defaults(run=commands.requests)
    one = verbs.add_parser("violations", parents=[common, form], help="broken rules; exit status 1 if any")
    one.add_argument("--clear", action="store_true")
    one.set_defaults(run=commands.violations)
    _fault_arguments(verbs, common, form)
    _package_arguments(verbs, common, form)
    one = verbs.add_parser("media", parents=[common], help="write the provisioning medium of a machine")
    one.add_argument("machine")
    one.add_argument("directory", nargs="?", metavar="DIR", help="put ovf-env.xml there; - prints it")
    one.add_argument("--iso", metavar="FILE", help="write a DVD image (needs genisoimage)")
    one.set_defaults(run=commands.media)
    return program


def _serve_arguments(verbs: Any) -> None:
    one = verbs.add_parser("serve", help="run the fabric")
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
    one.set_defaults(run=commands.serve)


def _machine_arguments(verbs: Any, common: Any, form: Any) -> None:
    group = verbs.add_parser("machine", help="create, list, show, remove, move machines")
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
    one.set_defaults(run=commands.machine_create)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=commands.machine_list)
    for name, function in (("show", commands.machine_show), ("remove", commands.machine_remove),
                           ("move", commands.machine_move), ("rotate", commands.machine_rotate)):
        one = actions.add_parser(name, parents=[common])
        one.add_argument("name")
        one.set_defaults(run=function)
    one.add_argument("--same-incarnation", action="store_true", help="a new certificate under the old incarnation")


def _publish_arguments(verbs: Any, common: Any) -> None:
    one = verbs.add_parser(
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
    one.set_defaults(run=commands.publish)


def _fault_arguments(verbs: Any, common: Any, form: Any) -> None:
    group = verbs.add_parser("fault", help="inject faults")
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
    one.set_defaults(run=commands.fault_add)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=commands.fault_list)
    one = actions.add_parser("clear", parents=[common])
    one.add_argument("number", nargs="?", type=int)
    one.set_defaults(run=commands.fault_clear)


def _package_arguments(verbs: Any, common: Any, form: Any) -> None:
    group = verbs.add_parser("package", help="serve handler and agent packages")
    actions = group.add_subparsers(metavar="ACTION", required=True)
    one = actions.add_parser("add", parents=[common])
    one.add_argument("path", help="zip, or directory with HandlerManifest.json")
    one.add_argument("--name")
    one.add_argument("--version")
    one.add_argument("--internal", action="store_true", help="list it under InternalPlugins")
    one.add_argument("--agent-family", metavar="FAMILY", help="an agent package (needs --version)")
    one.set_defaults(run=commands.package_add)
    one = actions.add_parser("list", parents=[common, form])
    one.set_defaults(run=commands.package_list)
