"""What `waagent extensions` shows of this machine's extensions: from the files that the engine and handlers keep.

As JSON, all of it "schema": 1:
    list           {"goal_state": {"identity", "aggregate"}, "extensions": [Entry], "problems": [text]}
    show           {"extension": Entry with "versions", "update", "files"}
    logs           {"files": [{"path", "bytes", "lines"}]}
    check-policy   {"file", "valid", "applied", "error", "notes", "extensions": [Meaning]}
    Meaning        {"name", "allowed", "why" (denied), "signature_required", "unchecked" (versions on disk)}
    Entry          {"name", "version", "state", "status", "code", "message", "settings": [{"instance", "sequence",
                   "status", "code", "message"}]}
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from waagent.cli import text
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.extensions.layout import Layout
    from waagent.extensions.policy import Policy


class _Machine:
    """The extensions' part of this machine, as its files tell it."""

    def __init__(self, system: System, config: Config) -> None:
        from waagent.extensions import journal, layout, observe

        self.system, self.config = system, config
        logs = config.text("Extension.LogDir") or layout.LOGS
        self.layout: Layout = layout.Layout(config.text("Lib.Dir") or layout.LIB, logs)
        self.current = journal.read_json(system, self.layout.current)
        self.processed = journal.read_json(system, self.layout.processed)
        self.journal = journal.Journal(system, self.layout)
        self.observed = observe.observe(system, self.layout)

    def entries(self) -> list[dict[str, Any]]:
        """Every handler of the goal state, then what else is on disk."""
        from waagent.extensions import report

        found: dict[str, dict[str, Any]] = {}
        lib, spare = (str(self.system.path(path)) for path in (self.layout.lib, self.layout.spare))
        for told in report.handler_statuses(lib, spare=spare):
            name = told["handlerName"]
            entry = found.setdefault(name, self._entry(name, told["handlerVersion"]))
            message = told.get("formattedMessage", {}).get("message") or ""
            entry.update(status=told["status"], code=told["code"], message=message)
            inner = told.get("runtimeSettingsStatus")
            if inner:
                status = inner["settingsStatus"]["status"]
                entry["settings"].append(
                    {
                        "instance": inner.get("extensionName", ""),
                        "sequence": inner["sequenceNumber"],
                        "status": status["status"],
                        "code": status["code"],
                        "message": status["formattedMessage"]["message"] or "",
                    }
                )
        for one in self.observed.handlers:
            if one.name not in found:
                found[one.name] = self._entry(one.name, one.version)
        return list(found.values())

    def _entry(self, name: str, version: str) -> dict[str, Any]:
        state = self.observed.state(name, version)
        unknown: dict[str, Any] = {"status": "", "code": 0, "message": "", "settings": []}
        return {"name": name, "version": version, "state": state, **unknown}

    def find(self, wanted: str) -> dict[str, Any] | None:
        """The one handler of this name, or whose name ends so; says on stderr why there is none."""
        entries = self.entries()
        low = wanted.lower()
        found = [entry for entry in entries if entry["name"].lower() == low]
        found = found or [entry for entry in entries if entry["name"].lower().endswith(f".{low}")]
        if len(found) == 1:
            return found[0]
        if found:
            told = "which of " + ", ".join(entry["name"] for entry in found)
        else:
            told = "no extension here; see waagent extensions list"
        print(f"waagent extensions: {wanted} is {told}", file=sys.stderr)
        return None


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.runner.situation import situation

    if args.action == "retry" and os.geteuid() != 0 and args.root == "/":
        print("waagent extensions: retry needs root", file=sys.stderr)
        return 1
    profile, config = situation(system)
    machine = _Machine(system, config)
    if args.action == "list":
        return _list(machine, args)
    if args.action == "check-policy":
        return _check_policy(machine, args)
    entry = machine.find(args.target)
    if entry is None:
        return 1
    if args.action == "logs":
        return _logs(machine, entry["name"], args)
    if args.action == "retry":
        from waagent.runner.stage import Wish, run_stage
        from waagent.watcher.environment import left_environment

        if args.root == "/":
            os.environ.update(left_environment())  # it is to run as the service would run it
        again = Wish(("extensions", "status"), event="goal-state", event_data={"again": entry["name"]})
        outcome = run_stage(system, "periodic", config, profile, again)
        if outcome.message:
            print(f"waagent extensions: {outcome.message}", file=sys.stderr)
            return outcome.status
        for record in outcome.records:
            if record["outcome"] in ("failed", "skipped"):
                told = f"{record['name']} {record['outcome']}: {record['message']}"
                print(f"waagent extensions: {told}", file=sys.stderr)
        machine = _Machine(system, config)
        entry = machine.find(entry["name"])
        if entry is None:
            return outcome.status
        _show(machine, entry, args)
        bad = [one for one in entry["settings"] if one["status"] == "error"]
        ran = any(one["name"] == "extensions" and one["outcome"] == "changed" for one in outcome.records)
        return 0 if ran and entry["status"] == "Ready" and not bad else 1
    return _show(machine, entry, args)


