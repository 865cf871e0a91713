"""waagent status: how far this boot has come, and what failed.

    done         every boot stage has finished, nothing failed
    degraded     the machine is provisioned, but something failed
    error        a step that provisioning needs has failed, or a stage was cut off or cannot start any more
    running      a boot stage is running, or one will be
    not started  no stage has run in this boot

A step that was tried again and then succeeded is no failure. --wait ends with done, degraded or error, also when a
process was killed or systemd is not going to start a stage that is missing; with --timeout it ends in any case.

Exit status: 0 done, 1 error, 2 degraded (0 with --ok-on degraded), 3 running or not started, 4 --timeout is over.
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
# How often --wait looks at the record, and how many looks pass before it asks systemd what became of a stage.
LOOK = 0.1
LOOKS = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--wait", action="store_true", help="wait until the boot stages have finished")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long --wait waits")
    fine = "count this state as success, too"
    parser.add_argument("--ok-on", choices=("degraded",), action="append", default=[], help=fine)
    parser.add_argument("--long", action="store_true", help="every step, not only the failed ones")


def main(args: argparse.Namespace, system: System) -> int:
    boot = current(system)
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    timed_out, looks = False, 0
    while args.wait and boot["state"] in ("running", "not started"):
        if deadline is not None and time.monotonic() >= deadline:
            timed_out = True
            break
        looks += 1
        if looks % LOOKS == 0 and given_up(system, boot):
            break
        time.sleep(LOOK)
        boot = current(system)
    print(json.dumps(boot, indent=1) if args.format == "json" else render(boot, args.long))
    if timed_out:
        return TIMED_OUT
    return 0 if boot["state"] in args.ok_on else EXIT[boot["state"]]


def current(system: System) -> dict[str, Any]:
    """The record of this boot, with stages whose process is gone marked as interrupted."""
    boot = journal.read(system)
    for stage in boot["stages"].values():
        if stage["state"] == "running" and not system.is_directory(f"/proc/{stage['pid']}") and system.root == "/":
            stage["state"] = "interrupted"
    boot["state"] = journal.state_of(boot)
    return boot


def given_up(system: System, boot: dict[str, Any]) -> bool:
    """Whether systemd is not going to start a stage that is missing; then the record says so, and is final.

    A unit that is inactive or failed, has no job and whose manager has finished starting up will not run by itself.
    """
    if not system.is_directory("/run/systemd/system"):
        return False
    if any(stage["state"] == "running" for name, stage in boot["stages"].items() if name in journal.BOOT_STAGES):
        return False
    manager = system.run("systemctl", "is-system-running", ok=None, reads=True, limit=10).stdout.strip()
    if manager in ("initializing", "starting", "unknown", ""):
        return False
    missing = [name for name in journal.BOOT_STAGES if name not in boot["stages"]]
    for name in missing:
        unit = f"waagent-{name}.service"
        asked = system.run("systemctl", "show", "--property=ActiveState,Job", unit, ok=None, reads=True, limit=10)
        found = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
        if found.get("ActiveState") not in ("inactive", "failed") or found.get("Job", "0") not in ("0", ""):
            return False
        told = f"{unit} is {found['ActiveState']}, and nothing is going to start it"
        if boot["stages"]:
            boot["stages"][name] = {"state": "interrupted", "steps": [], "refused": [], "notes": [told]}
    boot["state"] = journal.state_of(boot)
    return True


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
        lines.extend(f"    {told}" for told in (*stage["refused"], *stage["notes"]))
    return "\n".join(lines)
