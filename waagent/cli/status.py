"""waagent status: how far this boot has come, and what failed.

Exit status: 0 done, 1 error (a step that provisioning needs has failed, or a stage was cut off), 2 degraded
(something else failed), 3 still running or not started, 4 --wait ran out of time.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from waagent.cli import text
from waagent.runner import journal
from waagent.system import System

SUMMARY = "show how far this boot has come"
EXIT = {"done": 0, "error": 1, "degraded": 2, "running": 3, "not started": 3}
TIMED_OUT = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--wait", action="store_true", help="wait until the boot stages have finished")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long --wait waits")
    parser.add_argument("--long", action="store_true", help="every step, not only the failed ones")


def main(args: argparse.Namespace, system: System) -> int:
    boot = current(system)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    timed_out = False
    while args.wait and boot["state"] in ("running", "not started"):
        if deadline is not None and time.monotonic() >= deadline:
            timed_out = True
            break
        time.sleep(0.1)
        boot = current(system)
    print(json.dumps(boot, indent=1) if args.format == "json" else render(boot, args.long))
    return TIMED_OUT if timed_out else EXIT[boot["state"]]


def current(system: System) -> dict[str, Any]:
    """The record of this boot, with stages whose process is gone marked as interrupted."""
    boot = journal.read(system)
    for stage in boot["stages"].values():
        if stage["state"] == "running" and not system.is_directory(f"/proc/{stage['pid']}") and system.root == "/":
            stage["state"] = "interrupted"
    boot["state"] = journal.state_of(boot)
    return boot


def render(boot: dict[str, Any], every_step: bool) -> str:
    lines = [f"status: {boot['state']}"]
    for name, stage in boot["stages"].items():
        counts: dict[str, int] = {}
        for step in stage["steps"]:
            counts[step["outcome"]] = counts.get(step["outcome"], 0) + 1
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no steps"
        took = f" in {text.span(stage['seconds'])}" if "seconds" in stage else ""
        lines.append(f"{name}: {stage['state']}{took} ({told})")
        rows = [
            (step["name"], step["outcome"], text.span(step["seconds"]), step["message"])
            for step in stage["steps"]
            if every_step or step["outcome"] in ("failed", "running")
        ]
        if rows:
            lines.append(text.columns(rows, "    "))
        lines.extend(f"    {refused}" for refused in stage["refused"])
    return "\n".join(lines)
