"""waagent collect-logs: pack the logs of agent, extensions and system for support, without their secrets.

The archive is <Lib.Dir>/logcollector/logs.zip, made anew each time; results.txt beside it says what is in it and
what was left out. Nothing is sent anywhere: the periodic step collect-logs does that, below limits.
Exit status: 0 done, 1 the archive could not be made; with --confined also 2 no control groups, 3 stopped for using
more than its share, 4 not in its slice.
"""

from __future__ import annotations

import argparse
import os
import sys

from waagent.system import System

SUMMARY = "pack logs for support"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="also network, boot and package manager")
    parser.add_argument("--confined", action="store_true", help="refuse to run outside of its own slice and limits")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.errors import WaagentError
    from waagent.instance.store import Store
    from waagent.logs import collect, manifest, scope
    from waagent.runner.situation import LIB, situation

    if os.geteuid() != 0 and args.root == "/":
        print("waagent collect-logs: needs root", file=sys.stderr)
        return 1
    profile, settings = situation(system)
    lib = settings.text("Lib.Dir") or LIB
    log = profile.text("paths.log") or "/var/log/waagent.log"
    sources = manifest.sources(
        profile, lib, settings.text("Extension.LogDir") or "/var/log/azure", log, full=args.full
    )
    confinement = scope.Confinement(system)
    try:
        if args.confined:
            confinement.check()
        made = collect.collect(
            system, sources, f"{lib}/logcollector", full=args.full,
            secrets=_texts(Store(system, lib).secrets), watch=confinement.watch,
        )  # fmt: skip
    except scope.NotConfined as error:
        print(f"waagent collect-logs: {error.message}", file=sys.stderr)
        return int(str(error.facts["status"]))
    except WaagentError as error:
        print(f"waagent collect-logs: {error.message}", file=sys.stderr)
        return 1
    print(f"packed {made.files} files, {made.size} bytes, into {made.archive}; {made.results} tells which")
    return 0


def _texts(tree: object) -> list[str]:
    """Every text in a tree of JSON values."""
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in _texts(value)]
    if isinstance(tree, (list, tuple)):
        return [text for value in tree for text in _texts(value)]
    return [tree] if isinstance(tree, str) else []
