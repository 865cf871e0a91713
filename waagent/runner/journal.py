"""What ran in this boot, as it happens: /run/waagent/status.json; and a history: /var/lib/waagent/boots/.

    {"schema": 1, "version": …, "boot_id": …, "state": …, "stages": {NAME: {
        "state": running | done | failed | interrupted, "pid": int, "start": UTC text, "at": seconds since boot,
        "run": the same, of the latest run of single steps, "seconds": float, "startup": float,
        "refused": [text], "notes": [text], "steps": [{
            "name", "path", "outcome": running | changed | unchanged | skipped | failed, "message", "reason",
            "at": seconds since boot, "seconds", "engine", "digest", "essential": bool,
            "event": name or absent}]}}}

startup is the time from the start of the process to the first step, where that is known. A step's seconds are the
life of its processes, engine is what the engine spent on it besides.

state of the boot: not started, running, done (all well), degraded (something failed, the machine is
provisioned), error (a step that provisioning needs has failed, or a stage was cut off).
Each change replaces the file atomically, so that a reader never sees half of one. Passes of the periodic stage
run beside each other, so each kind has a file of its own (status.timer.json, status.goal-state.json), in which a
step's latest record stays until it runs again; read() puts all together.
"""

from __future__ import annotations

import json
import os
from typing import Any

from waagent import __version__
from waagent.errors import SystemRefused
from waagent.module import StepResult
from waagent.system import System, files

SCHEMA = 1
FILE = "/run/waagent/status.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
BOOT_STAGES = ("local", "network", "config", "final")
KEPT_BOOTS = 10


class Journal:
    """The record of this boot; a stage begins, adds its steps and ends.

    a_pass   the kind of pass of a stage that runs on the timer ("timer", "goal-state") or on demand; "" for a boot
             stage
    keep     records of steps that do not run this time stay
    """

    def __init__(self, system: System, lib: str, *, a_pass: str = "", keep: bool = False) -> None:
        self.system = system.quietly()
        self.lib, self.a_pass, self.keep = lib, a_pass, keep
        self.file = f"/run/waagent/status.{a_pass}.json" if a_pass else FILE
        self.boot = _read_file(self.system, self.file)
        self._earlier = _results(_read_file(self.system, FILE)) if a_pass else None
        self._stage: dict[str, Any] = {}
        self._single = False

    def begin(self, stage: str, began: float | None = None) -> float:
        """Start the stage's record and return when that was, in seconds since boot.

        began: when the process was started, on the same clock.
        """
        former = self.boot["stages"].get(stage, {})
        now = round(self.system.clock.boot(), 3)
        self._stage = {
            "state": "running",
            "pid": os.getpid(),
            "start": self.system.clock.stamp(),
            "at": now,
            "run": now,
            "refused": [],
            "notes": [],
            "steps": former.get("steps", []) if self.keep or self.a_pass else [],
        }
        self._single = self.keep and "seconds" in former
        if began is not None and not self._single:
            self._stage["startup"] = round(max(0.0, now - began), 3)
        if self._single:  # single steps, tried later: when the stage itself ran stays as it was
            self._stage.update({key: former[key] for key in ("start", "at", "startup", "seconds") if key in former})
        self.boot["stages"][stage] = self._stage
        self.save()
        return now

    def resume(self, stage: str) -> None:
        """Take up the record of a process that was killed."""
        if stage not in self.boot["stages"]:
            self.begin(stage)
        self._stage = self.boot["stages"][stage]
        self._stage.update(state="running", pid=os.getpid())
        self.save()

    def of_this_run(self) -> list[dict[str, Any]]:
        """The records of steps (no event hooks) of this run, that of a process before this one included."""
        since = self._stage["run"]
        steps = self._stage["steps"]
        return [step for step in steps if step["at"] >= since and step.get("event", self.a_pass) == self.a_pass]

    def remark(self, kind: str, text: str) -> None:
        """Add to the stage's "refused" or "notes"."""
        self._stage[kind].append(text)

    def former(self, name: str, event: str | None) -> dict[str, Any] | None:
        """How the step ended in the run before, in this boot; None when there was none."""
        listed = self._stage.get("steps", [])
        return next((step for step in listed if (step["name"], step.get("event")) == (name, event)), None)

    def step(self, record: dict[str, Any]) -> None:
        """Add a step's record, in place of an earlier one; change it in place and call save() to say more."""
        same = (record["name"], record.get("event"))
        steps = self._stage["steps"]
        steps[:] = [other for other in steps if (other["name"], other.get("event")) != same]
        steps.append(record)
        self.save()

    def end(self, state: str) -> None:
        if self._single and state == "done" and any(step["outcome"] == "failed" for step in self._stage["steps"]):
            state = "failed"
        self._stage["state"] = state
        if not self._single:
            self._stage["seconds"] = round(self.system.clock.boot() - self._stage["at"], 3)
        self._stage.pop("pid", None)
        self.save()
        self._keep()

    def boot_stages(self) -> dict[str, Any]:
        """The records of the boot stages, also when this is the journal of a periodic pass."""
        return dict(_read_file(self.system, FILE)["stages"] if self.a_pass else self.boot["stages"])

    def results(self) -> tuple[StepResult, ...]:
        """How the steps of the boot stages ended so far, oldest stage first."""
        return _results(self.boot) if self._earlier is None else self._earlier

    def save(self) -> None:
        if self.system.planning:
            return
        self.boot["state"] = state_of(self.boot)
        try:
            self.system.make_directory("/run/waagent", 0o755)
            self.system.write(self.file, json.dumps(self.boot) + "\n", mode=0o644)
        except (SystemRefused, OSError):
            # A full /run costs the live view; the next save, or the copy on the disk, says what was missed.
            return

    def _keep(self) -> None:
        """Copy the record of this boot to the disk, and let the oldest go."""
        if self.system.planning or self.a_pass:
            return
        try:
            self._copy()
        except (SystemRefused, OSError):  # a full disk: this boot is missing from the history, nothing else
            return

    def _copy(self) -> None:
        folder = f"{self.lib}/boots"
        self.system.make_directory(folder, 0o755)
        files.sweep_directory(str(self.system.path(folder)))
        names = self.system.listing(folder)
        mine = next((name for name in names if name.endswith(f"_{self.boot['boot_id']}.json")), "")
        if not mine:
            mine = f"{self.system.clock.now().strftime('%Y%m%dT%H%M%SZ')}_{self.boot['boot_id']}.json"
        self.system.write(f"{folder}/{mine}", json.dumps(self.boot) + "\n", mode=0o644)
        for name in names[: max(0, len(names) + 1 - KEPT_BOOTS)]:
            if name != mine:
                self.system.remove(f"{folder}/{name}")