def _list(machine: _Machine, args: argparse.Namespace) -> int:
    from waagent.extensions import mounts

    entries = machine.entries()
    problems = mounts.problems(machine.system, machine.layout.lib)
    goal_state = {key: machine.processed.get(key) for key in ("identity", "aggregate")}
    if args.format == "json":
        told = {"schema": 1, "goal_state": goal_state, "extensions": entries, "problems": problems}
        print(json.dumps(told, indent=1))
        return 0
    for problem in problems:
        print(f"waagent extensions: {problem}", file=sys.stderr)
    if not entries:
        print("no extensions")
        return 0
    rows = [("NAME", "VERSION", "STATE", "HANDLER", "EXTENSION", "MESSAGE")]
    for entry in entries:
        head = (entry["name"], entry["version"], entry["state"], _coded(entry) or "not in the goal state")
        if not entry["settings"]:
            rows.append((*head, "", _first(entry["message"])))
        for one in entry["settings"]:
            label = f"{one['instance']}: " if one["instance"] else ""
            rows.append((*head, label + _coded(one), _first(one["message"] or entry["message"])))
    print(text.columns(rows))
    return 0


def _coded(entry: dict[str, Any]) -> str:
    return f"{entry['status']} ({entry['code']})" if entry["code"] not in (0, "0", "") else str(entry["status"])


def _first(message: str) -> str:
    line = message.strip().splitlines()[0] if message.strip() else ""
    return line if len(line) <= 100 else line[:97] + "..."


def _show(machine: _Machine, entry: dict[str, Any], args: argparse.Namespace) -> int:
    name = entry["name"]
    update = machine.journal.updates.get(name)
    whole = {
        **entry,
        "versions": [
            {
                "version": one.version,
                "state": one.state,
                "instances": sorted(one.instances),
                "directory": machine.layout.base(name, one.version),
            }
            for one in machine.observed.versions(name)
        ],
        "update": {"old": update.old, "new": update.new} if update else None,
        "files": _files(machine, name),
    }
    if args.format == "json":
        print(json.dumps({"schema": 1, "extension": whole}, indent=1))
        return 0
    print(f"{name} {entry['version']}: {_coded(entry) or 'not in the goal state'}")
    if entry["message"]:
        print("\n".join(f"    {line}" for line in entry["message"].splitlines() if line.strip()))
    for one in entry["settings"]:
        print(f"settings {one['instance'] + ' ' if one['instance'] else ''}{one['sequence']}: {_coded(one)}")
        print("\n".join(f"    {line}" for line in one["message"].splitlines() if line.strip()) or "    no message")
    for version in whole["versions"]:
        instances = f", enabled: {', '.join(version['instances'])}" if version["instances"] else ""
        print(f"on disk: {version['version']} {version['state']}{instances}, {version['directory']}")
    if update:
        print(f"update under way: {update.old} to {update.new}")
    for file in whole["files"]:
        print(f"log: {file}")
    return 0


