"""waagent query [KEY]: what is known about this instance, by dotted key (ovf.host_name, fabric.endpoint).

Anyone may ask for public facts; secret ones are answered to root alone. A text is printed as it is, anything else
as JSON; with --format json a text too. --all (or no KEY) prints {"schema": 1, "vm_id", "facts", "secrets": names}.

Exit status: 0; 1 for a key that is not known, a secret one without root, or before there is any instance data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from waagent.instance.store import Store, find
from waagent.runner.situation import state_directory
from waagent.system import System

SUMMARY = "show instance data"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", nargs="?", help="a dotted key; lists are counted from 0")
    parser.add_argument("--all", action="store_true", help="everything public, with the names of the secrets")
    parser.add_argument("--list-keys", action="store_true", help="the keys that KEY could be")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    lib = state_directory(system)
    try:
        public = json.loads(system.read(f"{lib}/instance/public.json"))
    except (FileNotFoundError, ValueError):
        print("waagent query: no instance data yet; the local stage has not run", file=sys.stderr)
        return 1
    if args.list_keys:
        keys = sorted(_keys(public["facts"]))
        if args.format == "json":
            print(json.dumps({"schema": 1, "public": keys, "secret": public["secrets"]}, indent=1))
        else:
            print("\n".join(keys + [f"{key} (secret)" for key in public["secrets"]]))
        return 0
    if args.all or args.key is None:
        print(json.dumps(public, indent=1, sort_keys=True))
        return 0
    return _one(args.key, public, lib, system, args.format)


def _one(key: str, public: dict[str, Any], lib: str, system: System, form: str) -> int:
    try:
        value = find(public["facts"], key)
    except KeyError:
        if not any(secret == key or secret.startswith(f"{key}.") for secret in public["secrets"]):
            print(f"waagent query: {key} is not known; see waagent query --list-keys", file=sys.stderr)
            return 1
        if os.geteuid() != 0:
            print(f"waagent query: {key} is secret; root may ask for it", file=sys.stderr)
            return 1
        value = find(Store(system, lib).secrets, key)
    if form == "json" or isinstance(value, (dict, list)):
        print(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        print(json.dumps(value) if isinstance(value, (bool, type(None))) else value)
    return 0


def _keys(tree: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found += _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found
