"""waagent distro [show [KEY]]: what this distribution is like, and which file says so.

Exit status: 0; 1 for an unknown key, or when an override in /etc/waagent/distro.d does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from waagent.cli import text
from waagent.system import System

SUMMARY = "show the distro profile and where each key comes from"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", nargs="?", choices=("show",), default="show")
    parser.add_argument("key", nargs="?", help="a dotted key, or a section: services.ssh, services")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.runner.situation import situation

    profile, _ = situation(system)
    for problem in profile.problems:
        print(f"waagent distro: {problem}", file=sys.stderr)
    failed = 1 if profile.problems else 0
    try:
        value = profile.as_dict() if args.key is None else profile.get(args.key)
    except KeyError as error:
        print(f"waagent distro: {error.args[0]}", file=sys.stderr)
        return 1
    if args.format == "json":
        head = {"name": profile.name, "id": profile.id, "version": profile.version, "names": list(profile.names)}
        whole: dict[str, Any] = {"schema": 1, **head, "values": value}
        if args.key is None:
            whole["origins"] = profile.origins
        print(json.dumps(whole, indent=1, ensure_ascii=False))
        return failed
    if args.key is None:
        print(f"profile {profile.name} (names {', '.join(profile.names)}), system {profile.id} {profile.version}")
        print()
    rows = [
        (key, json.dumps(leaf, ensure_ascii=False), _origin(profile.origins, key).rpartition("/")[2])
        for key, leaf in _leaves(value, args.key or "")
    ]
    print(text.columns([(key, told if len(told) < 78 else told[:77] + "…", origin) for key, told, origin in rows]))
    return failed


def _origin(origins: dict[str, str], key: str) -> str:
    """The file that set the key, or the mapping that it is part of (whose keys may contain dots)."""
    while key and key not in origins:
        key = key.rpartition(".")[0]
    return origins.get(key, "")


def _leaves(value: Any, key: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        return [(key, value)]
    found = []
    for name, below in value.items():
        found += _leaves(below, f"{key}.{name}" if key else str(name))
    return found
