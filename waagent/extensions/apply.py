"""Process a goal state's extensions: every pair in order, each operation as plan.py decides, all of it journalled.

    Engine(system, layout, source, rules).process(desired) -> Summary

Every decision is made from the disk as it is just then, so whatever killed an earlier process, a new one goes on
from there: turns that are done are not repeated within a goal state and boot, a command that still runs is waited
for, one that ended meanwhile is settled with its real exit code, an update continues at its next step.

A failing handler fails alone, whatever it fails with (boundary.py): its status tells why, and the next pair is
taken. Only dependencies spread: when a pair that others wait for fails, everything later in the order is skipped.

With Rules.parallel above 1 the handlers of one level run side by side, that many at most, each in a thread; what
belongs to one handler (its instances) still runs one after the other. Then a failure skips the levels above, not
the neighbours, and the end of a level's handlers is awaited once all of them have had their turn.

Source: extensions 4.1 - 4.9, 5.3, 5.4, 9.4.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from waagent.errors import ExtensionError, WaagentError
from waagent.extensions import codes, commands, ours, packages, plan, status
from waagent.extensions import handler as handlers
from waagent.extensions.ahead import Ahead
from waagent.extensions.boundary import of_handler
from waagent.extensions.commands import Command, Running
from waagent.extensions.downloads import Sparing
from waagent.extensions.journal import Interrupted, Journal, agent_start, boot_id, read_json
from waagent.extensions.layout import Layout
from waagent.extensions.observe import observe
from waagent.extensions.observe import packages as packages_on_disk
from waagent.extensions.packages import Source
from waagent.extensions.plan import Operation, Pair, Refusal
from waagent.extensions.steps import Announce, Rules, Steps, remove_version
from waagent.extensions.verdicts import Fate, Verdicts
from waagent.fabric.desired import ENABLED, UNINSTALL, Desired, Handler
from waagent.system import System

SUPPORTED_FEATURES = ("MultipleExtensionsPerHandler",)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Summary:
    """kind: processed, held or unsupported; notes: failures that were tolerated."""

    kind: str
    fates: tuple[Fate, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Fate, ...]:
        return tuple(fate for fate in self.fates if fate.result != "succeeded")


def is_processed(system: System, layout: Layout, identity: str) -> bool:
    """Whether this goal state has been processed in this boot, since the agent was started."""
    done = read_json(system, layout.processed)
    here = (identity, boot_id(system), agent_start(system))
    return (done.get("identity"), done.get("boot"), done.get("agent", "")) == here


class Engine:
    def __init__(
        self,
        system: System,
        layout: Layout,
        source: Source,
        rules: Rules | None = None,
        announce: Announce = lambda event, **data: None,
    ) -> None:
        self._system, self._layout, self._source = system, layout, Sparing(system, layout, source)
        self._rules = rules or Rules()
        self._journal = Journal(system, layout)
        self._shown: tuple[Handler, ...] = ()  # as the status report sees them
        self._showing = threading.Lock()
        self._steps = Steps(system, layout, self._source, self._rules, self._journal, announce)
        self._verdicts = Verdicts(system, layout, self._steps.notes)

    def process(
        self,
        desired: Desired,
        *,
        features: tuple[str, ...] = SUPPORTED_FEATURES,
        honour_hold: bool = True,
        only: str = "",
    ) -> Summary:
        """Bring the machine to what is desired, as far as it goes. Raises only what hits the engine itself.

        only: the name of the one handler to do it for; the others are left as they are. Somebody asks for it, so
        its package is fetched however often that has failed.
        """
        if only:
            self._source.forget(only)
        unknown = [name for name in desired.required_features if name not in features]
        if unknown:
            self._verdicts.show((), "unsupported")
            message = f"the goal state requires features that this agent does not have: {', '.join(unknown)}"
            code = codes.UNSUPPORTED_FEATURES
            self._verdicts.record(desired, {"status": "Failed", "code": code, "message": message})
            return Summary("unsupported", notes=(message,))
        if desired.on_hold and honour_hold:
            self._verdicts.show(desired.handlers, "held")
            self._verdicts.record(desired, None)
            return Summary("held")
        try:
            return self._process(desired, only)
        except Exception as error:
            # Told to the platform and raised again. Not marked as done, so the watcher starts a worker once more.
            told = error.message if isinstance(error, WaagentError) else f"{type(error).__name__}: {error}"
            trouble: dict[str, object] = {"status": "Failed", "code": codes.UNKNOWN, "message": told}
            self._verdicts.write(partial(self._verdicts.record, desired, trouble, done=False))
            raise

    def _process(self, desired: Desired, only: str) -> Summary:
        found = self._journal.interrupted()  # of this boot: begin() makes it the journal's
        other = self._journal.begin(desired.identity)
        self._resume(desired, found, same=not other)
        self._verdicts.write(self._sweep)
        refusals = self._rules.refusals(desired)
        self._shown = self._as_shown(desired) if only else desired.handlers
        self._verdicts.show(self._shown, "")
        if self._rules.enabled:
            named = {handler.name for handler in desired.handlers}
            ours.write(self._system, self._layout, named | ours.read(self._system, self._layout))
        fared = self._turns(desired, refusals, only)
        commands.clear(self._system, self._layout)
        if self._rules.enabled:
            self._clean_up(desired, [pair for pair, fate in fared if fate.result == "succeeded"])
        self._verdicts.record(
            desired, {"status": "Success", "code": 0, "message": "GoalState executed successfully"}
        )
        self._journal.finish()
        fates = tuple(fate for _, fate in fared)
        return Summary("processed", fates, (*self._steps.notes, *self._journal.troubles))

    def _sweep(self) -> None:
        self._steps.notes += packages.sweep(self._system, self._layout)

    def _as_shown(self, desired: Desired) -> tuple[Handler, ...]:
        """The handlers at the versions that were settled when all of them had their turns."""
        current = read_json(self._system, self._layout.current).get("handlers")
        shown = {one["name"]: one["version"] for one in current} if isinstance(current, list) else {}
        return tuple(replace(one, version=shown.get(one.name, one.version)) for one in desired.handlers)

    # -- before the turns ------------------------------------------------------------------------------------

    def _resume(self, desired: Desired, found: Sequence[Interrupted], *, same: bool) -> None:
        """Settle the commands that an earlier process was running when it died; same: for this goal state."""
        settled = _side_by_side([partial(self._settle, desired, *one) for one in found], max(1, len(found)))
        for pair, result, message in settled:
            if same and result:
                self._journal.ended(pair, result, message)
        self._journal.settled()
        commands.clear(self._system, self._layout)

    def _settle(
        self, desired: Desired, pair_id: str, operation: Operation, command: Command, running: Running
    ) -> tuple[str, str, str]:
        """The pair's id and how its turn has ended with this command: result and message, "" when it goes on."""
        # An instance may be gone that had the turn in which its handler was updated: then another one's will do.
        pairs = [one for one in plan.pairs(desired) if one.handler.name == operation.handler]
        pair = next((one for one in pairs if one.id == pair_id), pairs[0] if pairs else None)
        what = f"settling {operation.verb} of {operation.handler}"
        try:
            with of_handler(operation.handler, what, self._steps.notes):
                ended = commands.attach(self._system, self._layout, command, running)
                if ended is None or pair is None:
                    return pair_id, "", ""
                try:
                    self._steps.settle(pair, operation, command, ended)
                finally:
                    self._steps.finished(operation, ended, ended.seconds)
        except ExtensionError as error:
            self._journal.forget_update(operation.handler)
            if pair is not None and pair.id == pair_id:
                self._verdicts.fail(pair, operation, error)
            return pair_id, "failed", error.message
        if operation.verb != "enable":
            return pair_id, "", ""
        self._journal.forget_update(pair.handler.name)
        return pair_id, "succeeded", ""

    def _ahead(self, ordered: tuple[Pair, ...], refusals: dict[str, Refusal]) -> Ahead:
        """Begin to fetch what the turns will want, in their order."""
        observed = observe(self._system, self._layout, self._journal.updates)
        wanted = {
            pair.handler.name: pair.handler
            for pair in ordered
            if pair.handler.state == ENABLED and pair.handler.name not in refusals
        }

        refused = {name for name, handler in wanted.items() if self._steps.signatures.refuses(handler)}

        def needed(name: str, version: str) -> bool:
            if name in refused:
                return False
            state = observed.state(name, version)
            staged = self._system.exists(self._layout.package(name, version))
            unpacked = plan.pending_update(name, version, observed) is not None
            return state not in (handlers.INSTALLED, handlers.ENABLED) and not staged and not unpacked

        return Ahead(self._system, self._layout, self._source, wanted.values(), needed)

    def _settled(self, pair: Pair, ahead: Ahead) -> Pair:
        """The pair at the version that counts: the manifest's for what is to be enabled, else what is installed."""
        handler = pair.handler
        if handler.state != ENABLED:
            installed = observe(self._system, self._layout).installed(handler.name)
            version = installed.version if installed else handler.version
        else:
            try:
                release = ahead.release(handler)
            except ExtensionError:
                # What is installed and fits needs no manifest to be enabled with new settings.
                state = handlers.read_state(self._system, self._layout, handler.name, handler.version)
                if state not in (handlers.INSTALLED, handlers.ENABLED):
                    raise
                return pair
            self._steps.releases[handler.name] = release
            trouble = ahead.trouble(handler)
            if trouble is not None:
                self._steps.unavailable[handler.name] = trouble
            version = release.version
        if version == handler.version:
            return pair
        with self._showing:
            self._shown = tuple(
                replace(one, version=version) if one.name == handler.name else one for one in self._shown
            )
            self._verdicts.show(self._shown, "")
        return pair._replace(handler=replace(handler, version=version))

    def _settled_or_not(self, pair: Pair, ahead: Ahead) -> Pair:
        """For a turn that an earlier process has finished: its version, if that can still be told."""
        try:
            with of_handler(pair.handler.name, f"settling the version of {pair.label}", self._steps.notes):
                return self._settled(pair, ahead)
        except ExtensionError:
            return pair

    # -- the turns -------------------------------------------------------------------------------------------

    def _turns(self, desired: Desired, refusals: dict[str, Refusal], only: str) -> list[tuple[Pair, Fate]]:
        """Every pair, at the version that was settled for it, and how it fared."""
        ordered = tuple(pair for pair in plan.pairs(desired) if only in ("", pair.handler.name))
        ahead = self._ahead(ordered, refusals)
        ended: list[tuple[Pair, Fate]] = []
        broken = ""  # why what comes later is skipped
        for neighbours in self._neighbours(ordered):
            lanes = _lanes(neighbours)
            errands = [partial(self._lane, lane, broken, refusals, ahead) for lane in lanes]
            fared = dict(item for lane in _side_by_side(errands, self._rules.parallel) for item in lane)
            for wanted in neighbours:
                pair, fate = fared[wanted.id]
                ended.append((pair, fate))
                if not broken and plan.awaited(pair, ordered):
                    broken = (
                        self._await(pair) if fate.result == "succeeded" else f"execution of {pair.label} failed"
                    )
        return ended

    def _neighbours(self, ordered: tuple[Pair, ...]) -> Iterator[list[Pair]]:
        """What may have its turn at the same time, in the order of the turns."""
        if self._rules.parallel <= 1:
            yield from ([pair] for pair in ordered)
        else:
            yield from (list(level) for _, level in groupby(ordered, key=lambda pair: pair.key))

    def _lane(
        self, lane: Sequence[Pair], broken: str, refusals: dict[str, Refusal], ahead: Ahead
    ) -> list[tuple[str, tuple[Pair, Fate]]]:
        """The turns of one handler: for each pair's id, the pair at its settled version and how it fared."""
        fared = []
        for wanted in lane:
            pair, fate = self._fare(wanted, broken, refusals.get(wanted.handler.name), ahead)
            self._journal.ended(pair.id, fate.result, fate.message)
            self._steps.clear(pair)
            if fate.result == "succeeded":
                self._source.forget(pair.handler.name)
            elif fate.result == "failed":
                self._source.failed(pair.handler.name, pair.handler.version, fate.message)
            fared.append((wanted.id, (pair, fate)))
        return fared

    def _fare(self, pair: Pair, broken: str, refusal: Refusal | None, ahead: Ahead) -> tuple[Pair, Fate]:
        done = self._journal.turns.get(pair.id)
        if done is not None:
            fate = Fate(pair.label, *done)
            return (self._settled_or_not(pair, ahead) if fate.result == "succeeded" else pair), fate
        if refusal is not None and refusal.before_dependencies:
            return pair, self._verdicts.refuse(pair, refusal)
        if broken:
            release = ahead.settled(pair.handler)
            version = release.version if release is not None else pair.handler.version
            return pair, self._verdicts.skip(pair, version, broken)
        if refusal is not None:
            return pair, self._verdicts.refuse(pair, refusal)
        return self._turn(pair, ahead)

    def _turn(self, pair: Pair, ahead: Ahead) -> tuple[Pair, Fate]:
        """The pair at its settled version, and how it fared."""
        operation: Operation | None = None
        try:
            with of_handler(pair.handler.name, f"the turn of {pair.label}", self._steps.notes):
                pair = self._settled(pair, ahead)
                observed = observe(self._system, self._layout, self._journal.updates)
                operations = plan.turn(pair, observed, self._steps.signatures.requires(pair.handler.name))
                for operation in operations:
                    self._steps.perform(pair, operation)
        except ExtensionError as error:
            self._journal.forget_update(pair.handler.name)
            self._verdicts.fail(pair, operation, error)
            return pair, Fate(pair.label, "failed", error.message)
        self._journal.forget_update(pair.handler.name)
        return pair, Fate(pair.label, "succeeded")

    def _await(self, pair: Pair) -> str:
        """Wait until the pair's status file tells its end; "" for success, else why its dependants are skipped."""
        if pair.settings is None or pair.sequence < 0:
            return ""
        path = str(
            self._system.path(
                self._layout.status_file(pair.handler.name, pair.handler.version, pair.instance, pair.sequence)
            )
        )
        deadline = self._journal.began + self._rules.dependency_wait
        seen, clock = "", self._system.clock
        while clock.monotonic() < deadline:
            seen = str(status.extension_status(path, pair.label, pair.sequence, clock.now().timestamp())["status"])
            if seen == "success":
                return ""
            if seen == "error":
                return f"{pair.label} did not succeed, its status was error"
            clock.sleep(self._rules.dependency_poll)
        minutes = self._rules.dependency_wait / 60
        told = f", its status was {seen}" if seen else ""
        return f"{pair.label} did not reach a final state within {minutes:.0f} minutes{told}"

    # -- after the turns -------------------------------------------------------------------------------------

    def _clean_up(self, desired: Desired, well: Sequence[Pair]) -> None:
        """Delete what nobody needs; run nothing.

        That is what is ours and not in the goal state any more, packages without a directory, and of handlers that
        fared well the versions that came to nothing.
        """
        named = {handler.name for handler in desired.handlers}
        wanted = {handler.name for handler in desired.handlers if handler.state != UNINSTALL}
        observed = observe(self._system, self._layout, self._journal.updates)
        known = ours.read(self._system, self._layout)
        gone = [(one.name, one.version) for one in observed.handlers if one.name in known - named]
        for handler in {pair.handler.name: pair.handler for pair in well if pair.handler.state == ENABLED}.values():
            versions = plan.leftovers(handler.name, handler.version, observed)
            gone += [(handler.name, version) for version in versions]
        for name, version in gone:
            self._verdicts.write(partial(remove_version, self._system, self._layout, name, version))
        for name, version in packages_on_disk(self._system, self._layout):
            if name not in wanted and observed.find(name, version) is None:
                self._verdicts.write(partial(self._system.remove, self._layout.package(name, version)))
        there = {one.name for one in observe(self._system, self._layout).handlers}
        self._verdicts.write(partial(ours.write, self._system, self._layout, named | (known & there)))
        for name in list(self._journal.updates):
            if name not in named:
                self._journal.forget_update(name)


def _lanes(neighbours: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs of each handler, whose turns come one after the other; names that differ in case are one's."""
    lanes: dict[str, list[Pair]] = {}
    for pair in neighbours:
        lanes.setdefault(pair.handler.name.lower(), []).append(pair)
    return list(lanes.values())


def _side_by_side(errands: Sequence[Callable[[], _Result]], at_once: int) -> list[_Result]:
    """What each of them returns, in their order; so many run at once. Raises what one raised, at the end."""
    if min(at_once, len(errands)) <= 1:
        return [errand() for errand in errands]
    with ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(errand) for errand in errands]
    return [one.result() for one in begun]
