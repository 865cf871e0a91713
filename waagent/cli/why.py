"""waagent why PATH: which step changed this file, when, and in which way.

Reads the effects journal, which is root's; for a directory, all below it. The path may also be that of a program
that was run. Exit status: 0, or 1 when the agent never changed it.
"""

from __future__ import annotations

import argparse
import os
import sys

from waagent.cli import text
from waagent.system import System, effects

SUMMARY = "tell which step changed a file, and when"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    path = os.path.normpath(os.path.join(os.getcwd(), args.path))
    records = [
        record
        for record in effects.read(str(system.path(effects.JOURNAL)))
        if record.effect.path == path
        or record.effect.path.startswith(path.rstrip("/") + "/")
        or path in record.effect.argv
        or (record.effect.kind == "rename" and record.effect.note == f"to {path}")
    ]
    if not records:
        print(f"waagent why: the agent has no record of changing {path}", file=sys.stderr)
        return 1
    if args.format == "json":
        print(as_json(records))
    else:
        print(render(records))
    return 0


def as_json(records: list[effects.Record]) -> str:
    """{"schema": 1, "effects": [{time, stage, step, kind, path or argv, note}]}, one effect a line."""
    lines = ",\n ".join(record.line().decode().strip() for record in records)
    return f'{{"schema": 1, "effects": [{lines}]}}'


def render(records: list[effects.Record]) -> str:
    rows = [(record.time, f"{record.stage}/{record.step}".strip("/"), str(record.effect)) for record in records]
    return text.columns(rows)


__all__ = ["SUMMARY", "arguments", "as_json", "main", "render"]
