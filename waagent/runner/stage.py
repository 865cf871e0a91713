"""One stage, from its first step to its last.

run_stage() finds the steps, runs each that has to run in a process of its own, keeps the facts it publishes,
records how it ended, runs the hooks of the events it emitted, and goes on with the next whatever happened, unless
the step or the stage says stop. It returns a StageOutcome; the exit status is 0 when no step failed, 1 when one
did, 75 when the stage is running already.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from waagent.errors import StageError, WaagentError
from waagent.instance.store import Store, find
from waagent.module import Context
from waagent.runner import definition, durations, periodic, program, python_step, steps
from waagent.runner.child import Ended, run_child
from waagent.runner.journal import Journal
from waagent.runner.log import Log
from waagent.runner.report import Report
from waagent.runner.semaphore import Semaphores
from waagent.runner.steps import Step
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile

ALREADY_RUNNING = 75


@dataclass(frozen=True)
class Wish:
    """What the caller asks of a run.

    only    names of steps; all others are left out          force   run what is done already
    event   the event that causes a periodic run             event_data   what the event's hooks are told
    """

    only: tuple[str, ...] = ()
    force: bool = False
    event: str | None = None
    event_data: dict[str, Any] = field(default_factory=dict)


@dataclass
class StageOutcome:
    """status: the exit status; records: one dict a step as in the journal, with "effects" in plan mode."""

    status: int
    records: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""


def run_stage(system: System, name: str, config: Config, profile: DistroProfile, wish: Wish) -> StageOutcome:
    """Run one stage. Raises StageError for a stage that is not there or unusable, or when `only` names no step."""
    stage = definition.load(system, name)
    listing = steps.discover(system, name)
    missing = [step for step in wish.only if step not in {found.name for found in listing.steps}]
    if missing:
        raise StageError(f"stage {name} has no step {missing[0]!r}; see: waagent steps {name}")
    with _lock(system, f"{name}.{wish.event}" if wish.event else name) as free:
        if not free:
            return StageOutcome(ALREADY_RUNNING, message=f"stage {name} is already running; not run twice")
        return _Run(system, stage, listing, config, profile, wish).run()


class _Run:
    def __init__(
        self,
        system: System,
        stage: definition.Stage,
        listing: steps.Listing,
        config: Config,
        profile: DistroProfile,
        wish: Wish,
    ) -> None:
        self.system, self.stage, self.listing = system, stage, listing
        self.config, self.profile, self.wish = config, profile, wish
        self.lib = config.text("Lib.Dir") or "/var/lib/waagent"
        self.store = Store(system, self.lib)
        self.semaphores = Semaphores(system, self.store)
        a_pass = (wish.event or "timer") if stage.runs == "timer" else ""
        self.journal = Journal(system, self.lib, a_pass=a_pass, keep=bool(wish.only))
        self.schedule = periodic.Schedule(system, config) if stage.runs == "timer" else None
        provisioned = system.exists(f"{self.lib}/provisioned")
        self.log = Log(
            system,
            stage.name,
            verbose=config.switch("Logs.Verbose"),
            console=config.switch("Logs.Console") and not provisioned,
        )
        self.records: list[dict[str, Any]] = []
        self.began = system.clock.monotonic()

    def run(self) -> StageOutcome:
        """All steps in order; the journal is ended whatever happens, even by a signal."""
        state = "interrupted"
        former = signal.signal(signal.SIGTERM, _terminated)
        self.log.mask(_values(self.store.secrets))
        try:
            self.journal.begin(self.stage.name)
            self._introduce()
            failed = self._run_steps()
            state = "failed" if failed else "done"
        finally:
            if self.schedule is not None:
                self.schedule.save(self.listing.steps)
            self.journal.end(state)
            self.log.detail(f"stage {state} after {self.system.clock.monotonic() - self.began:.3f} s")
            self.log.close()
            signal.signal(signal.SIGTERM, former)
        return StageOutcome(1 if failed else 0, self.records)

    def _introduce(self) -> None:
        """Say what is worth knowing before the first step."""
        if self.stage.order == 10:
            for problem in self.config.problems:
                self.log.warning(str(problem))
        for refused in self.listing.refused:
            self.log.warning(str(refused))
            self.journal.remark("refused", str(refused))
        for masked in self.listing.masked:
            self.log.detail(f"{masked.name} is masked by {masked.by}")
        for note in self.listing.notes:
            self.log.warning(note)
            self.journal.remark("notes", note)
        finished = self.journal.boot["stages"]
        for other in self.stage.after:
            if finished.get(other, {}).get("state") not in ("done", "failed"):
                note = f"stage {other} has not finished in this boot; going on without it"
                self.log.warning(note)
                self.journal.remark("notes", note)

    def _run_steps(self) -> bool:
        any_failed = False
        for step in self.listing.steps:
            if not self._selected(step):
                continue
            failed = self._one(step)
            any_failed = any_failed or failed
            if failed and self._rule(step) == "stop":
                self.log.error("stopped here: the steps after it do not run", step.name)
                break
        return any_failed

    def _selected(self, step: Step) -> bool:
        if self.wish.only:
            return step.name in self.wish.only
        return self.schedule is None or self.schedule.wanted(step, self.wish.event)

    def _rule(self, step: Step) -> str:
        departure = self.stage.steps.get(step.name)
        if departure is not None and departure.on_failure is not None:
            return departure.on_failure
        return "stop" if "stop" in (step.module.on_failure, self.stage.on_failure) else "continue"

    def _one(self, step: Step) -> bool:
        """Run a step, or leave it out with a reason; true if it failed."""
        record: dict[str, Any] = {
            "name": step.name,
            "path": step.path,
            "outcome": "running",
            "message": "",
            "at": round(self.system.clock.boot(), 3),
            "seconds": 0.0,
            "digest": step.digest[:16],
            "essential": step.module.essential,
        }
        if self.wish.event:
            record["event"] = self.wish.event
        self.records.append(record)
        reason = self._left_out(step)
        if reason is not None:
            record.update(outcome="skipped", message=reason)
            self.journal.step(record)
            self.log.detail(f"skipped: {reason}", step.name)
            return False
        self.journal.step(record)
        report = self._execute(step)
        record.update(outcome=report.kind, message=report.message)
        if report.reason:
            record["reason"] = report.reason
        record["seconds"] = round(self.system.clock.boot() - record["at"], 3)
        if self.system.planning:
            record["effects"] = report.effects
        self._say(step, report, record["seconds"])
        self.journal.save()
        if self.schedule is not None and not self.wish.event:
            self.schedule.ran(step, report.kind == "failed")
        for event, data in report.events:
            self._hooks_of(event, data)
        return report.kind == "failed"

    def _left_out(self, step: Step) -> str | None:
        """Why the step does not run now, or None."""
        module = step.module
        if module.distros and not set(module.distros) & set(self.profile.names):
            return f"for {', '.join(module.distros)} only; this is {self.profile.name}"
        for condition in module.when:
            key, sign, wanted = condition.partition("=")
            try:
                value = find(self.store.facts, key)
            except KeyError:
                return f"{key} is not known"
            told = str(value).lower() if isinstance(value, bool) else str(value)
            if (sign and told != wanted) or (not sign and not value):
                return f"{key} is {told}"
        if not self.wish.force:
            done = self.semaphores.done(step)
            if done is not None:
                return f"done already ({module.frequency}, {done.get('end', 'at an unknown time')})"
        return None

    def _execute(self, step: Step) -> Report:
        departure = self.stage.steps.get(step.name)
        own = departure.limit if departure and departure.limit else step.module.limit
        left = self.stage.budget - (self.system.clock.monotonic() - self.began)
        if left <= 0:
            budget = durations.text(self.stage.budget)
            return Report("failed", f"no time left: the stage's budget of {budget} is used up", "step timed out")
        limit = min(own, left)
        if self.semaphores.interrupted(step):
            self.log.warning("was cut off in an earlier run; running it again", step.name)
        self.semaphores.begin(step)
        started = self.system.clock.stamp()
        report = self._in_child(step, self._context(step), limit)
        if report.kind != "failed":
            report = self._keep_facts(report)
        if report.kind == "failed":
            self.semaphores.fail(step)
        elif report.kind == "skipped" and step.kind == "python":
            # A module that finds nothing to do now may find something at the next boot.
            self.semaphores.fail(step)
        else:
            record = {"start": started, "end": self.system.clock.stamp()}
            self.semaphores.succeed(step, {**record, "outcome": report.kind, "message": report.message})
        return report

    def _context(self, step: Step) -> Context:
        return Context(
            system=self.system.scoped(self.stage.name, step.name),
            config=self.config,
            profile=self.profile,
            stage=self.stage.name,
            step=step.name,
            event=self.wish.event,
            event_data=self.wish.event_data,
            boot=self.journal.results(),
            lib=self.lib,
            facts=self.store.facts,
            secret_facts=self.store.secrets,
        )

    def _in_child(self, step: Step, ctx: Context, limit: float) -> Report:
        def say(line: str) -> None:
            self.log.info(line, step.name)

        if step.kind == "program":
            report, _ = program.run(step, ctx, limit, say)
            return report
        ended = run_child(lambda result: python_step.body(step, ctx, result), say, limit)
        return _report_of(ended, limit)

    def _keep_facts(self, report: Report) -> Report:
        """Put what the step published into the store; a fact that is not its stage's to publish is a failure."""
        for key in (*report.published, *report.secrets):
            if not self.stage.may_publish(key):
                sources = ", ".join(self.stage.sources) or "none"
                told = f"published {key}, but the sources of stage {self.stage.name} are {sources}"
                return Report("failed", told, "step invalid", notes=report.notes)
        vm_id = report.published.get("vm.id") or (report.published.get("vm") or {}).get("id")
        try:
            if vm_id and self.store.open(str(vm_id)):
                self.log.info(f"this is a new instance, VM id {vm_id}")
            self.store.publish(report.published, report.secrets)
        except WaagentError as error:
            return Report("failed", error.message, error.reason, notes=report.notes)
        self.log.mask(_values(self.store.secrets))
        self.system.planned.update(report.planned)
        return report

    def _say(self, step: Step, report: Report, seconds: float) -> None:
        for note in report.notes:
            self.log.info(note, step.name)
        if report.kind == "failed":
            event_hook = step.stage.startswith("on-")
            again = "" if event_hook else f"; to try again: waagent stage {step.stage} --only {step.name}"
            self.log.error(f"failed: {report.message}{again}", step.name)
        elif report.kind == "changed":
            self.log.info(f"changed: {report.message} ({seconds:.3f} s)", step.name)
        else:
            self.log.detail(f"{report.kind}: {report.message}", step.name)

    def _hooks_of(self, event: str, data: dict[str, Any]) -> None:
        """Run the hooks in on-<event>/; how they end is recorded and never changes the event."""
        listing = steps.discover(self.system, f"on-{event}")
        for refused in listing.refused:
            self.log.warning(str(refused))
        for hook in listing.steps:
            self._hook(replace(hook, module=replace(hook.module, essential=False)), event, data)

    def _hook(self, hook: Step, event: str, data: dict[str, Any]) -> None:
        began = self.system.clock.boot()
        ctx = replace(self._context(hook), event=event, event_data=data)
        report = self._in_child(hook, ctx, hook.module.limit)
        seconds = round(self.system.clock.boot() - began, 3)
        record: dict[str, Any] = {
            "name": hook.name,
            "path": hook.path,
            "outcome": report.kind,
            "message": report.message,
            "at": round(began, 3),
            "seconds": seconds,
            "digest": hook.digest[:16],
            "essential": False,
            "event": event,
        }
        if self.system.planning:
            record["effects"] = report.effects
        self.records.append(record)
        self.journal.step(record)
        self._say(hook, report, seconds)


def _report_of(ended: Ended, limit: float) -> Report:
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


@contextmanager
def _lock(system: System, name: str) -> Iterator[bool]:
    """Hold /run/waagent/<name>.lock; gives false when another process has it."""
    if system.planning:
        yield True
        return
    quiet = system.quietly()
    quiet.make_directory("/run/waagent", 0o755)
    file = str(quiet.path("/run/waagent") / f"{name}.lock")
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        os.close(descriptor)


def _terminated(number: int, frame: object) -> None:
    """The unit is being stopped: leave through the finally clauses, which end the running step."""
    sys.exit(128 + number)


def _values(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from _values(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value)
    else:
        yield tree
