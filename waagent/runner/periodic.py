"""Which steps of the periodic stage have to run now.

A step with `on` runs when that event comes; a step with `every` when its period is over, counted from the start
of its last run in seconds since boot. A step that keeps failing is asked less and less often: from the third
failure in a row its period doubles each time, up to 64 times.

/run/waagent/periodic.json   {"steps": {name: {"ran": seconds since boot, "failures": int}}}
/run/waagent/periodic.due    the second since boot at which something is due next: waagent-periodic.service looks
                             at it with a shell test, so that nothing heavy starts when nothing is due
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from waagent.errors import StageError, WaagentError
from waagent.runner.steps import Step
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config

STATE = "/run/waagent/periodic.json"
DUE = "/run/waagent/periodic.due"
IDLE = 3600.0


class Schedule:
    def __init__(self, system: System, config: Config) -> None:
        self.system, self.config = system.quietly(), config
        self._steps = self._load()

    def wanted(self, step: Step, event: str | None) -> bool:
        """Whether the step runs in this pass: for the event, or because its time has come.

        Raises StageError when `every` names no option that holds a number.
        """
        if event is not None:
            return event in step.module.on
        due = self.due_at(step)
        return due is not None and due <= self.system.clock.boot()

    def due_at(self, step: Step) -> float | None:
        """The second since boot at which the step is due; None if it only waits for events."""
        period = self.period(step)
        if period is None:
            return None
        known = self._steps.get(step.name, {})
        failures = int(known.get("failures", 0))
        back_off = 2 ** min(max(failures - 2, 0), 6)
        ran = known.get("ran")
        return 0.0 if ran is None else float(ran) + period * back_off

    def period(self, step: Step) -> float | None:
        """Seconds between its runs. A step that waits for nothing at all runs with every pass."""
        every = step.module.every
        if every is None:
            return None if step.module.on else 1.0
        if isinstance(every, (int, float)):
            return float(every)
        try:
            return float(self.config.integer(every))
        except (KeyError, TypeError) as error:
            raise StageError(f"{step.path}: every={every!r} names no option that holds a number") from error

    def ran(self, name: str, failed: bool) -> None:
        known = self._steps.get(name, {})
        failures = int(known.get("failures", 0)) + 1 if failed else 0
        self._steps[name] = {"ran": round(self.system.clock.boot(), 1), "failures": failures}

    def save(self, steps: tuple[Step, ...]) -> None:
        """Write what ran and when the next is due. Where /run refuses, the timer's next pass finds out anew."""
        if self.system.planning:
            return
        dues = []
        for step in steps:
            try:
                dues.append(self.due_at(step))
            except WaagentError:  # its period cannot be known; the stage has said so
                continue
        next_due = min((due for due in dues if due is not None), default=self.system.clock.boot() + IDLE)
        try:
            self.system.make_directory("/run/waagent", 0o755)
            self.system.write(STATE, json.dumps({"steps": self._steps}) + "\n", mode=0o644)
            self.system.write(DUE, f"{math.ceil(next_due)}\n", mode=0o644)
        except (WaagentError, OSError):
            return

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            steps = json.loads(self.system.read(STATE))["steps"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {str(name): dict(known) for name, known in steps.items()} if isinstance(steps, dict) else {}
