"""The engine over a machine's whole life: real handlers on a real disk, goal states, failures and crashes in any order.

Like test_plan_history.py, but nothing is imagined: Engine processes random goal states of several handlers, versions
and instances. Commands fail, and the process dies at any write of its journal, just before it or just after; then the
next process goes on in the same boot, or the power was cut and it is another one. After each such history the goal
state is carried out in peace: the machine equals what is wanted, and until then no command that went well was
run twice in a goal state without a cause.

WAAGENT_HISTORIES=500 makes it that many instead of a few.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, Phase  # noqa: E402
from hypothesis import settings as profile  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule  # noqa: E402

from tests.unit.extensions.conftest import Bed, Killed  # noqa: E402
from waagent.extensions import ours  # noqa: E402
from waagent.extensions.apply import Engine, Summary, is_processed  # noqa: E402
from waagent.extensions.journal import Journal  # noqa: E402
from waagent.extensions.layout import split  # noqa: E402
from waagent.fabric.desired import Desired, Handler, Settings  # noqa: E402

SINGLE, OTHER, MANY = "Contoso.Test.Single", "Contoso.Test.Other", "Contoso.Test.Many"
# The second version tolerates failures in its update, the third is not installed after it.
VERSIONS: dict[str, dict[str, Any]] = {
    "1.0.0": {},
    "1.1.0": {"continueOnUpdateFailure": True},
    "2.0.0": {"updateMode": "UpdateWithoutInstall"},
}
# Not a disk, where programs may run there: every record waits for it.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") and not os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC else None
VERBS = ("install", "enable", "disable", "update", "uninstall")
RUN = """#!/bin/sh
name=${PWD##*/}; name=${name%-*}
line="$1 ${PWD##*/} $ConfigSequenceNumber ${ConfigExtensionName:--}"
[ ! -e "FOLDER/fails/$name.$1" ] || { echo "failed $line" >> "FOLDER/record"; exit 3; }
echo "$line" >> "FOLDER/record"
[ "$1" = enable ] || exit 0
echo '[{"status": {"operation": "Enable", "status": "success", "code": 0}}]' \\
    > "status/${ConfigExtensionName:+$ConfigExtensionName.}$ConfigSequenceNumber.status"
"""


@st.composite
def handlers(draw: st.DrawFn, name: str) -> Handler:
    state = draw(st.sampled_from(("enabled", "enabled", "enabled", "enabled", "uninstall", "disabled")))
    level, sequence = draw(st.integers(0, 1)), draw(st.integers(0, 3))
    if name == MANY:
        states = st.sampled_from(("enabled", "enabled", "disabled"))
        names = draw(st.sampled_from(("AB", "A", "ABC")))
        found = tuple(Settings(one, sequence, draw(states), level=level) for one in names)
    else:
        found = (Settings(name, sequence, level=level),) if draw(st.booleans()) else ()
    return Handler(name, draw(st.sampled_from(list(VERSIONS))), state, settings=found, multi_config=name == MANY)


@st.composite
def wanted(draw: st.DrawFn) -> tuple[Handler, ...]:
    names = draw(st.sampled_from(((SINGLE, MANY), (MANY, SINGLE, OTHER), (MANY,), (SINGLE, OTHER))))
    return tuple(draw(handlers(name)) for name in names)


failing = st.sets(st.tuples(st.sampled_from((SINGLE, MANY)), st.sampled_from(VERBS)), min_size=1, max_size=3)


class Mortal(Journal):
    """Dies at a write, before it or after; nothing is written from then on, whichever thread tries."""

    writes, after = 1 << 30, False

    def save(self) -> None:
        self.writes -= 1
        if self.writes < 0 or (self.writes == 0 and not self.after):
            raise Killed
        super().save()
        if self.writes == 0:
            raise Killed


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.bed = Bed(Path(tempfile.mkdtemp(prefix="waagent-history-", dir=MEMORY)))
        self.bed.rules = replace(self.bed.rules, dependency_poll=0.01)
        self.fails = self.bed.folder / "fails"
        self.fails.mkdir()
        run = RUN.replace("FOLDER", str(self.bed.folder)).encode()
        for name in (SINGLE, OTHER, MANY):
            for version, manifest in VERSIONS.items():
                several = {"supportsMultipleExtensions": name == MANY}
                self.bed.publish(name, version, manifest={**manifest, **several}, extra={"bin/run.sh": run})
        self.desired = Desired("fabric", "")
        self.excused: Counter[str] = Counter()  # how often more than once a command may have run

    def teardown(self) -> None:
        shutil.rmtree(self.bed.folder)

    # -- what happens ----------------------------------------------------------------------------------------

    @initialize(handlers=wanted(), parallel=st.sampled_from((1, 3)))
    def a_machine_starts(self, handlers: tuple[Handler, ...], parallel: int) -> None:
        self.bed.rules = replace(self.bed.rules, parallel=parallel)
        self.one_comes(handlers)

    def one_comes(self, handlers: tuple[Handler, ...]) -> None:
        self.nothing_ran_twice()
        self.bed.ran()
        self.excused.clear()
        self.desired = self.bed.desired(*handlers)

    @rule(handlers=wanted())
    def one_comes_and_is_carried_out_in_peace(self, handlers: tuple[Handler, ...]) -> None:
        self.one_comes(handlers)
        self.it_is_carried_out_in_peace()

    @rule(handlers=wanted(), failing=failing)
    def one_comes_and_commands_fail(self, handlers: tuple[Handler, ...], failing: set[tuple[str, str]]) -> None:
        self.one_comes(handlers)
        self._with(failing, self.bed.engine())

    @rule(handlers=wanted(), failing=failing, writes=st.integers(1, 40), after=st.booleans(), power=st.booleans())
    def one_comes_and_commands_fail_and_the_process_dies(
        self, handlers: tuple[Handler, ...], failing: set[tuple[str, str]], writes: int, after: bool, power: bool
    ) -> None:
        self.one_comes(handlers)
        self._die(failing, writes, after, power)

    @rule(handlers=wanted(), seed=st.integers(0, 1 << 16), power=st.booleans())
    def one_comes_and_the_process_dies_again_and_again(
        self, handlers: tuple[Handler, ...], seed: int, power: bool
    ) -> None:
        self.one_comes(handlers)
        chance = random.Random(seed)
        for _ in range(30):
            self._die(set(), chance.randint(2, 7), chance.random() < 0.5, power and chance.random() < 0.2)
        self.it_is_carried_out_in_peace()

    @rule()
    def it_is_carried_out_in_peace(self) -> None:
        summary = self._work(self.bed.engine())
        if summary is None or summary.failed:  # a turn that has failed is over in this goal state
            self.one_comes(self.desired.handlers)
            summary = self._work(self.bed.engine())
            assert summary is not None and not summary.failed, summary
        self.nothing_ran_twice()
        self.the_machine_is_as_wanted()

    def _work(self, engine: Engine) -> Summary | None:
        """As the step of the extensions does it; None when there is nothing to do."""
        if is_processed(self.bed.system, self.bed.layout, self.desired.identity):
            return None
        Path(self.bed.layout.downloads).unlink(missing_ok=True)  # pauses in fetching are another story
        return engine.process(self.desired)

    def _with(self, failing: set[tuple[str, str]], engine: Engine) -> None:
        for name, verb in failing:
            (self.fails / f"{name}.{verb}").touch()
        try:
            self._work(engine)
        finally:
            for file in self.fails.iterdir():
                file.unlink()

    def _die(self, failing: set[tuple[str, str]], writes: int, after: bool, power: bool) -> None:
        engine, before = self.bed.engine(), set(threading.enumerate())
        mortal = Mortal(self.bed.system, self.bed.layout)
        mortal.writes, mortal.after = writes, after
        engine._journal = engine._steps._journal = mortal
        try:
            self._with(failing, engine)
        except Killed:
            for thread in set(threading.enumerate()) - before:  # what fetches ahead dies with its process
                thread.join()
            if power:
                self._cut_the_power()

    def _cut_the_power(self) -> None:
        """Another boot: each enable runs once more, and so may a command whose end was not written down yet."""
        lines = self._record()
        self.excused.update({line for line in lines if line.startswith("enable ")})
        for path in filter(Path.exists, (Path(self.bed.layout.journal), Path(self.bed.layout.processed))):
            document = json.loads(path.read_text())
            for one in document.get("operations", {}).values():
                step = one["step"]
                place = f"{step['handler']}-{step['version']}"
                self.excused[f"{step['verb']} {place} {step['sequence']} {step['instance'] or '-'}"] += 1
            path.write_text(json.dumps({**document, "boot": "the one before"}))
        shutil.rmtree(self.bed.layout.running, ignore_errors=True)

    # -- what must hold --------------------------------------------------------------------------------------

    def _record(self) -> list[str]:
        return self.bed.record.read_text().splitlines() if self.bed.record.exists() else []

    def nothing_ran_twice(self) -> None:
        lines = self._record()
        disturbed = {split(line.split()[2])[0] for line in lines if line.startswith("failed ")}  # type: ignore[index]
        for line, times in Counter(lines).items():
            name = line.split()[1]
            if line.startswith("failed ") or name.rpartition("-")[0] in disturbed:
                continue
            assert times <= 1 + self.excused[line], (line, times, lines)

    def the_machine_is_as_wanted(self) -> None:
        bed = self.bed
        there = {parts for file in os.listdir(bed.layout.lib) if (parts := split(file)) is not None}
        for handler in self.desired.handlers:
            versions = {version for name, version in there if name == handler.name}
            states = {bed.state(handler.name, version) for version in versions}
            if handler.state == "uninstall":
                assert versions == set()
            elif handler.state == "disabled":
                assert handler.multi_config or "Enabled" not in states
            else:
                on = {one.name for one in handler.settings if one.state == "enabled"}
                assert versions == {handler.version}
                assert states == {"Enabled"} if on or not handler.settings else states <= {"Enabled", "Installed"}
                if handler.multi_config:
                    off = {one.name for one in handler.settings} - on
                    states_of = {one: bed.state(handler.name, handler.version, one) for one in on | off}
                    assert states_of == {**dict.fromkeys(on, "enabled"), **dict.fromkeys(off, "")}
        named = {handler.name for handler in self.desired.handlers}
        assert {name for name, _ in there} <= named, "what is not in the goal state is gone"
        assert ours.read(bed.system, bed.layout) == named
        assert not [file for file in os.listdir(bed.layout.lib) if file.startswith(".") or file.endswith(".zip")]
        assert not os.path.exists(bed.layout.running)
        assert is_processed(bed.system, bed.layout, self.desired.identity)
        journal = json.loads(Path(bed.layout.journal).read_text())
        assert (journal["updates"], journal["operations"]) == ({}, {})


TestLife = Life.TestCase
TestLife.settings = profile(
    max_examples=int(os.environ.get("WAAGENT_HISTORIES", "20")),
    stateful_step_count=8,
    deadline=None,
    phases=[phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)],  # they would take minutes
    suppress_health_check=list(HealthCheck),
)
