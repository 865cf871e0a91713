"""waagent deprovision [--user] [--force]: make the machine an image; nothing of this instance stays.

    deprovision                stop the agent, then delete host keys, leases, names, logs, histories and all state
    deprovision --user         the last provisioned account with its home as well
    deprovision --dry-run      list exactly what would go, and change nothing
    deprovision --verify       look for what must not be in an image, and change nothing
    deprovision --root DIR     any of these on an image that is mounted at DIR

What goes is the stage deprovision: one step for each thing, in modules/deprovision and hooks.d/deprovision, where
a step can be added, replaced or masked like any other. `waagent steps deprovision` lists them.

Exit status: 0 done, or answered with anything but yes; for --verify nothing was found. 1 a step failed; for
--verify something was found. 2 a wrong argument. 75 it is running already.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, Optional

from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile
    from waagent.provisioning.deprovision import Request
    from waagent.runner.steps import Listing

SUMMARY = "make the machine an image: nothing of this instance stays"
STAGE = "deprovision"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", action="store_true", help="delete the last provisioned account and its home, too")
    parser.add_argument("--force", action="store_true", help="do not ask")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="list what would go, and do nothing")
    what.add_argument("--verify", action="store_true", help="list what must not be in an image, and do nothing")
    name = "with --verify: a name that must not be in logs and account files; may be repeated"
    parser.add_argument("--name", action="append", default=[], metavar="NAME", help=name)
    keep = "with --verify: an account that is in the image on purpose; may be repeated"
    parser.add_argument("--keep-account", action="append", default=[], metavar="NAME", help=keep)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.instance.store import Store
    from waagent.provisioning import deprovision
    from waagent.runner.situation import situation
    from waagent.runner.steps import discover

    if os.geteuid() != 0 and args.root == "/":
        print("waagent deprovision: needs root", file=sys.stderr)
        return 1
    looking = args.dry_run or args.verify
    system = System(args.root, planning=looking, journalling=False)
    profile, config = situation(system)
    lib = config.text("Lib.Dir") or "/var/lib/waagent"
    facts = Store(system, lib).facts
    user, unknown = deprovision.last_user(system, lib, facts)
    request = deprovision.Request(args.user, user, unknown, offline=system.root != "/")
    if args.verify:
        names = [*args.name, *deprovision.names_of(facts, request)]
        return verify(system, profile, config, names, args.keep_account, args.format)
    listing = discover(system, STAGE)
    if args.dry_run:
        return foresee(system, profile, config, request, args.format)
    told = sys.stderr if args.format == "json" else sys.stdout
    for line in warnings(system, listing, profile, config, request):
        print(f"WARNING! {line}", file=told)
    try:
        if not args.force and not confirmed(told):
            return 0
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was changed", file=told)
        return 0
    except EOFError:
        print("\nwaagent deprovision: no answer: nothing was changed; --force does not ask", file=sys.stderr)
        return 1
    return carry_out(system, profile, config, request, args.format)


def confirmed(told: IO[str]) -> bool:
    """Ask; only an answer that begins with y means yes. Raises EOFError, KeyboardInterrupt."""
    print("Do you want to proceed (y/n)? ", end="", file=told, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise EOFError
    return answer.strip().lower().startswith("y")


def warnings(
    system: System, listing: Listing, profile: DistroProfile, config: Config, request: Request
) -> list[str]:
    """What people should know before: of the shipped steps, of those of others, of what is odd just now."""
    from waagent.provisioning import deprovision
    from waagent.runner import journal

    lines = []
    if not request.offline:
        name = os.uname().nodename
        lines.append(f"This is the running machine {name}; do this only to make an image of it.")
        running = [
            stage for stage, record in journal.read(system)["stages"].items() if record["state"] == "running"
        ]
        for stage in running:
            if stage in journal.BOOT_STAGES:
                lines.append(f"The stage {stage} has not finished; it writes state again when it does.")
    for step in listing.steps:
        if step.rank == "vendor":
            lines += deprovision.warnings([step.name], config, profile, request)
        else:
            lines.append(f"{step.path}: {step.module.summary or step.name}")
    lines += [f"{masked.by}: the step {masked.name} is left out." for masked in listing.masked]
    lines += [str(refused) for refused in listing.refused]
    return lines


def foresee(system: System, profile: DistroProfile, config: Config, request: Request, form: str) -> int:
    """Print what each step would do."""
    from waagent.cli.stage import plan
    from waagent.runner.stage import Wish, run_stage

    with _quiet():
        outcome = run_stage(system, STAGE, config, profile, Wish(event=STAGE, event_data=request.data()))
    if form == "json":
        print(json.dumps({"schema": 1, "steps": outcome.records}, indent=1))
    else:
        print(plan(outcome.records))
    return outcome.status


def verify(
    system: System, profile: DistroProfile, config: Config, names: list[str], keep: list[str], form: str
) -> int:
    """Print what is left of an instance."""
    from waagent.provisioning import traces

    found = traces.find(system, profile, config, names, keep)
    if form == "json":
        print(json.dumps({"schema": 1, "traces": [trace._asdict() for trace in found]}, indent=1))
    else:
        for trace in found:
            print(trace)
        if not found:
            print("no trace of an instance was found")
    return 1 if found else 0


def carry_out(system: System, profile: DistroProfile, config: Config, request: Request, form: str) -> int:
    """Run the stage. Whoever started this may be gone before it ends: its session, or the agent it stops."""
    from waagent.runner.stage import Wish, run_stage

    signal.signal(signal.SIGINT, _not_now)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Lasting(out), _Lasting(err)
    try:
        outcome = run_stage(system, STAGE, config, profile, Wish(event=STAGE, event_data=request.data()))
        if system.root != "/":
            system.remove_tree("/run/waagent")  # memory on a running machine, a left-over in an image
        _report(outcome.status, outcome.message, outcome.records, request, form)
    finally:
        sys.stdout, sys.stderr = out, err
    return outcome.status


def _report(status: int, message: str, records: list[dict[str, Any]], request: Request, form: str) -> None:
    if message:
        print(f"waagent deprovision: {message}", file=sys.stderr)
    if form == "json":
        print(json.dumps({"schema": 1, "steps": records}, indent=1))
    failed = [record for record in records if record["outcome"] == "failed"]
    for record in failed:
        print(f"waagent deprovision: {record['name']} failed: {record['message']}", file=sys.stderr)
    if failed:
        print("waagent deprovision: this is no image yet; correct that and run it again", file=sys.stderr)
    elif status == 0 and not request.offline and form == "text":
        print("Done. Unset HISTFILE in the shells that are open, and switch the machine off.")


def _not_now(number: int, frame: Optional[FrameType]) -> None:
    print("cannot be interrupted now: an image that is half cleaned is none", file=sys.stderr)


class _quiet:
    """Without the log lines on standard error: the plan says the same in order."""

    def __enter__(self) -> None:
        self._err, sys.stderr = sys.stderr, io.StringIO()

    def __exit__(self, *error: object) -> None:
        sys.stderr = self._err


class _Lasting(io.TextIOBase):
    """A stream that goes on, silent, when its reader is gone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream: Optional[IO[str]] = stream

    def write(self, text: str) -> int:
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None
        return len(text)

    def flush(self) -> None:
        """Each write is flushed."""
