"""waagent stage NAME: run one stage of the boot (or the periodic stage) now.

Exit status: 0 no step failed, 1 one did or the stage cannot run, 2 a wrong argument, 75 the stage is running
already, 128+n when signal n ended it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from waagent.runner.places import STAGES
from waagent.system import System

SUMMARY = "run a stage, or foresee what it would do"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    one = "run this step alone; may be repeated"
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help=one)
    parser.add_argument("--force", action="store_true", help="run what is done already, too")
    parser.add_argument("--event", metavar="NAME", help="run the periodic steps that wait for this event")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of what --dry-run prints")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.errors import WaagentError
    from waagent.runner.guard import Minded, guarded
    from waagent.runner.situation import situation
    from waagent.runner.stage import Wish, run_stage

    if os.geteuid() != 0 and not args.dry_run and args.root == "/":
        print("waagent stage: needs root; with --dry-run it only looks", file=sys.stderr)
        return 1
    if args.event and args.stage != "periodic":
        print(f"waagent stage: --event goes with the periodic stage, not with {args.stage}", file=sys.stderr)
        return 2
    if args.dry_run:
        system = System(args.root, planning=True)
        profile, settings = situation(system)
        outcome = run_stage(system, args.stage, settings, profile, Wish(tuple(args.only), args.force, args.event))
        as_json = json.dumps({"schema": 1, "steps": outcome.records}, indent=1)
        print(as_json if args.format == "json" else plan(outcome.records))
        return outcome.status

    wish = Wish(tuple(args.only), args.force, args.event, began=process_start())

    def body(minded: Minded) -> int:
        # The engine lives in a process of its own, which forgets what it inherited and could not pass on to a hook.
        close_on_exec()
        try:
            profile, settings = situation(system)
            outcome = run_stage(system, args.stage, settings, profile, wish, minded)
        except WaagentError as error:
            print(f"waagent stage: {error.message}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        if outcome.message:
            print(f"waagent stage: {outcome.message}", file=sys.stderr)
        return outcome.status

    return guarded(body)


def process_start() -> float | None:
    """When this process was started, in seconds since boot (hundredths), where /proc tells."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


def close_on_exec() -> None:
    """Let no descriptor but the three pass on to a program."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            continue


def plan(records: list[dict[str, Any]]) -> str:
    """What a dry run found, step by step."""
    lines = []
    for record in records:
        verb = {"changed": "would change", "failed": "would fail"}.get(record["outcome"], record["outcome"])
        lines.append(f"{record['name']}: {verb}: {record['message']}")
        lines.extend(f"    {effect}" for effect in record.get("effects", ()))
    return "\n".join(lines) if lines else "no step would run"
