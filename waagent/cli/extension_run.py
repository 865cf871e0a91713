"""How `waagent extensions run` shows what a handler package does, step by step, and with what status it ends."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from waagent.cli import text
from waagent.errors import ExtensionError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.extensions.commands import Command
    from waagent.extensions.local import Bench, Done, Package
    from waagent.fabric.desired import Settings

HEADINGS = ("[stdout]", "[stderr]")  # of a command's output
# What a handler has from the agent of a machine; the rest of a terminal's would hide what it lacks there.
INHERITED = re.compile(r"HOME|LANG|LC_[A-Z]+|WAAGENT_[A-Z_]+")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.extensions import layout, local

    verbs = [verb.strip() for verb in args.operation.split(",") if verb.strip()]
    odd = [verb for verb in verbs if verb not in local.COMMANDS]
    if odd or not verbs:
        wanted = ", ".join(local.COMMANDS)
        said = repr(odd[0]) if odd else "nothing"
        print(f"waagent extensions: --operation: {said} is none of {wanted}", file=sys.stderr)
        return 2
    negative = [word for word in ("sequence", "limit", "wait") if getattr(args, word) < 0]
    if negative:
        print(f"waagent extensions: --{negative[0]} cannot be negative", file=sys.stderr)
        return 2
    try:
        packed = local.package(args.target, args.name, args.version)
        before = local.package(args.update_from, args.name or packed.name) if args.update_from else None
        public, protected = _read(args.settings), _read(args.protected)
    except ExtensionError as error:
        print(f"waagent extensions: {error.message}", file=sys.stderr)
        return 2
    if before is not None:
        verbs = list(dict.fromkeys([*verbs, "update"]))
    elif "update" in verbs:
        print("waagent extensions: --operation update needs --from OLD.zip, what to update from", file=sys.stderr)
        return 2
    wrong = layout.objection(packed.name, packed.version, tuple(args.instance))
    if before is not None and before.version == packed.version:
        wrong = f"it cannot be updated from {before.version} to itself; say --version"
    if wrong:
        print(f"waagent extensions: cannot run {packed.name}: {wrong}", file=sys.stderr)
        return 2
    shown = _nothing if args.format == "json" else _show
    try:
        with _tree(args, system) as tree, _variables_of_an_agent():
            bench = local.Bench(system, tree, args.limit, begun=_show_begun, over=shown)
            try:
                settings = _settings(bench, packed.name, args, public, protected)
                status, well = _try(bench, args, packed, before, settings, verbs)
                result, code = ("succeeded", 0) if well else ("failed", 1)
            except _Interrupted as interrupted:
                status, result, code = [], "interrupted", interrupted.code
                bench.notes.append(f"{interrupted.signal.name}: the command was ended")
            report = _report(bench, packed, status, result, tree if args.keep else "")
            print(json.dumps(report, indent=1) if args.format == "json" else _ending(report), flush=True)
    except _Interrupted as interrupted:  # before there was anything, or after all was over
        return interrupted.code
    return code


def _try(
    bench: Bench,
    args: argparse.Namespace,
    packed: Package,
    before: Package | None,
    settings: tuple[Settings, ...],
    verbs: list[str],
) -> tuple[list[dict[str, Any]], bool]:
    """Run the commands; the status entries after enable, and whether all went well."""
    from waagent.extensions import local

    multi = bool(args.instance)
    adding = [verb for verb in verbs if verb in ("install", "enable", "update")]
    removing = [verb for verb in verbs if verb in ("disable", "uninstall")]
    well = before is None or bench.run(before, settings, ("install", "enable"), multi)
    well = well and (not adding or bench.run(packed, settings, adding, multi))
    if "enable" in verbs and well:
        _progress(f"waits for the status, {args.wait:.0f} s at most")
        status = bench.await_status(args.wait)
        late = sum(local.of_extension(entry) not in (*local.FINAL, "") for entry in status)
        if late:
            bench.notes.append(f"neither success nor error within {args.wait:g} s after enable (--wait)")
    else:
        status = bench.status()
    well = well and (not removing or bench.run(packed, settings, removing, multi))
    if any(done.verb in removing for done in bench.done):
        bench.notes.append(f"the status is the one before {' and '.join(removing)}")
    idle = [verb for verb in removing if well and verb not in [done.verb for done in bench.done]]
    if idle:
        first = "install" if idle == ["uninstall"] else "install,enable"
        bench.notes.append(f"nothing was there to {' or '.join(idle)}; put {first} before it in --operation")
    well = well and not idle and all(done.well for done in bench.done)
    if "enable" in verbs and settings:
        well = well and bool(status) and all(local.of_extension(entry) == "success" for entry in status)
    return status, well


@contextmanager
def _variables_of_an_agent() -> Iterator[None]:
    before = dict(os.environ)
    for name in before:
        if not INHERITED.fullmatch(name):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def _tree(args: argparse.Namespace, system: System) -> Iterator[str]:
    """A directory for the run, as a path of the machine; it goes afterwards, also when somebody ends the run."""
    from waagent.extensions import mounts

    place = os.path.abspath(args.tree)
    point = mounts.noexec(system, place)
    if point:
        told = f"no handler can run in {place}: {point} is mounted noexec; name another directory with --in"
        raise ExtensionError(told, handler="")
    with _ending_in_order():
        try:
            folder = tempfile.mkdtemp(prefix="waagent-extension-", dir=str(system.path(place)))
        except OSError as error:
            told = f"cannot make the tree in {place}: {error.strerror}; see --in"
            raise ExtensionError(told, handler="") from error
        here = f"{place.rstrip('/')}/{os.path.basename(folder)}"
        try:
            yield here
        finally:
            if not args.keep:
                shutil.rmtree(folder, ignore_errors=True)
            elif sys.exc_info()[0] is not None:
                print(f"kept: {here}", file=sys.stderr)


class _Interrupted(BaseException):
    """Somebody wants the run to end."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        self.code = 128 + number


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Ctrl-C and what ends a session become exceptions, once: what follows has to be finished."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    numbers = [one for one in numbers if signal.getsignal(one) != signal.SIG_IGN]  # as nohup leaves it

    def leave(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise _Interrupted(number)

    before = {one: signal.signal(one, leave) for one in numbers}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _read(path: str | None) -> Any:
    """The settings in a file, None without one. Raises ExtensionError."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8-sig") as stream:
            found = json.load(stream)
    except OSError as error:
        raise ExtensionError(f"cannot use the settings in {path}: {error.strerror}", handler="") from error
    except UnicodeDecodeError as error:
        told = f"cannot use the settings in {path}: they are not UTF-8 (byte {error.start})"
        raise ExtensionError(told, handler="") from error
    except (ValueError, RecursionError) as error:
        told = f"cannot use the settings in {path}: they are not JSON ({error})"
        raise ExtensionError(told, handler="") from error
    if not isinstance(found, dict):
        raise ExtensionError(f"cannot use the settings in {path}: they are no JSON object", handler="")
    return found


def _settings(
    bench: Bench, name: str, args: argparse.Namespace, public: Any, protected: Any
) -> tuple[Settings, ...]:
    """Those of the handler, or the same ones for each instance; none where no file is named and no instance."""
    from waagent.fabric.desired import Settings

    if public is None and protected is None and not args.instance:
        return ()
    encrypted, thumbprint = bench.protect(protected) if protected is not None else (None, None)
    return tuple(
        Settings(one, args.sequence, public=public, protected=encrypted, thumbprint=thumbprint)
        for one in dict.fromkeys(args.instance or [name])
    )


def _report(
    bench: Bench, packed: Package, status: list[dict[str, Any]], result: str, tree: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "handler": packed.name,
        "version": packed.version,
        "result": result,
        "tree": tree or None,
        "operations": [
            {
                "operation": done.verb,
                "version": done.version,
                "extension": done.instance,
                "command": done.line,
                "exit_code": done.ended.status if done.ended else None,
                "timed_out": bool(done.ended and done.ended.timed_out),
                "seconds": round(done.ended.seconds, 3) if done.ended else None,
                "output": done.ended.output if done.ended else done.error,
            }
            for done in bench.done
        ],
        "status": status,
        "notes": bench.notes,
    }


# -- what is shown meanwhile ---------------------------------------------------------------------------------


def _progress(told: str) -> None:
    """For somebody who sits and waits."""
    if sys.stderr.isatty():
        print(f"... {told}", file=sys.stderr, flush=True)


def _show_begun(command: Command) -> None:
    _progress(f"{command.verb} {command.version} runs, {command.limit:.0f} s at most")


def _nothing(done: Done) -> None:
    """With --format json all is told in the end."""


def _show(done: Done) -> None:
    """A command that is over, with its output."""
    if done.ended is None:
        how, output = "not started", done.error
    else:
        output, span = done.ended.output, text.span(done.ended.seconds)
        how = f"exit code {done.ended.status} after {span}"
        if done.ended.timed_out:
            how = f"over its limit, killed after {span}"
    lines = [f"{done.verb} {f'of {done.instance} ' if done.instance else ''}{done.version}: {how}: {done.line}"]
    said = [line for line in output.splitlines() if line.strip()]
    lines += [
        f"    {line}"
        for line, following in zip(said, [*said[1:], HEADINGS[0]])
        if line not in HEADINGS or following not in HEADINGS  # a stream that said nothing needs no heading
    ]
    print("\n".join(lines), flush=True)


# -- and in the end ------------------------------------------------------------------------------------------


def _ending(report: dict[str, Any]) -> str:
    lines: list[str] = []
    told: set[str] = set()
    for entry in report["status"]:
        message = _first(entry.get("formattedMessage", {}).get("message"))  # output has been shown
        told.add(message)
        head = f"handler: {entry['status']}, code {entry['code']}{': ' + message if message else ''}"
        lines += [head] if head not in lines else []
        wrapped = entry.get("runtimeSettingsStatus")
        if wrapped:
            lines += _of_extension(wrapped.get("extensionName", ""), wrapped["settingsStatus"]["status"])
    lines += [f"note: {_first(note)}" for note in report["notes"] if _first(note) not in told]
    lines.append(f"{report['handler']} {report['version']}: {report['result']}")
    if report["tree"]:
        lines.append(f"kept: {report['tree']}")
    return "\n".join(lines)


def _of_extension(name: str, status: dict[str, Any]) -> list[str]:
    lines = [f"extension{' ' + name if name else ''}: {_line(status)}"]
    return lines + [f"    {sub['name']}: {_line(sub)}" for sub in status.get("substatus", ())]


def _line(status: dict[str, Any]) -> str:
    said = str(status["formattedMessage"]["message"] or "").strip().replace("\n", "\n    ")
    return f"{status['status']}, code {status['code']}{': ' + said if said else ''}"


def _first(message: str | None) -> str:
    return message.strip().splitlines()[0] if message and message.strip() else ""
