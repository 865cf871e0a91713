"""waagent extensions: what extensions there are and how they fare; try one again; run a package without a fabric.

    list                every handler of the goal state or on disk, with its status
    show NAME           all that is known of one: versions, statuses, settings, files, an update under way
    logs NAME           the end of what its commands wrote
    retry NAME          process what the goal state says of it once more, and report (root)
    check-policy [FILE] whether the policy can be used, and what it means for the extensions that there are, or
                        for those that --extension NAME (the whole name) asks about
    run PATH.zip        install and enable a package here, in a tree of its own, and show every operation

NAME may be the last part of a handler's name (CustomScript), in any case. `run` needs no fabric and no root (unless
the handler does): protected settings are encrypted for a certificate made for this run, whose keys lie where the
handler looks for them, in the directory above its own. A handler that has /var/lib/waagent written into it looks
there all the same.

Ctrl-C ends a run: the processes of the command that is at work are ended, and the tree goes.

Exit status: 0; 1 for a NAME that is not there, a retry or a run that failed, a policy that cannot be used; 2 for a
wrong argument, a package or settings that cannot be read, no policy file; 75 when a worker is busy with the
extensions; 128 and the signal's number for a run that was ended (Ctrl-C: 130).
"""

from __future__ import annotations

import argparse
import sys

from waagent.system import System

SUMMARY = "show extensions, try one again, run a package without a fabric"
ACTIONS = ("list", "show", "logs", "retry", "check-policy", "run")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("target", nargs="?", metavar="NAME|FILE|PATH.zip")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--lines", type=int, default=100, metavar="N", help="logs: so many of each file")
    parser.add_argument(
        "--extension", action="append", metavar="NAME", help="check-policy: what it means for this handler"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--settings", metavar="FILE", help="public settings, a JSON object")
    run.add_argument(
        "--instance", action="append", default=[], metavar="NAME",
        help="run it as a multi-config handler, with an extension of this name; may be repeated",
    )  # fmt: skip
    run.add_argument("--protected", metavar="FILE", help="protected settings, a JSON object")
    run.add_argument(
        "--operation", default="install,enable", metavar="VERB,…",
        help="of install, enable, disable, uninstall; default install,enable",
    )  # fmt: skip
    run.add_argument("--from", dest="update_from", metavar="OLD.zip", help="install and enable this, then update")
    run.add_argument("--name", default="", help="the handler's name; else from signingInfo or the file's name")
    run.add_argument("--version", default="", help="its version; the same")
    run.add_argument("--sequence", type=int, default=0, metavar="N", help="number of the settings")
    run.add_argument("--limit", type=float, default=0.0, metavar="SECONDS", help="for every command")
    run.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="for the status after enable")
    run.add_argument("--in", dest="tree", default="/tmp", metavar="DIR", help="where the tree is made")
    run.add_argument("--keep", action="store_true", help="leave the tree, and say where it is")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.cli import extension_run, extension_view

    if args.target is None and args.action not in ("list", "check-policy"):
        wanted = "a package" if args.action == "run" else "a name; see waagent extensions list"
        print(f"waagent extensions: {args.action} needs {wanted}", file=sys.stderr)
        return 2
    if args.action == "run":
        return extension_run.main(args, system)
    return extension_view.main(args, system)
