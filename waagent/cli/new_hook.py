"""waagent new-hook STAGE NN-name: write a working hook, full of comments, to begin with.

STAGE is one of local, network, config, final, periodic; or an event, with --event or as on-EVENT. The file goes to
/etc/waagent/hooks.d/<stage>/ (or --dir) with the right owner and mode, and does nothing yet but say that it ran.
Nothing is ever overwritten.

Exit status: 0 written, 1 not written, 2 a wrong argument.
"""

from __future__ import annotations

import argparse
import os
import sys

from waagent.runner import refusal, steps
from waagent.runner.hook_events import NAMES
from waagent.runner.places import EVERY_STAGE
from waagent.system import System

SUMMARY = "write a working hook to begin with"
ADMIN = "/etc/waagent/hooks.d"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE", help=f"{', '.join(EVERY_STAGE)}, or the name of an event")
    parser.add_argument("name", metavar="NN-name", help="two digits for the place, then a name: 35-mount-data")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--shell", action="store_true", help="a shell script (this is the default)")
    form.add_argument("--python", action="store_true", help="a Python step, with MODULE and run(ctx)")
    parser.add_argument("--event", action="store_true", help="STAGE is an event: the hook goes into on-STAGE/")
    parser.add_argument("--dir", metavar="DIR", help="where to put it, for packages and images")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.cli import hook_text

    stage = args.stage
    if args.event or (stage in NAMES and stage not in EVERY_STAGE):
        stage = stage if stage.startswith("on-") else f"on-{stage}"
    event = stage[3:] if stage.startswith("on-") else ""
    if not event and stage not in EVERY_STAGE:
        known = f"the stages are {', '.join(EVERY_STAGE)}; the events {', '.join(NAMES)}"
        told = f"there is no stage {stage!r}: {known}"
        print(f"waagent new-hook: {told} (others with --event)", file=sys.stderr)
        return 2
    python = args.python or (args.name.endswith(".py") and not args.shell)
    file = args.name if "." in args.name else f"{args.name}{'.py' if python else '.sh'}"
    reason = refusal.of_name(file)
    if reason is None and file.endswith(".py") != python:
        reason = "a Python step ends in .py, and nothing else does"
    if reason is not None:
        print(f"waagent new-hook: {file}: {reason}", file=sys.stderr)
        return 2
    if args.dir is None and args.root == "/" and os.geteuid() != 0:
        told = f"{ADMIN} is root's; try it as root, or write elsewhere with --dir"
        print(f"waagent new-hook: {told}", file=sys.stderr)
        return 1

    folder = args.dir or str(system.path(f"{ADMIN}/{stage}"))
    path = os.path.join(folder, file)
    name = str(refusal.NAME.match(file)["name"])  # type: ignore[index]  # of_name has accepted it
    text = hook_text.python(stage, event, file) if python else hook_text.shell(stage, event, file)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        print(f"waagent new-hook: {path} exists; it stays as it is", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"waagent new-hook: cannot write {path}: {error.strerror}", file=sys.stderr)
        return 1
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        os.fchmod(descriptor, 0o644 if python else 0o755)
    print(f"wrote {path}")
    if args.dir is None:
        _tell(system, stage, event, name, path)
    elif event and event not in NAMES:
        print(f"note: {event} is no event of this package; a step has to emit it")
    return 0


def _tell(system: System, stage: str, event: str, name: str, path: str) -> None:
    """What the new file does to the stage, and how to try it."""
    listing = steps.discover(system, stage)
    written = next((step for step in listing.steps if str(system.path(step.path)) == path), None)
    for refused in listing.refused:
        if str(system.path(refused.path)) == path:
            print(f"but it would not run: {refused.reason}")
    if written is not None and written.replaces:
        print(f"note: it replaces {written.replaces[0]}, which does not run any more")
    if event and event not in NAMES:
        print(f"note: {event} is no event of this package; a step has to emit it")
    root = "" if system.root == "/" else f" --root {system.root}"
    if event:
        print(f"see it:  waagent events {event}{root}")
        print(f"try it:  waagent events {event} --run{root}")
    else:
        print(f"see it:  waagent steps {stage}{root}")
        print(f"try it:  waagent stage {stage} --only {name} --force{root}      (--dry-run: only tell)")
    print(f"check:   waagent validate {path}")
