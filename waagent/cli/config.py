"""waagent config show | check | explain NAME: the options of waagent.conf, their values and sources.

Exit status of check: 0 all is well, 1 when a value is not used because something is wrong with it.
"""

from __future__ import annotations

import argparse
import json
import sys

from waagent.system import System

SUMMARY = "show, check or explain the options of waagent.conf"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("show", "check", "explain"))
    parser.add_argument("name", nargs="?", help="an option, for explain and show")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.config import render
    from waagent.runner.situation import situation

    _, loaded = situation(system)
    if args.do == "check":
        for problem in loaded.problems:
            print(problem)
        if not loaded.problems:
            print(f"{', '.join(loaded.files) or 'no configuration file'}: nothing wrong")
        return 1 if any(problem.severity == "warning" for problem in loaded.problems) else 0
    try:
        if args.do == "explain":
            if args.name is None:
                print("waagent config: explain needs the name of an option", file=sys.stderr)
                return 2
            print(render.explain(args.name, loaded), end="")
        elif args.name is not None:
            value = dict(loaded.items())[args.name]
            print(json.dumps(value) if args.format == "json" else value)
        elif args.format == "json":
            print(json.dumps(dict(loaded.items()), indent=1))
        else:
            print(render.show(loaded, every=True, origins=True), end="")
    except KeyError as error:
        print(f"waagent config: {error.args[0]}", file=sys.stderr)
        return 1
    return 0
