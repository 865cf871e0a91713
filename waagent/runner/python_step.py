"""The child's side of a Python step: load the file, call run(ctx), report.

What ctx.announce() tells goes out at once, as a line {"event": name, "data": {...}}; the answer comes when the
event's hooks have ended. When the stage is gone instead, the step is over, too.

What the file does to its process (monkeypatching, sys.exit, os._exit, endless loops) ends with that process.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from typing import Any

from waagent.errors import WaagentError
from waagent.module import Context, Outcome
from waagent.runner import durations
from waagent.runner.child import Ended
from waagent.runner.report import Report
from waagent.runner.steps import Step

STAGE_GONE = 72  # exit status, which nobody is there to see

def body(step: Step, ctx: Context, result: int, answers: int = -1) -> int:
    """Run the step in this process and write its Report to the descriptor `result`; returns the exit status.

    answers: where the stage answers to what is announced; -1 when it does not listen.
    """

    def tell(event: str, data: dict[str, Any]) -> None:
        _write(result, json.dumps({"event": event, "data": data}).encode() + b"\n")
        if not os.read(answers, 1):
            os._exit(STAGE_GONE)

    if answers >= 0:
        ctx._tell = tell
    report = _run(step, ctx)
    report.published, report.secrets = ctx.published, ctx.published_secrets
    report.notes, report.events = ctx.notes, ctx.events
    report.effects = [str(effect) for effect in ctx.system.effects]
    if ctx.system.planning:
        report.planned = ctx.system.planned
    try:
        data = report.encode()
    except (TypeError, ValueError) as error:
        data = Report("failed", f"published something that is no JSON value: {error}", "step invalid").encode()
    _write(result, data)
    return 0 if report.kind != "failed" else 1


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _run(step: Step, ctx: Context) -> Report:
    try:
        with open(step.real, "rb") as stream:
            source = stream.read()
        if step.digest and hashlib.sha256(source).hexdigest() != step.digest:
            return Report(
                "failed", f"{step.path} was changed after it was checked; run the stage again", "step invalid"
            )
        name = "waagent_step_" + step.name.replace("-", "_")
        space = types.ModuleType(name)
        space.__file__ = step.real
        sys.modules[name] = space  # dataclasses look their module up here
        exec(compile(source, step.real, "exec"), space.__dict__)  # noqa: S102 - this is what a step is
        outcome = space.run(ctx)
    except WaagentError as error:
        return Report("failed", error.message, error.reason)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Report("failed", f"{where}{error.strerror or error}", "system refused")
    except Exception as error:  # one step's bug must not stop the boot; the traceback is logged in full
        import traceback

        traceback.print_exc()
        line = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(line.filename)}:{line.lineno}"
        return Report("failed", f"{type(error).__name__}: {error} ({place}); see the log", "bug in the step")
    if not isinstance(outcome, Outcome) or outcome.kind not in ("changed", "unchanged", "skipped"):
        return Report("failed", f"run(ctx) returned {outcome!r}, not changed, unchanged or skipped", "step invalid")
    return Report(outcome.kind, outcome.message)


def report_of(ended: Ended, limit: float) -> Report:
    """The Report of a Python step's process, also of one that never wrote one."""
    try:
        report = Report.decode(ended.result)
    except (ValueError, TypeError):
        report = None
    if ended.timed_out:
        took = durations.text(round(limit, 1))
        return Report("failed", f"ran over its limit of {took} and was ended", "step timed out")
    if report is None:
        how = f"signal {ended.status - 128}" if ended.status > 128 else f"status {ended.status}"
        told = "called sys.exit" if ended.status == 71 else f"its process ended with {how}"
        return Report("failed", f"{told} before it returned an outcome", "step invalid")
    return report
