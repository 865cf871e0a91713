"""A step that is a program: what it is given, and what its end means.

Given: one JSON document on standard input and in the file $WAAGENT_INPUT (root only); the environment below;
$WAAGENT_OUTPUT, a file for results; $WAAGENT_TMP, a private directory that is removed afterwards. Working
directory /, umask 022, no other descriptors. Output goes to the log line by line; a line that begins with <3>,
<4>, … has that priority.

Ends: 0 done; 77 skipped; 75 failed for now, worth another try; 78 failed, its configuration is wrong; anything else
failed. The results file holds a JSON object or key=value lines: `message` becomes the outcome's sentence, all else
facts under hooks.<name>.

The exit status 79 ("stop the stage") of other designs is not one here: `on-failure: stop` says it. Source: DESIGN
3.3, boot-stages-and-hooks C5 and C6.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

from waagent.instance.store import find
from waagent.module import API, Context
from waagent.runner.child import Ended, run_program
from waagent.runner.guard import Watch
from waagent.runner.protocol import MISCONFIGURED, PROXIES, SKIPPED, TEMPORARY
from waagent.runner.report import Report
from waagent.runner.steps import Step
from waagent.system import System
from waagent.system.command import PASSED_ON, PATH
from waagent.system.files import write_atomic

CANNOT_START = {errno.ENOENT: 127}  # else 126, as a shell has it
RESULTS_LIMIT = 1024 * 1024
FOLDER = "/run/waagent/tmp"


def run(
    step: Step,
    ctx: Context,
    limit: float,
    say: Callable[[str], None],
    *,
    attempt: int = 1,
    first_boot: bool = False,
    watch: Watch | None = None,
) -> Report:
    """Run the program and make a Report of how it ended; in plan mode only say that it would run.

    Raises OSError when the machine has no room for what it is given.
    """
    if ctx.system.planning:
        return Report("changed", "would run", effects=[f"run {step.path}"])
    changed = _changed(step)
    if changed:
        return Report("failed", changed, "step invalid")
    folder = _private_folder(ctx.system, step)
    try:
        given = os.path.join(folder, "input.json")
        more = {"attempt": attempt, "first_boot": first_boot}
        write_atomic(given, json.dumps({**document(step, ctx), **more}).encode(), 0o600, None, durable=False)
        env = environment(step, ctx, folder, limit)
        env.update(WAAGENT_ATTEMPT=str(attempt), WAAGENT_FIRST_BOOT="yes" if first_boot else "no")
        last: list[str] = []

        def heard(line: str) -> None:
            last[:] = [line] if line.strip() else last
            say(line)

        stdin = os.open(given, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ended = run_program(step.real, env, stdin, heard, limit, watch)
        except OSError as error:
            status = CANNOT_START.get(error.errno or 0, 126)
            told = f"{step.path} {cannot_start(error, step.real)} (status {status})"
            return Report("failed", told, "step invalid")
        finally:
            os.close(stdin)
        return _report(step, ended, os.path.join(folder, "output"), last[0] if last else "")
    finally:
        _remove_tree(folder)


def _changed(step: Step) -> str:
    """Why the file is not the one that was checked; "" when it is."""
    try:
        with open(step.real, "rb") as stream:
            same = hashlib.sha256(stream.read()).hexdigest() == step.digest
    except OSError as error:
        return f"{step.path} was removed before it could run ({error.strerror})"
    return "" if same else f"{step.path} was changed after it was checked; run the stage again"


def document(step: Step, ctx: Context) -> dict[str, Any]:
    """The input document. Secrets are in it only where the header names them."""
    secrets = {}
    for key in step.module.secrets:
        try:
            secrets[key] = find(ctx.secret_facts, key)
        except KeyError:
            continue
    return {
        "schema": API,
        "stage": step.stage,
        "step": step.name,
        "event": {"name": ctx.event, **ctx.event_data} if ctx.event else None,
        "instance": ctx.facts,
        "secrets": secrets,
        "config": {name: value for name, value in ctx.config.items() if value is not None},
    }


def environment(step: Step, ctx: Context, folder: str, limit: float) -> dict[str, str]:
    env = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "WAAGENT_API": str(API),
        "WAAGENT_STAGE": step.stage,
        "WAAGENT_STEP": step.name,
        "WAAGENT_EVENT": ctx.event or "",
        "WAAGENT_FREQUENCY": step.module.frequency,
        "WAAGENT_INSTANCE_ID": str(ctx.fact("vm.id", "")),
        "WAAGENT_VM_NAME": str(ctx.fact("ovf.host_name", "")),
        "WAAGENT_LOCATION": str(ctx.fact("imds.location", "")),
        "WAAGENT_INPUT": os.path.join(folder, "input.json"),
        "WAAGENT_OUTPUT": os.path.join(folder, "output"),
        "WAAGENT_TMP": folder,
        "WAAGENT_DEADLINE": f"{limit:.0f}",
    }
    env.update({name: os.environ[name] for name in (*PROXIES, *PASSED_ON) if name in os.environ})
    return env


def cannot_start(error: OSError, real: str) -> str:
    """Say what the kernel means (boot-stages-and-hooks B6)."""
    try:
        with open(real, "rb") as stream:
            first = stream.readline(512)
    except OSError:
        return f"cannot start: {error.strerror}"
    if error.errno == errno.ENOENT and first.startswith(b"#!"):
        interpreter = first[2:].split()[0].decode("utf-8", "replace") if first[2:].split() else "(none)"
        if first.endswith(b"\r\n"):
            return f"cannot start: its first line, {interpreter}, ends in a carriage return; convert line ends"
        return f"cannot start: interpreter {interpreter} not found"
    if error.errno == errno.ENOEXEC:
        return "cannot start: no interpreter line; begin it with #!/bin/sh or the like"
    return f"cannot start: {error.strerror}"


def _report(step: Step, ended: Ended, output: str, last_line: str) -> Report:
    quoted = f': "{last_line[:300]}"' if last_line else ""
    took = f"after {ended.seconds:.1f} s"
    if ended.timed_out:
        told = f"{step.path} ran over its limit after {ended.seconds:.0f} s and was ended{quoted}"
        report = Report("failed", told, "step timed out")
    elif ended.status == 0:
        report = Report("changed", "done")
    elif ended.status == SKIPPED:
        report = Report("skipped", "it says that it does not apply here")
    elif ended.status == TEMPORARY:
        told = f"{step.path} says that it failed for now (status {TEMPORARY}) {took}{quoted}"
        report = Report("failed", told, "step failed", temporary=True)
    elif ended.status == MISCONFIGURED:
        told = f"{step.path} says that its configuration is wrong (status {MISCONFIGURED}){quoted}"
        report = Report("failed", told, "configuration invalid")
    elif ended.status > 128:
        told = f"{step.path} was ended by signal {ended.status - 128} {took}{quoted}"
        report = Report("failed", told, "step failed")
    else:
        report = Report("failed", f"{step.path} exited with status {ended.status} {took}{quoted}", "step failed")
    report.seconds = ended.seconds
    if ended.lingering:
        report.notes.append("a background process of it still holds its output; that is not read any more")
    try:
        results = read_results(output)
    except ValueError as error:
        report.notes.append(f"its results file cannot be used: {error}")
        if report.kind == "changed":
            report.kind, report.message, report.reason = "failed", report.notes[-1], "step invalid"
        return report
    if report.kind != "failed":
        report.message = str(results.pop("message", report.message))
        report.published = {f"hooks.{step.name}.{key}": value for key, value in results.items()}
    elif "message" in results:
        report.message = report.message[: len(report.message) - len(quoted)] + f': "{results["message"]}"'
    return report


def read_results(path: str) -> dict[str, Any]:
    """The results file: absent or empty is no results. Raises ValueError that says what is wrong."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(error.strerror) from error
    with open(descriptor, "rb") as stream:
        data = stream.read(RESULTS_LIMIT + 1)
    if len(data) > RESULTS_LIMIT:
        raise ValueError(f"it is larger than {RESULTS_LIMIT} bytes")
    text = data.decode("utf-8", "replace").strip()
    if not text:
        return {}
    if text.startswith("{"):
        results = json.loads(text)
    else:
        results = {}
        for line in text.splitlines():
            key, sign, value = line.partition("=")
            if not line.strip():
                continue
            if not sign:
                raise ValueError(f"neither JSON nor key=value: {line[:80]!r}")
            results[key.strip()] = value.strip()
    for key in results:
        if not key.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise ValueError(f"{key!r} is no name of a fact")
    return dict(results)


def _private_folder(system: System, step: Step) -> str:
    """A fresh directory for this run, under its real path."""
    shown = f"{FOLDER}/{step.stage}.{step.name}.{os.getpid()}"
    quiet = system.quietly()
    quiet.make_directory("/run/waagent", 0o755)
    quiet.make_directory(FOLDER, 0o700)
    real = str(quiet.path(shown))
    _remove_tree(real)
    os.mkdir(real, 0o700)
    return real


def _remove_tree(real: str) -> None:
    """Remove the folder; nearly always it holds the two files it was made for, and shutil can stay away."""
    try:
        for name in ("input.json", "output"):
            try:
                os.unlink(os.path.join(real, name))
            except FileNotFoundError:
                continue
        os.rmdir(real)
    except FileNotFoundError:
        return
    except OSError:
        import shutil

        shutil.rmtree(real, ignore_errors=True)
