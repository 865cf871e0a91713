"""waagent telemetry: what waits to be told to the platform's people, as it would be sent.

Looks and changes nothing. With Telemetry.Enabled=n nothing is written down, so nothing waits. Extensions' own
events are shown once the agent has collected them; until then the number of their files is told.

Exit status: 0; 1 when the events cannot be read, which are root's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from waagent import events
from waagent.cli import text
from waagent.system import System

SUMMARY = "show what waits to be told to the platform's people"
LOGS = "/var/log/azure"
SHOWN = 100  # letters of a message in a line


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.fabric import cache
    from waagent.instance.store import Store, find
    from waagent.runner.situation import situation
    from waagent.telemetry import extension_events, spool
    from waagent.telemetry.columns import Columns

    _, config = situation(system)
    lib = config.text("Lib.Dir") or "/var/lib/waagent"
    folder = system.path(f"{lib}/{events.FOLDER}")
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        print(f"waagent telemetry: {folder} is root's; try it as root", file=sys.stderr)
        return 1
    facts = Store(system, lib).facts

    def fact(key: str) -> object:
        try:
            return find(facts, key)
        except KeyError:
            return None

    state = cache.read(system, lib)
    known = Columns.of(system, fact, state.names if state is not None else None)
    files, unusable = spool.read(system, lib)
    listed = [
        {"provider": raw.provider, "event": raw.number, "columns": dict(known.complete(raw))}
        for file in files
        for raw in file.events
    ]
    logs = config.text("Extension.LogDir") or LOGS
    uncollected = {
        handler: len(names)
        for handler, place in extension_events.folders(system, logs).items()
        if (names := system.listing(place))
    }
    enabled = config.switch("Telemetry.Enabled")
    if args.format == "json":
        told = {"schema": 1, "enabled": enabled, "events": listed, "unusable": unusable, "extensions": uncollected}
        print(json.dumps(told, indent=1))
    else:
        print(render(enabled, listed, unusable, uncollected))
    return 0


def render(enabled: bool, listed: list[dict[str, Any]], unusable: dict[str, str], waiting: dict[str, int]) -> str:
    lines = ["telemetry is on" if enabled else "telemetry is off (Telemetry.Enabled=n): nothing is kept or sent"]
    lines.append(f"{len(listed)} event{'s' if len(listed) != 1 else ''} to be sent")
    rows = [_row(one["columns"]) for one in listed]
    if rows:
        lines.append(text.columns(rows, "  "))
        same = listed[-1]["columns"]
        lines.append("with each, this machine:")
        lines.append(text.columns([(name, str(same[name])) for name in _MACHINE if name in same], "  "))
    lines += [f"{name} is no event and will be removed: {why}" for name, why in unusable.items()]
    lines += [f"{count} files of {handler} are not collected yet" for handler, count in waiting.items()]
    return "\n".join(lines)


_MACHINE = (
    "GAVersion", "ContainerId", "OSVersion", "ExecutionMode", "RAM", "Processors", "KeywordName", "TenantName",
    "RoleName", "RoleInstanceName", "Location", "SubscriptionId", "ResourceGroupName", "VMId", "ImageOrigin",
)  # fmt: skip


def _row(columns: dict[str, Any]) -> tuple[str, str, str, str]:
    what = columns.get("Operation") or columns.get("EventName") or columns.get("Counter") or ""
    message = str(columns.get("Message") or columns.get("Context1") or columns.get("Value") or "")
    line = " ".join(message.split())
    ok = "" if columns.get("OperationSuccess", True) else "failed"
    return (str(columns.get("OpcodeName", "")), str(what), ok, line if len(line) <= SHOWN else line[:SHOWN] + "...")


__all__ = ["SUMMARY", "arguments", "main", "render"]
