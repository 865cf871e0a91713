"""One stage, from its first step to its last.

run_stage() finds the steps, runs each that has to run in a process of its own, keeps the facts it publishes,
records how it ended, runs the hooks of the events it emitted, and goes on with the next whatever happened, unless
the step or the stage says stop. It returns a StageOutcome; the exit status is 0 when no step failed, 1 when one
did, 75 when the stage is running already.

Time is accounted for twice: `seconds` of a step is how long its processes lived, `engine` what the engine spent on
it besides (finding out whether it runs, starting it, keeping facts and records).
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from waagent.errors import StageError, WaagentError
from waagent.instance.store import Store, find
from waagent.module import Context, Module, StepResult
from waagent.runner import definition, durations, kept_listing, libraries, periodic, program, python_step, steps
from waagent.runner.child import run_child
from waagent.runner.guard import Minded
from waagent.runner.journal import Journal
from waagent.runner.lock import held
from waagent.runner.log import Log
from waagent.runner.report import Report
from waagent.runner.semaphore import Semaphores
from waagent.runner.steps import Step
from waagent.runner.telling import Telling
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile

ALREADY_RUNNING = 75
# Seconds that an event's hook gets even when the budget of the stage is used up.
HOOK_AT_LEAST = 10.0
# Seconds to wait before a program that failed for now is tried again; its limit is for all its tries.
BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True)
class Wish:
    """What the caller asks of a run.

    only    names of steps; all others are left out          force   run what is done already
    event   the event that causes a periodic run             event_data   what the event's hooks are told
    began   seconds since boot at which this process was started for the stage, where that is so
    """

    only: tuple[str, ...] = ()
    force: bool = False
    event: str | None = None
    event_data: dict[str, Any] = field(default_factory=dict)
    began: float | None = None


@dataclass
class StageOutcome:
    """status: the exit status; records: one dict a step as in the journal, with "effects" in plan mode."""

    status: int
    records: list[dict[str, Any]] = field(default_factory=list)
    message: str = ""


def run_stage(
    system: System,
    name: str,
    config: Config,
    profile: DistroProfile,
    wish: Wish,
    minded: Minded | None = None,
) -> StageOutcome:
    """Run one stage. Raises StageError for a stage that is not there or unusable, or when `only` names no step.

    minded: from guard.guarded(); when it says that a signal ended an earlier process, the stage goes on where that
    one was.
    """
    stage, listing = kept_listing.find(system, name)
    missing = [step for step in wish.only if step not in {found.name for found in listing.steps}]
    if missing:
        raise StageError(f"stage {name} has no step {missing[0]!r}; see: waagent steps {name}")
    if stage.runs == "demand":  # somebody asks for it now, so nothing of it is done already
        listing = replace(listing, steps=tuple(replace(s, module=_every_time(s.module)) for s in listing.steps))
    with held(system, f"{name}.{wish.event}" if wish.event else name) as free:
        if not free:
            return StageOutcome(ALREADY_RUNNING, message=f"stage {name} is already running; not run twice")
        return _Run(system, stage, listing, config, profile, wish, minded or Minded(_unwatched)).run()


def run_event(
    system: System, event: str, data: dict[str, Any], config: Config, profile: DistroProfile
) -> StageOutcome:
    """Run the hooks of on-<event>/ for a verb that is no stage; status is 1 when one of them failed."""
    listing = steps.discover(system, f"on-{event}")
    hooks = [replace(hook, module=_as_event_hook(hook.module)) for hook in listing.steps]
    listing = replace(listing, steps=tuple(hooks))
    stage = definition.Stage(f"on-{event}", f"hooks of {event}", 0, "")
    wish = Wish(event=event, event_data=data)
    return _Run(system, stage, listing, config, profile, wish, Minded(_unwatched)).run()


def _every_time(module: Module) -> Module:
    return replace(module, frequency="always")


def _as_event_hook(module: Module) -> Module:
    """Each time its event happens, and of no consequence for the machine."""
    return replace(module, frequency="always", essential=False)


class _Run:
    def __init__(
        self,
        system: System,
        stage: definition.Stage,
        listing: steps.Listing,
        config: Config,
        profile: DistroProfile,
        wish: Wish,
        minded: Minded,
    ) -> None:
        self.system, self.stage, self.listing, self.minded = system, stage, listing, minded
        self.config, self.profile, self.wish = config, profile, wish
        self.lib = config.text("Lib.Dir") or "/var/lib/waagent"
        self.store = Store(system, self.lib)
        self.semaphores = Semaphores(system, self.store)
        passes = {"timer": wish.event or "timer", "demand": stage.name}
        a_pass = passes.get(stage.runs, "")
        self.journal = Journal(system, self.lib, a_pass=a_pass, keep=bool(wish.only))
        self.schedule = None
        if stage.runs == "timer":
            self.schedule = periodic.Schedule(system, config, periodic.sources(config, stage.name))
        provisioned = system.exists(f"{self.lib}/provisioned")
        self.log = Log(
            system,
            stage.name,
            verbose=config.switch("Logs.Verbose"),
            console=config.switch("Logs.Console") and not provisioned,
        )
        self.telling = Telling(system, self.lib, stage, enabled=config.switch("Telemetry.Enabled"))
        self.records: list[dict[str, Any]] = []
        self.unfinished: list[StepResult] = []
        self.began = system.clock.monotonic()
        self._load: Callable[[], None] = lambda: None
        self._mark = system.clock.boot()  # up to here time is accounted for

    def run(self) -> StageOutcome:
        """All steps in order; the journal is ended whatever happens, even by a signal."""
        if self._is_idle():
            return StageOutcome(0)
        state = "interrupted"
        former = signal.signal(signal.SIGTERM, _terminated)
        self.log.mask(_values(self.store.secrets))
        try:
            if self.minded.killed_by:
                self.journal.resume(self.stage.name)
            else:
                self._mark = self.journal.begin(self.stage.name, self.wish.began)
                self._introduce()
            self._check_turn()
            failed = self._run_steps()
            if self.schedule is not None and self.wish.event and not self.wish.only:
                self._hooks_of(self.wish.event, self.wish.event_data)
            state = "failed" if failed else "done"
        finally:
            if self.schedule is not None and not self.wish.event:
                self.schedule.save(self.listing.steps)
            self.journal.end(state)
            if not self.wish.only:
                self.telling.whole(self.records, state, self.system.clock.monotonic() - self.began)
            self.log.detail(f"stage {state} after {self.system.clock.monotonic() - self.began:.3f} s")
            self.log.close()
            signal.signal(signal.SIGTERM, former)
        return StageOutcome(1 if failed else 0, self.records)

    def _is_idle(self) -> bool:
        """Whether this pass of the timer has nothing to do or to say. It then leaves no trace but for the timer."""
        if self.schedule is None or self.wish.event or self.wish.only or self.minded.killed_by:
            return False
        try:
            if self.listing.is_news and (self.listing.refused or self.listing.notes):
                return False
            if any(self._selected(step) for step in self.listing.steps):
                return False
        except StageError:
            return False
        self.schedule.save(self.listing.steps)
        self.log.close()
        return True

    def _introduce(self) -> None:
        """Say what is worth knowing before the first step."""
        if self.stage.order == 10:
            for problem in self.config.problems:
                self.log.warning(str(problem))
        tell = self.log.warning if self.listing.is_news else self.log.detail  # said once, not at every pass
        for refused in self.listing.refused:
            tell(str(refused))
            self.journal.remark("refused", str(refused))
        for masked in self.listing.masked:
            self.log.detail(f"{masked.name} is masked by {masked.by}")
        for note in self.listing.notes:
            tell(note)
            self.journal.remark("notes", note)

    def _check_turn(self) -> None:
        """Note which stages should have finished before this one."""
        finished = self.journal.boot_stages()
        for other in self.stage.after:
            if finished.get(other, {}).get("state") not in ("done", "failed"):
                told = "has not finished in this boot"
                cut_off = StepResult(other, "", "failed", f"stage {other} {told}", "stage cut off", True)
                self.unfinished.append(cut_off)
                self.log.warning(f"stage {other} {told}; going on without it")
                self.journal.remark("notes", f"stage {other} {told}; going on without it")

    def _run_steps(self) -> bool:
        any_failed = False
        earlier = self._earlier()
        for place, step in enumerate(self.listing.steps, 1):
            try:
                if not self._selected(step):
                    continue
            except StageError as error:
                self._unusable(step, error)
                any_failed = True
                continue
            self._load = libraries.loader(self._due(self.listing.steps[place:]))
            failed = earlier[step.name] if step.name in earlier else self._one(step)
            any_failed = any_failed or failed
            if failed and self._rule(step) == "stop":
                self.log.error("stopped here: the steps after it do not run", step.name)
                break
        return any_failed

    def _earlier(self) -> dict[str, bool]:
        """The steps that a process before this one ran, and whether they failed: the one it died in did."""
        failed = {}
        for record in self.journal.of_this_run() if self.minded.killed_by else ():
            if record["outcome"] == "running":
                told = f"signal {self.minded.killed_by} ended the stage's process while it ran; going on after it"
                record.update(outcome="failed", message=told, reason="step invalid")
                self.log.error(f"failed: {told}", record["name"])
                self.journal.save()
                for step in self.listing.steps:
                    if self.schedule is not None and not self.wish.event and step.name == record["name"]:
                        self.schedule.ran(step, failed=True)
            self.records.append(record)
            failed[record["name"]] = record["outcome"] == "failed"
        return failed

    def _selected(self, step: Step) -> bool:
        if self.wish.only:
            return step.name in self.wish.only
        return self.schedule is None or self.schedule.wanted(step, self.wish.event)

    def _due(self, later: tuple[Step, ...]) -> list[Step]:
        """Those of them that will have their turn, as far as is known."""
        due = []
        for step in later:
            with contextlib.suppress(StageError):
                if step.module.imports and self._selected(step):
                    due.append(step)
        return due

    def _unusable(self, step: Step, error: StageError) -> None:
        """A step of which it cannot be known when it runs."""
        report = Report("failed", error.message, error.reason)
        record = self._record(step)
        record.update(outcome="failed", message=error.message, reason=error.reason)
        self._account(record, 0.0)
        self.journal.step(record)
        self._say(step, report, 0.0)

    def _rule(self, step: Step) -> str:
        departure = self.stage.steps.get(step.name)
        if departure is not None and departure.on_failure is not None:
            return departure.on_failure
        return "stop" if "stop" in (step.module.on_failure, self.stage.on_failure) else "continue"

    def _one(self, step: Step) -> bool:
        """Run a step, or leave it out with a reason; true if it failed."""
        record, former = self._record(step), self.journal.former(step.name, self.wish.event)
        reason = self._left_out(step)
        if reason is not None:
            record.update(outcome="skipped", message=reason)
            self._account(record, 0.0)
            self.journal.step(record)
            self._say_quietly(f"skipped: {reason}", step)
            if self.schedule is not None and not self.wish.event:
                self.schedule.left_out(step)
            return False
        self.journal.step(record)
        if self.schedule is not None:
            self.schedule.starts(step)
        report = self._execute(step)
        record.update(outcome=report.kind, message=self.log.hidden(report.message))
        if report.reason:
            record["reason"] = report.reason
        if self.system.planning or self.stage.runs == "demand":
            record["effects"] = report.effects
            record["notes"] = [self.log.hidden(note) for note in report.notes]
        self._say(step, report, report.seconds)
        self._account(record, report.seconds)
        self.journal.save()
        self.telling.step(record, former)
        if self.schedule is not None and not self.wish.event:
            self.schedule.ran(step, report.kind == "failed")
        for event, data in report.events:
            self._hooks_of(event, data)
        return report.kind == "failed"

    def _record(self, step: Step) -> dict[str, Any]:
        """The step's record in the journal, as it begins."""
        record: dict[str, Any] = {
            "name": step.name,
            "path": step.path,
            "outcome": "running",
            "message": "",
            "at": round(self._mark, 3),
            "seconds": 0.0,
            "engine": 0.0,
            "digest": step.digest[:16],
            "essential": step.module.essential,
        }
        if self.wish.event:
            record["event"] = self.wish.event
        self.records.append(record)
        return record

    def _account(self, record: dict[str, Any], inside: float) -> None:
        """Put down where the time since the last step went: inside the step's processes, or here."""
        now = self.system.clock.boot()
        record["seconds"] = round(inside, 4)
        record["engine"] = round(max(0.0, now - self._mark - inside), 4)
        self._mark = now

    def _left_out(self, step: Step) -> str | None:
        """Why the step does not run now, or None."""
        reason = self._not_for_here(step.module)
        if reason is not None or self.wish.force:
            return reason
        done = self.semaphores.done(step)
        if done is None:
            return None
        return f"done already ({step.module.frequency}, {done.get('end', 'at an unknown time')})"

    def _not_for_here(self, module: Module) -> str | None:
        """Why a step's `distros` or `when` keeps it from running, or None."""
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
        self._remember(step, self.semaphores.begin)
        started = self.system.clock.stamp()
        report = self._tries(step, self._context(step), limit)
        if report.kind != "failed":
            report = self._keep_facts(report)
        if report.kind == "failed":
            self._remember(step, self.semaphores.fail)
        elif report.kind == "skipped" and step.kind == "python":
            # A module that finds nothing to do now may find something at the next boot.
            self._remember(step, self.semaphores.fail)
        else:
            times = {"start": started, "end": self.system.clock.stamp()}
            record = {**times, "outcome": report.kind, "message": self.log.hidden(report.message)}
            self._remember(step, lambda step: self.semaphores.succeed(step, record))
        return report

    def _remember(self, step: Step, mark: Callable[[Step], None]) -> None:
        """Set or clear a semaphore; a disk that has no room for it (or is read-only) must not stop the stage."""
        try:
            mark(step)
        except (WaagentError, OSError) as error:
            self.log.warning(f"cannot remember how it ran; it may run again at the next boot: {error}", step.name)

    def _tries(self, step: Step, ctx: Context, limit: float) -> Report:
        """Run the step; a program that failed for now again, after a wait, as long as its limit lasts."""
        end = self.system.clock.monotonic() + limit
        report = self._in_child(step, ctx, limit)
        for attempt, wait in enumerate((*BACK_OFF, *[BACK_OFF[-1]] * 1000), 2):
            left = end - self.system.clock.monotonic() - wait
            if not report.temporary or left <= 0 or self.schedule is not None:
                break
            self.log.info(f"{report.message}; next try in {wait:.0f} s", step.name)
            self.system.clock.sleep(wait)
            inside = report.seconds
            report = self._in_child(step, ctx, left, attempt)
            report.seconds += inside + wait
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
            boot=(*self.unfinished, *self.journal.results()),
            lib=self.lib,
            facts=self.store.facts,
            secret_facts=self.store.secrets,
        )

    def _in_child(
        self, step: Step, ctx: Context, limit: float, attempt: int = 1, *, heard: bool = True
    ) -> Report:
        """heard: whether the hooks of what it announces run meanwhile."""

        def say(line: str) -> None:
            self.log.output(line, step.name)

        watch = self.minded.watch
        try:
            if step.kind == "program":
                first = self.store.first_boot
                return program.run(step, ctx, limit, say, attempt=attempt, first_boot=first, watch=watch)
            ended = run_child(
                lambda result, answers: python_step.body(step, ctx, result, answers if heard else -1), say, limit,
                watch, self._announced if heard else None, self._load,
            )  # fmt: skip
        except (WaagentError, OSError) as error:
            return Report("failed", f"cannot start {step.path}: {error}", "system refused")
        report = python_step.report_of(ended, limit)
        report.seconds = ended.seconds
        return report

    def _keep_facts(self, report: Report) -> Report:
        """Put what the step published into the store; a fact that is not its stage's to publish is a failure."""
        if self.stage.runs == "demand":  # it takes the facts away; the store is not written again
            return report
        given = (*report.published.items(), *report.secrets.items())
        for key, value in given:
            # To forget is anybody's right: the final stage drops the password once it has done its work.
            if value is not None and not self.stage.may_publish(key):
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
            self._say_quietly(f"{report.kind}: {report.message}", step)

    def _say_quietly(self, message: str, step: Step) -> None:
        """For the log that tells more, and for who has named the step and waits for its answer."""
        tell = self.log.answer if step.name in self.wish.only else self.log.detail
        tell(message, step.name)

    def _announced(self, line: bytes) -> None:
        """Run the hooks of what a step announces while it waits for them."""
        try:
            said = json.loads(line)
            event, data = str(said["event"]), dict(said["data"])
        except (ValueError, KeyError, TypeError):  # not by ctx.announce; the step gets its answer all the same
            return
        mark, self._mark = self._mark, self.system.clock.boot()
        self._hooks_of(event, data)
        self._mark = mark  # the hooks' time is the step's, too: it waits

    def _hooks_of(self, event: str, data: dict[str, Any]) -> None:
        """Run the hooks in on-<event>/; how they end is recorded and never changes the event."""
        listing = steps.discover(self.system, f"on-{event}")
        for refused in listing.refused:
            self.log.warning(str(refused))
        for hook in listing.steps:
            self._hook(replace(hook, module=_as_event_hook(hook.module)), event, data)

    def _hook(self, hook: Step, event: str, data: dict[str, Any]) -> None:
        """Run one event hook, briefly where the budget is used up. What it emits is not followed."""
        ctx = replace(self._context(hook), event=event, event_data=data)
        left = self.stage.budget - (self.system.clock.monotonic() - self.began)
        reason = self._not_for_here(hook.module)
        if reason is None:
            report = self._in_child(hook, ctx, min(hook.module.limit, max(left, HOOK_AT_LEAST)), heard=False)
        else:
            report = Report("skipped", reason)
        if report.kind in ("changed", "unchanged"):
            report = self._keep_facts(report)
        record: dict[str, Any] = {
            "name": hook.name,
            "path": hook.path,
            "outcome": report.kind,
            "message": self.log.hidden(report.message),
            "at": round(self._mark, 3),
            "digest": hook.digest[:16],
            "essential": False,
            "event": event,
        }
        if self.system.planning:
            record["effects"] = report.effects
        self._account(record, report.seconds)
        self.records.append(record)
        self.journal.step(record)
        self._say(hook, report, report.seconds)


def _terminated(number: int, frame: object) -> None:
    """The unit is being stopped: leave through the finally clauses, which end the running step."""
    signal.signal(number, signal.SIG_IGN)  # said twice (to the group, and by the minder) it means the same
    sys.exit(128 + number)


def _unwatched(pid: int, folder: str) -> None:
    """Nobody minds this process."""


def _values(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from _values(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value)
    else:
        yield tree
