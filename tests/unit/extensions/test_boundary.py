"""Whatever a handler does to what lies on its disk, it fails alone: the others have their turns, the platform hears."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, multi, settings, single
from tests.unit.extensions.test_crashes import kill_after
from waagent.extensions import report
from waagent.extensions.apply import is_processed
from waagent.extensions.boundary import noted, of_handler
from waagent.extensions.journal import Journal
from waagent.extensions.observe import observe
from waagent.fabric.desired import Handler, Settings

BAD, GOOD = "Contoso.Test.Bad", "Contoso.Test.Good"  # in the order of their turns


@pytest.fixture
def two(bed: Bed) -> Bed:
    for name in (BAD, GOOD):
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    return bed


def loop(path: str) -> None:
    """A link to itself in the place of whatever was there."""
    place = Path(path)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(place.name)


def alone(bed: Bed, bad: Handler, sequence: int = 1) -> str:
    """Process both; what the platform is told about the bad one, which failed without harm for the other."""
    desired = bed.desired(bad, single(GOOD, sequence=sequence))
    summary = bed.engine().process(desired)
    assert {fate.label: fate.result for fate in summary.fates} == {bad.name: "failed", GOOD: "succeeded"}
    assert is_processed(bed.system, bed.layout, desired.identity)
    assert settings(bed.entry(GOOD))["status"] == "success"
    entry = bed.entry(bad.name)
    assert entry["status"] == "NotReady"
    told = json.dumps(entry)
    assert "waits for its turn" not in told
    return told


@pytest.mark.parametrize("denied", [False, True], ids=["enabled", "switched off"])
def test_a_status_that_is_a_link_to_itself(two: Bed, denied: bool) -> None:
    two.process(single(BAD), single(GOOD))
    loop(two.layout.handler_status(BAD, "1.0.0"))
    if not denied:
        alone(two, single(BAD, sequence=1))
        return
    two.rules = replace(two.rules, enabled=False)
    summary = two.process(single(BAD, sequence=1), single(GOOD, sequence=1))
    assert [fate.result for fate in summary.fates] == ["failed", "failed"]
    assert {entry["status"] for entry in two.entries()} == {"NotReady"}
    assert "Extensions.Enabled" in json.dumps(two.entry(BAD))


def test_a_folder_that_is_a_link_to_itself_hides_no_other(two: Bed) -> None:
    two.process(single(BAD), single(GOOD))
    loop(two.layout.config(BAD, "1.0.0"))
    assert {one.name for one in observe(two.system, two.layout).handlers} == {BAD, GOOD}
    alone(two, single(BAD, sequence=1))


@pytest.mark.parametrize(
    "manifest",
    [{"enableCommand": "bin/run.sh enable \0"}, {"enableCommand": "bin/run.sh \ud800"}],
    ids=["NUL", "half a character"],
)
def test_a_command_that_cannot_be_started(two: Bed, manifest: dict[str, str]) -> None:
    two.publish(BAD, "1.0.0", manifest=manifest)
    alone(two, single(BAD), 0)


def test_a_quota_that_no_float_holds(two: Bed) -> None:
    two.publish(BAD, "1.0.0", top={"resourceLimits": {"cpuQuotaPercentage": 10**400}})
    assert "a number of 401 digits" in alone(two, single(BAD), 0)


def test_directories_deeper_than_python_recurses(two: Bed) -> None:
    two.process(single(BAD), single(GOOD))
    deep = two.layout.base(BAD, "1.0.0")
    for depth in range(1100):
        os.mkdir(f"{deep}{'/d' * (depth + 1)}")
    try:
        desired = two.desired(single(BAD, state="uninstall"), single(GOOD, sequence=1))
        summary = two.engine().process(desired)
        assert {fate.label: fate.result for fate in summary.fates}[GOOD] == "succeeded"
        again = two.process(single(GOOD, sequence=2))  # what is left of it is in nobody's way
        assert [fate.result for fate in again.fates] == ["succeeded"]
    finally:
        subprocess.run(["rm", "-rf", two.layout.lib], check=True)


def test_a_version_that_is_no_name_of_a_file(two: Bed) -> None:
    version = "1." + "9" * 300
    two.publish(BAD, version)
    alone(two, single(BAD, version), 0)


def test_an_instance_whose_name_is_no_name_of_a_file(two: Bed) -> None:
    two.publish(BAD, "1.0.0", manifest={"supportsMultipleExtensions": True})
    name = "ü" * 160  # 320 bytes
    summary = two.process(multi(BAD, "1.0.0", Settings(name, 0), Settings("B", 0)), single(GOOD))
    assert {fate.label: fate.result for fate in summary.fates} == {
        f"{BAD}.{name}": "failed", f"{BAD}.B": "succeeded", GOOD: "succeeded",
    }  # fmt: skip
    assert settings(two.instance(BAD, name))["status"] == "error"


def test_a_status_file_of_the_agent_that_is_a_link_to_itself(two: Bed) -> None:
    """It is written for what is denied, whatever lies in its place."""
    two.process(single(BAD), single(GOOD))
    two.rules = replace(two.rules, enabled=False)
    loop(two.layout.status_file(BAD, "1.0.0", "", 1))
    summary = two.process(single(BAD, sequence=1), single(GOOD, sequence=1))
    assert [fate.result for fate in summary.fates] == ["failed", "failed"]
    assert settings(two.entry(GOOD))["status"] == "error"


def test_a_command_that_cannot_be_settled(two: Bed) -> None:
    two.publish(BAD, "1.0.0", {"enable": "rm -rf config; : > config"})
    kill_after(two, "enable", single(BAD), single(GOOD))
    # What is wrong with its folder was wrong before this process began, which settles the command.
    summary = two.process(single(BAD), single(GOOD))
    assert {fate.label: fate.result for fate in summary.fates} == {BAD: "failed", GOOD: "succeeded"}


def test_a_bug_leaves_its_place_in_the_notes(two: Bed) -> None:
    engine = two.engine()
    perform = engine._steps.perform

    def failing(pair: object, operation: object) -> None:
        if getattr(operation, "handler", "") == BAD:
            raise KeyError("a bug")
        perform(pair, operation)  # type: ignore[arg-type]

    engine._steps.perform = failing  # type: ignore[assignment,method-assign]
    summary = engine.process(two.desired(single(BAD), single(GOOD)))
    assert [fate.result for fate in summary.fates] == ["failed", "succeeded"]
    (note,) = [note for note in summary.notes if "KeyError: 'a bug'" in note]
    assert note.startswith(f"the turn of {BAD} stopped: ") and "line " in note


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_nobodys_failure(end: type[BaseException]) -> None:
    notes: list[str] = []
    boundaries: list[Callable[[], object]] = [lambda: of_handler(BAD, "it", notes), lambda: noted(notes)]
    for boundary in boundaries:
        with pytest.raises(end), boundary():  # type: ignore[attr-defined]
            raise end
    assert notes == []


def test_what_hits_the_engine_is_told_and_is_not_done(two: Bed) -> None:
    engine = two.engine()

    def broken(identity: str) -> bool:
        raise KeyError("a bug")

    engine._journal.begin = broken  # type: ignore[method-assign]
    desired = two.desired(single(BAD))
    with pytest.raises(KeyError):
        engine.process(desired)
    outcome = report.goal_state_outcome(two.layout.lib)
    assert outcome is not None and outcome.code != 0 and "KeyError: 'a bug'" in outcome.message
    assert report.processed(two.layout.lib)[0] == ""
    assert two.engine().process(desired).kind == "processed"
    assert report.processed(two.layout.lib)[0] == desired.identity


@pytest.mark.parametrize("began", ["x", [], {}, True, None, 10**400, float("nan"), float("inf"), -1])
def test_a_journal_with_an_odd_time(two: Bed, began: object) -> None:
    os.makedirs(two.layout.own)
    Path(two.layout.journal).write_text(json.dumps({"began": began}))
    assert Journal(two.system, two.layout).began == 0.0
    assert not two.process(single(GOOD)).failed
