"""waagent events [NAME]: the events that hooks can wait for, and the hooks that do.

With --run, run the hooks of NAME now, as if it had happened (without its data); --dry-run tells what would run.

An event that this package does not have, and for which there is no hook, is none: a step of a packager or an admin
may have events of its own, and their names are known by their hooks.

Exit status: 0; 1 when a hook failed, a file in an event's directory was refused, or there is no such event; 2 a
wrong argument.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from typing import Any

from waagent.cli import text
from waagent.runner import steps
from waagent.runner.hook_events import EVENTS, NAMES
from waagent.system import System

SUMMARY = "list the events that hooks can wait for; run an event's hooks"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="an event; all when left out")
    parser.add_argument("--run", action="store_true", help="run the hooks of NAME now (root)")
    parser.add_argument("--dry-run", action="store_true", help="tell which hooks of NAME would run")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    if args.name is not None and args.name not in (*NAMES, *steps.events(system)):
        near = difflib.get_close_matches(args.name, NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(NAMES)}"
        print(f"waagent events: there is no event {args.name!r}{hint}", file=sys.stderr)
        return 1
    if args.run or args.dry_run:
        return _run(args, system)
    names = [args.name] if args.name else list(dict.fromkeys([*NAMES, *steps.events(system)]))
    known = {event.name: event for event in EVENTS}
    found: list[dict[str, Any]] = []
    for name in names:
        listing = steps.discover(system, f"on-{name}")
        event = known.get(name)
        found.append(
            {
                "name": name,
                "when": event.when if event else "not an event of this package; a step has to emit it",
                "data": list(event.data) if event else [],
                "hooks": [hook.path for hook in listing.steps],
                "refused": [str(refused) for refused in listing.refused],
            }
        )
    if args.format == "json":
        print(json.dumps({"schema": 1, "events": found}, indent=1))
    else:
        for event_ in found:
            data = f" (data: {', '.join(event_['data'])})" if event_["data"] else ""
            print(f"{event_['name']}: {event_['when']}{data}")
            rows = [(line,) for line in (*event_["hooks"], *event_["refused"])]
            if rows:
                print(text.columns(rows, "  "))
    return 1 if any(event_["refused"] for event_ in found) else 0


def _run(args: argparse.Namespace, system: System) -> int:
    from waagent.cli.stage import plan
    from waagent.runner.situation import situation
    from waagent.runner.stage import run_event

    if args.name is None:
        print("waagent events: --run and --dry-run need the name of an event", file=sys.stderr)
        return 2
    if os.geteuid() != 0 and not args.dry_run and args.root == "/":
        print("waagent events: --run needs root; with --dry-run it only looks", file=sys.stderr)
        return 1
    if args.dry_run:
        system = System(args.root, planning=True)
    profile, settings = situation(system)
    outcome = run_event(system, args.name, {}, settings, profile)
    if args.format == "json":
        print(json.dumps({"schema": 1, "steps": outcome.records}, indent=1))
    elif args.dry_run:
        print(plan(outcome.records))
    return outcome.status
