"""What the platform's people are told of a stage: an event for each step that did or failed something, one for all.

    telling = Telling(system, lib, stage, enabled)
    telling.step(record, former)          records as in the journal; former: of the step's run before, or None
    telling.whole(records, state, seconds)

A boot stage tells which steps changed something or failed, and how it ended as a whole (operation "Stage"). A stage
on the timer tells the same of its steps, but of one that fails again and again only that it began to, and that it
works again; as a whole it tells nothing. What a step has to say that the administrator or the site added stays on
the machine: only its name and how it ended are told. Events are recorded and no more: sending is a step of its own.

Source: guest-operations 6.3, 13.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waagent import events
from waagent.system.vendor import VENDOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waagent.runner.definition import Stage
    from waagent.system import System

# Steps of the timer whose work is no news: that of the events themselves, and what is done every minute.
SILENT = ("extension-events", "status", "telemetry")


class Telling:
    def __init__(self, system: System, lib: str, stage: Stage, *, enabled: bool) -> None:
        self.system, self.lib, self.stage = system, lib, stage
        self.enabled = enabled and stage.runs in ("boot", "timer") and not system.planning
        self.repeats = stage.runs == "timer"

    def step(self, record: dict[str, Any], former: dict[str, Any] | None) -> None:
        outcome, name = str(record["outcome"]), str(record["name"])
        if not self.enabled or (self.repeats and name in SILENT):
            return
        failed = outcome == "failed"
        failed_before = former is not None and former["outcome"] == "failed"
        if self.repeats and failed and failed_before:
            return
        if not failed and outcome != "changed" and not (self.repeats and failed_before):
            return
        ours = str(record["path"]).startswith(f"{VENDOR}/modules/")
        told = str(record["message"]) if ours else outcome
        if failed and record.get("reason"):
            told = f"{record['reason']}: {told}"
        operation = events.OPERATION_OF.get(name, "Step")
        self._record(operation, f"{self.stage.name}.{name}: {told}", not failed, record["seconds"])

    def whole(self, records: Sequence[dict[str, Any]], state: str, seconds: float) -> None:
        if not self.enabled or self.repeats:
            return
        own = [record for record in records if "event" not in record]  # not the hooks of events
        failed = [str(record["name"]) for record in own if record["outcome"] == "failed"]
        how = f"{len(failed)} failed: {', '.join(failed)}" if failed else "all well"
        if state == "interrupted":
            how = f"interrupted, {how}" if failed else "interrupted"
        told = f"stage {self.stage.name}: {len(own)} step{'s' if len(own) != 1 else ''}, {how}"
        self._record("Stage", told, state == "done", seconds)

    def _record(self, operation: str, message: str, ok: bool, seconds: float) -> None:
        milliseconds = round(seconds * 1000)
        event = events.Event(operation, message, ok, milliseconds, task=self.stage.name)
        events.record(self.system, self.lib, event)