def _files(machine: _Machine, name: str) -> list[str]:
    """The handler's log files, those of its commands first."""
    folder = machine.layout.log(name)
    files = [f"{folder}/{file}" for file in machine.system.listing(folder)]
    files = [file for file in files if os.path.isfile(machine.system.path(file))]
    return sorted(files, key=lambda file: (not os.path.basename(file).startswith("CommandExecution"), file))


def _logs(machine: _Machine, name: str, args: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = []
    for file in _files(machine, name):
        try:
            with open(machine.system.path(file), "rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - 1024 * 1024))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            print(f"waagent extensions: {file}: {error.strerror}", file=sys.stderr)
            return 1
        found.append({"path": file, "bytes": size, "lines": lines[-args.lines :] if args.lines > 0 else []})
    if args.format == "json":
        print(json.dumps({"schema": 1, "files": found}, indent=1))
        return 0
    if not found:
        print(f"no logs in {machine.layout.log(name)}")
    for log in found:
        print(f"==> {log['path']} ({log['bytes']} bytes) <==")
        print("\n".join(log["lines"]))
    return 0


def _check_policy(machine: _Machine, args: argparse.Namespace) -> int:
    from waagent.extensions import layout, policy

    configured = machine.config.text("Policy.PolicyFilePath") or "/etc/waagent_policy.json"
    path = os.path.abspath(args.target) if args.target else configured
    applied = machine.config.switch("Policy.Enabled") and path == configured
    error = ""
    found: policy.Policy | None = policy.Policy(path)
    try:
        image = policy.read(machine.system, policy.IMAGE_POLICY)
        found = policy.read(System("/") if args.target else machine.system, path)
        if found is not None and image is not None:
            found = replace(found, image=image)
        elif image is not None and not args.target:
            path, applied, found = policy.IMAGE_POLICY, True, image
    except policy.PolicyInvalid as invalid:
        error = invalid.message
    if found is None:
        print(f"waagent extensions: there is no policy file {path}", file=sys.stderr)
        return 2
    names = args.extension or [entry["name"] for entry in machine.entries()]
    nobody = [name for name in sorted({*(found.allowed or ()), *found.signed}) if layout.objection(name, "1")]
    notes = [f"no handler can have the name {name!r} (only deniedExtensions takes patterns)" for name in nobody]
    meaning = [_meaning(machine, found, name) for name in names if not error]
    if args.format == "json":
        told = {"schema": 1, "file": path, "valid": not error, "applied": applied, "error": error}
        print(json.dumps({**told, "notes": notes, "extensions": meaning}, indent=1))
        return 1 if error else 0
    if error:
        print(error)
        return 1
    kinds = "every extension" if found.allowed is None else ", ".join(sorted(found.allowed)) or "no extension"
    but = f" but {', '.join(found.denied)}" if found.denied else ""
    print(f"{path}: nothing wrong; allows {kinds}{but}")
    if found.image is not None:
        print(f"note: {found.image.path} holds as well and cannot be relaxed")
    for note in notes:
        print(f"note: {note}")
    for one in meaning:
        allowed = "allowed" if one["allowed"] else f"denied: {one['why']}"
        print(f"    {one['name']}: {allowed}{', has to be signed' if one['signature_required'] else ''}")
        for version in one["unchecked"] if one["allowed"] else ():
            print(f"        {version} is here unchecked: its package is fetched and checked before it is enabled")
    if not applied:
        print("note: it is not applied" + ("" if args.target and path != configured else "; set Policy.Enabled=y"))
    return 0


def _meaning(machine: _Machine, policy: Policy, name: str) -> dict[str, Any]:
    """What the policy means for one handler."""
    denial, signed = policy.denial(name), policy.requires_signature(name)
    there = [one for one in machine.observed.handlers if one.name.lower() == name.lower()]
    installed = [one for one in there if one.state in ("Installed", "Enabled")]
    return {
        "name": name,
        "allowed": denial is None,
        "why": str(denial) if denial is not None else "",
        "signature_required": signed,
        "unchecked": [one.version for one in installed if signed and not one.checked],
    }
