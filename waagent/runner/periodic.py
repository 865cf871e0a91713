"""Which steps of the periodic stage have to run now.

A step with `on` runs when that event comes; a step with `every` when its period is over, counted from the start
of its last run in seconds since boot. A step that keeps failing is asked less and less often: from the third
failure in a row its period doubles each time, up to 64 times. A step that is `watching` files and did not fail
runs, when its period is over, only if one of them, its own file or the configuration has changed since it began to
run; once an hour all the same.

/run/waagent/periodic.json   {"steps": {name: {"ran": seconds since boot, "failures": int, "watched": digest}}}
/run/waagent/periodic.due    when something is due next, and what has to stay as it is until then:
                             waagent-periodic.service looks at it with a shell that starts no program
                             (data/systemd/periodic-due, which says what the lines mean)

periodic.due is as old as the beginning of the pass that wrote it: what is newer was changed since. What the stage
itself is made of (its steps, the configuration) is watched in the same way, so that a new hook need not wait.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import TYPE_CHECKING, Any

from waagent.config import dropins
from waagent.distro.profile import OVERRIDES
from waagent.errors import StageError, WaagentError
from waagent.module import WATCHABLE
from waagent.runner import definition, places, watching
from waagent.runner.steps import Step
from waagent.system import System
from waagent.system.vendor import VENDOR

if TYPE_CHECKING:
    from waagent.config import Config

STATE = "/run/waagent/periodic.json"
DUE = "/run/waagent/periodic.due"
IDLE = 3600.0
# Seconds by which the kernel's time of change may lag behind the clock: one tick, and a little more.
TICK = 0.02


def sources(config: Config, stage: str) -> tuple[str, ...]:
    """What the stage is made of: its steps, its own file, the configuration."""
    folders = [f"{folder}/{stage}" for _, folder in (("vendor", f"{VENDOR}/modules"), *places.HIGHER)]
    folders += [*dropins.DIRECTORIES, OVERRIDES]
    each = [path for folder in folders for path in (folder, f"{folder}/*")]
    return (*config.files[:1], *each, f"{definition.ADMIN_DIRECTORY}/{stage}.yaml")


class Schedule:
    """`sources`: paths and patterns of what the stage is made of; when they change the stage is due."""

    def __init__(self, system: System, config: Config, sources: tuple[str, ...] = ()) -> None:
        self.system, self.config, self.sources = system.quietly(), config, sources
        self._began, self._start = time.time() - TICK, round(self.system.clock.boot(), 1)
        self._steps = self._load()
        self._looks: dict[str, watching.Look] = {}  # before the step runs: what it does itself is seen next time
        self._values = watching.digest({}, repr(list(config.items())))

    def wanted(self, step: Step, event: str | None) -> bool:
        """Whether the step runs in this pass: for the event, or because its time has come.

        Raises StageError when `every` names no option that holds a number.
        """
        if event is not None:
            return event in step.module.on
        due, now = self.due_at(step), self.system.clock.boot()
        if due is None or now < due:
            return False
        return now >= self._latest(step) or self._digest(step) != self._steps[step.name].get("watched")

    def _latest(self, step: Step) -> float:
        """The second since boot at which the step is due whatever the files say that it watches."""
        known = self._steps.get(step.name, {})
        due = self.due_at(step) or 0.0
        counts = step.module.watching and known.get("watched") and not known.get("failures")
        return max(due, float(known["ran"]) + IDLE) if counts else due

    def _look(self, step: Step) -> watching.Look:
        if step.name not in self._looks:
            self._looks[step.name] = watching.look(self.system.root, step.module.watching)
        return self._looks[step.name]

    def _digest(self, step: Step) -> str:
        return watching.digest(self._look(step), step.digest, self._values)

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

    def starts(self, step: Step) -> None:
        """To be called before it runs: what the files look like that it will see."""
        self._looks.pop(step.name, None)
        if step.module.watching:
            self._look(step)

    def left_out(self, step: Step) -> None:
        """It had its turn and is not for now; what it watches does not tell when it will be."""
        self._steps[step.name] = {"ran": self._start, "failures": 0}

    def ran(self, step: Step, failed: bool) -> None:
        known = self._steps.get(step.name, {})
        failures = int(known.get("failures", 0)) + 1 if failed else 0
        # All steps of a pass ran when it began, so that those of one period stay together in one pass.
        self._steps[step.name] = {"ran": self._start, "failures": failures}
        if step.module.watching and not failed:
            self._steps[step.name]["watched"] = self._digest(step)

    def save(self, steps: tuple[Step, ...]) -> None:
        """Write what ran and when the next is due. Where /run refuses, the timer's next pass finds out anew."""
        if self.system.planning:
            return
        dues, watched = [self.system.clock.boot() + IDLE], []
        for step in steps:
            try:
                due = self.due_at(step)
            except WaagentError:  # its period cannot be known; the stage has said so
                continue
            lines = None if due is None else self._settled(step)
            if lines is None:
                dues += [] if due is None else [due]
            else:
                dues.append(self._latest(step))
                watched.append((math.ceil(due or 0.0), lines))
        lines = [str(math.ceil(min(dues))), *self._sources()]
        for since, found in sorted(watched):
            lines += [f"from {since}", *found]
        try:
            self.system.make_directory("/run/waagent", 0o755)
            self.system.write(STATE, json.dumps({"steps": self._steps}) + "\n", mode=0o644)
            self.system.write(DUE, "\n".join([*lines, "end\n"]), mode=0o600)
            os.utime(self.system.path(DUE), (self._began, self._began))
        except (WaagentError, OSError):
            return

    def _settled(self, step: Step) -> list[str] | None:
        """How the shell tells that nothing has changed for the step; None when something has, or it cannot tell."""
        if self._latest(step) == self.due_at(step):
            return None
        self._looks.pop(step.name, None)
        if self._digest(step) != self._steps[step.name].get("watched"):
            return None
        return watching.record(self._look(step))

    def _sources(self) -> list[str]:
        lines = []
        for pattern in self.sources:
            if not WATCHABLE.fullmatch(pattern):
                continue
            there = watching.matches(self.system.root, pattern)
            lines.append(f"newer {pattern}" if there else f"match {pattern}")
        return lines

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            steps = json.loads(self.system.read(STATE))["steps"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {str(name): dict(known) for name, known in steps.items()} if isinstance(steps, dict) else {}
