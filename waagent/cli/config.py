"""waagent config show [NAME] | check | explain NAME: the options of waagent.conf, their values and sources.

    show      every option with its value and the file and line (or "default", or the profile) that says so
    check     what is wrong in the files, each with what would be right
    explain   all there is to know about one option

Exit status: 0; 1 for an unknown option, and for check when a value is not used because something is wrong with it;
2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config

SUMMARY = "show, check or explain the options of waagent.conf"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("show", "check", "explain"))
    parser.add_argument("name", nargs="?", help="an option, for explain and show")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.config import render, settings
    from waagent.runner.situation import situation

    _, loaded = situation(system)
    if args.do == "check":
        return _check(loaded, args.format)
    if args.do == "explain" and args.name is None:
        print("waagent config: explain needs the name of an option", file=sys.stderr)
        return 2
    if args.name is not None and args.do == "show" and args.name not in dict(loaded.items()):
        told = "has no value of its own" if args.name in settings.by_name() else "is no option"
        print(f"waagent config: {args.name} {told}; see waagent config explain {args.name}", file=sys.stderr)
        return 1
    names = [name for name, _ in loaded.items()] if args.name is None else [args.name]
    try:
        if args.do == "explain":
            print(render.explain(args.name, loaded), end="")
            readers = _readers(args.name, system)
            if readers:
                print(f"  read by:  {', '.join(readers)}")
        elif args.format == "json":
            print(json.dumps({"schema": 1, "options": {name: _one(name, loaded) for name in names}}, indent=1))
        elif args.name is not None:
            print(render.shown(settings.find(args.name), dict(loaded.items())[args.name]))
        else:
            print(render.show(loaded, every=True, origins=True), end="")
    except KeyError as error:
        print(f"waagent config: {error.args[0]}", file=sys.stderr)
        return 1
    return 0


def _check(loaded: Config, form: str) -> int:
    if form == "json":
        problems = [
            dict(zip(("file", "line", "option", "message", "severity"), one.as_list())) for one in loaded.problems
        ]
        print(json.dumps({"schema": 1, "files": list(loaded.files), "problems": problems}, indent=1))
    else:
        for problem in loaded.problems:
            print(problem)
        if not loaded.problems:
            print(f"{', '.join(loaded.files) or 'no configuration file'}: nothing wrong")
    return 1 if any(problem.severity == "warning" for problem in loaded.problems) else 0


def _one(name: str, loaded: Config) -> dict[str, Any]:
    """Value, source and default of one option; a password in a value is hidden."""
    from waagent.config import render, settings

    option = settings.find(name)
    value = dict(loaded.items())[name]
    shown = render.shown(option, value) if option.secret and value is not None else value
    return {"value": shown, "source": loaded.source(name), "default": option.default}


def _readers(name: str, system: System) -> list[str]:
    """The steps that declare that they read the option, as stage/name."""
    from fnmatch import fnmatchcase

    from waagent.runner.places import EVERY_STAGE
    from waagent.runner.steps import discover

    return [
        f"{step.stage}/{step.name}"
        for stage in EVERY_STAGE
        for step in discover(system, stage).steps
        if step.module.every == name or any(fnmatchcase(name, pattern) for pattern in step.module.reads)
    ]