def read(system: System) -> dict[str, Any]:
    """The record of this boot, periodic passes included; an empty one when nothing ran yet."""
    boot = _read_file(system, FILE)
    passes = []
    for name in system.listing("/run/waagent"):
        if name.startswith("status.") and name.endswith(".json") and name != "status.json":
            for stage, record in _read_file(system, f"/run/waagent/{name}")["stages"].items():
                if stage == "periodic":
                    passes.append(record)
                else:
                    boot["stages"][stage] = record
    if passes:
        latest = max(passes, key=lambda stage: float(stage["at"]))
        boot["stages"]["periodic"] = {**latest, "steps": [step for stage in passes for step in stage["steps"]]}
    return boot


def _read_file(system: System, file: str) -> dict[str, Any]:
    """One status file; an empty record when it is absent, damaged or of an earlier boot."""
    boot_id = boot_id_of(system)
    try:
        boot = json.loads(system.read(file))
        if boot["boot_id"] == boot_id and isinstance(boot["stages"], dict):
            return dict(boot)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"schema": SCHEMA, "version": __version__, "boot_id": boot_id, "state": "not started", "stages": {}}


def _results(boot: dict[str, Any]) -> tuple[StepResult, ...]:
    return tuple(
        StepResult(stage, step["name"], step["outcome"], step["message"], step.get("reason", ""), step["essential"])
        for stage, record in boot["stages"].items()
        for step in record["steps"]
        if step["outcome"] != "running"
    )


def boot_id_of(system: System) -> str:
    try:
        return system.read_text(BOOT_ID).strip()
    except OSError:
        return "unknown"


def state_of(boot: dict[str, Any]) -> str:
    stages = boot["stages"]
    boot_stages = [stages[name] for name in BOOT_STAGES if name in stages]
    if not boot_stages:
        return "not started"
    if any(stage["state"] == "interrupted" for stage in boot_stages):
        return "error"
    finished = all(name in stages and stages[name]["state"] != "running" for name in BOOT_STAGES)
    if not finished:
        return "running"
    failed = [step for stage in boot_stages for step in stage["steps"] if step["outcome"] == "failed"]
    if any(step["essential"] for step in failed):
        return "error"
    if failed or any(stage["state"] == "failed" for stage in boot_stages):
        return "degraded"
    return "done"
