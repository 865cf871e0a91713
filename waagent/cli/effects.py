"""waagent effects: everything the agent did to this machine, oldest first.

Reads the effects journal, which is root's. Exit status: 0; 1 for who may not read it.
"""

from __future__ import annotations

import argparse

from waagent.cli.why import as_json, render
from waagent.system import System, effects

SUMMARY = "list what the agent did to this machine"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", help="only of this stage")
    parser.add_argument("--step", help="only of this step")
    parser.add_argument("--last", type=int, metavar="N", help="only the last N")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    records = [
        record
        for record in effects.read(str(system.path(effects.JOURNAL)))
        if args.stage in (None, record.stage) and args.step in (None, record.step)
    ]
    if args.last is not None:
        records = records[-args.last :] if args.last > 0 else []
    if args.format == "json":
        print(as_json(records))
    elif records:
        print(render(records))
    return 0
