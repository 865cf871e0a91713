"""waagent steps [STAGE]: the merged order of steps, what each replaces, what is masked, what is refused and why.

Nothing is run to find this out. Exit status: 0; 1 when a file was refused; 2 for a stage that is none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from waagent.cli import text
from waagent.runner import steps
from waagent.runner.places import EVERY_STAGE
from waagent.system import System

SUMMARY = "list the steps in the order in which they run, and what overrides what"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", nargs="?", help=f"{', '.join(EVERY_STAGE)}, or on-EVENT; all when left out")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    if args.stage and args.stage not in EVERY_STAGE and not args.stage.startswith("on-"):
        told = f"there is no stage {args.stage!r}: the stages are {', '.join(EVERY_STAGE)}, and on-EVENT"
        print(f"waagent steps: {told}", file=sys.stderr)
        return 2
    names = [args.stage] if args.stage else [*EVERY_STAGE, *(f"on-{event}" for event in steps.events(system))]
    listings = [steps.discover(system, name) for name in names]
    if args.format == "json":
        print(json.dumps({"schema": 1, "stages": [as_dict(listing) for listing in listings]}, indent=1))
    else:
        print("\n\n".join(render(listing) for listing in listings))
    unread = [item for listing in listings for item in listing.refused if item.reason.endswith("Permission denied")]
    if unread and os.geteuid() != 0:
        print(f"waagent steps: {len(unread)} files are for root's eyes; as root all are listed", file=sys.stderr)
    return 1 if any(listing.refused for listing in listings) else 0


def as_dict(listing: steps.Listing) -> dict[str, Any]:
    return {
        "stage": listing.stage,
        "steps": [
            {
                "number": step.number,
                "name": step.name,
                "path": step.path,
                "rank": step.rank,
                "kind": step.kind,
                "summary": step.module.summary,
                "frequency": step.module.frequency,
                "every": step.module.every,
                "watching": list(step.module.watching),
                "on": list(step.module.on),
                "when": list(step.module.when),
                "limit": step.module.limit,
                "essential": step.module.essential,
                "replaces": list(step.replaces),
            }
            for step in listing.steps
        ],
        "masked": [{"name": item.name, "by": item.by, "what": list(item.what)} for item in listing.masked],
        "refused": [{"path": item.path, "reason": item.reason} for item in listing.refused],
        "notes": list(listing.notes),
    }


def render(listing: steps.Listing) -> str:
    lines = [f"{listing.stage}"]
    rows = []
    for step in listing.steps:
        module = step.module
        rhythm = module.frequency
        if module.every is not None:
            rhythm = f"every {module.every}" + ("" if isinstance(module.every, str) else " s")
        elif module.on:
            rhythm = f"on {', '.join(module.on)}"
        rows.append((f"{step.number:02d}", step.name, rhythm, step.path, module.summary))
    lines.append(text.columns(rows, "  ") if rows else "  (no steps)")
    lines.extend(f"  {step.name} replaces {path}" for step in listing.steps for path in step.replaces)
    for item in listing.masked:
        hides = f" (hides {', '.join(item.what)})" if item.what else ""
        lines.append(f"  {item.name} is masked by {item.by}{hides}")
    lines.extend(f"  {refused}" for refused in listing.refused)
    lines.extend(f"  note: {note}" for note in listing.notes)
    return "\n".join(lines)
