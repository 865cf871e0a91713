"""How `waagent extensions run` shows what a handler package does, step by step, and with what status it ends."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from waagent.cli import text
from waagent.errors import ExtensionError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.extensions.local import Bench, Done
    from waagent.fabric.desired import Settings

HEADINGS = ("[stdout]", "[stderr]")  # of a command's output


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.extensions import local, mounts

    verbs = [verb.strip() for verb in args.operation.split(",") if verb.strip()]
    odd = [verb for verb in verbs if verb not in local.COMMANDS]
    if odd or not verbs:
        wanted = ", ".join(local.COMMANDS)
        said = repr(odd[0]) if odd else "nothing"
        print(f"waagent extensions: --operation: {said} is none of {wanted}", file=sys.stderr)
        return 2
    packed = local.package(args.target, args.name, args.version)
    before = local.package(args.update_from, args.name or packed.name) if args.update_from else None
    public, protected = _read(args.settings), _read(args.protected)
    if before is not None:
        verbs = list(dict.fromkeys([*verbs, "update"]))
    elif "update" in verbs:
        print("waagent extensions: --operation update needs --from OLD.zip, what to update from", file=sys.stderr)
        return 2
    if before is not None and before.version == packed.version:
        told = f"cannot update {packed.name} from {before.version} to itself; say --version"
        raise ExtensionError(told, handler=packed.name)
    place = os.path.abspath(args.tree)
    point = mounts.noexec(system, place)
    if point:
        told = f"no handler can run in {place}: {point} is mounted noexec; name another directory with --in"
        raise ExtensionError(told, handler=packed.name)
    try:
        folder = tempfile.mkdtemp(prefix="waagent-extension-", dir=str(system.path(place)))
    except OSError as error:
        raise ExtensionError(f"cannot make the tree in {place}: {error.strerror}; see --in", handler="") from error
    here = f"{place.rstrip('/')}/{os.path.basename(folder)}"
    try:
        bench = local.Bench(system, here, args.limit)
        settings = _settings(bench, packed.name, args.sequence, public, protected)
        well = before is None or bench.run(before, settings, ("install", "enable"))
        adding = [verb for verb in verbs if verb in ("install", "enable", "update")]
        well = well and (not adding or bench.run(packed, settings, adding))
        status = bench.await_status(args.wait) if "enable" in verbs and well else bench.status()
        removing = [verb for verb in verbs if verb in ("disable", "uninstall")]
        well = well and (not removing or bench.run(packed, settings, removing))
        idle = [verb for verb in removing if well and verb not in [done.verb for done in bench.done]]
        if idle:
            first = "install" if idle == ["uninstall"] else "install,enable"
            bench.notes.append(f"nothing was there to {' or '.join(idle)}; put {first} before it in --operation")
        well = well and not idle and all(done.well for done in bench.done)
        if "enable" in verbs and settings is not None:
            well = well and any(local.of_extension(entry) == "success" for entry in status)
        report = _report(bench, packed.name, packed.version, status, well, here if args.keep else "")
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if args.format == "json" else _render(report, bench.done))
    return 0 if well else 1


def _read(path: str | None) -> Any:
    """The settings in a file, None without one. Raises ExtensionError."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8-sig") as stream:
            found = json.load(stream)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else f"it is not JSON ({error})"
        raise ExtensionError(f"cannot use the settings in {path}: {told}", handler="") from error
    if not isinstance(found, dict):
        raise ExtensionError(f"cannot use the settings in {path}: they are no JSON object", handler="")
    return found


def _settings(bench: Bench, name: str, sequence: int, public: Any, protected: Any) -> Settings | None:
    from waagent.fabric.desired import Settings

    if public is None and protected is None:
        return None
    encrypted, thumbprint = bench.protect(protected) if protected is not None else (None, None)
    return Settings(name, sequence, public=public, protected=encrypted, thumbprint=thumbprint)


def _report(
    bench: Bench, name: str, version: str, status: list[dict[str, Any]], well: bool, tree: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "handler": name,
        "version": version,
        "result": "succeeded" if well else "failed",
        "tree": tree or None,
        "operations": [
            {
                "operation": done.verb,
                "version": done.version,
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


def _render(report: dict[str, Any], done: list[Done]) -> str:
    lines = []
    for one, operation in zip(done, report["operations"]):
        if one.ended is None:
            how = "not started"
        elif one.ended.timed_out:
            how = f"over its limit, killed after {text.span(one.ended.seconds)}"
        else:
            how = f"exit code {one.ended.status} after {text.span(one.ended.seconds)}"
        lines.append(f"{one.verb} {one.version}: {how}: {one.line}")
        said_by_it = [line for line in operation["output"].splitlines() if line.strip()]
        lines += [
            f"    {line}"
            for line, following in zip(said_by_it, [*said_by_it[1:], HEADINGS[0]])
            if line not in HEADINGS or following not in HEADINGS  # a stream that said nothing needs no heading
        ]
    for entry in report["status"]:
        message = entry.get("formattedMessage", {}).get("message") or ""
        lines.append(f"handler: {entry['status']}, code {entry['code']}{': ' + message if message else ''}")
        inner = entry.get("runtimeSettingsStatus", {}).get("settingsStatus", {}).get("status")
        if inner:
            said = inner["formattedMessage"]["message"] or ""
            lines.append(f"extension: {inner['status']}, code {inner['code']}{': ' + said if said else ''}")
            for sub in inner.get("substatus", ()):
                said = sub["formattedMessage"]["message"] or ""
                lines.append(f"    {sub['name']}: {sub['status']}, code {sub['code']}{': ' + said if said else ''}")
    lines += [f"note: {note}" for note in report["notes"]]
    lines.append(f"{report['handler']} {report['version']}: {report['result']}")
    if report["tree"]:
        lines.append(f"kept: {report['tree']}")
    return "\n".join(lines)
