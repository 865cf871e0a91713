"""The process dies, or the power goes, at the points where something has happened and is not written down yet."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, Killed, kill_before, multi, settings, single
from tests.unit.extensions.test_commands import resumed_bed
from waagent.extensions.commands import LIMITS
from waagent.extensions.journal import Journal
from waagent.fabric.desired import Handler, Settings
from waagent.system import System
from waagent.system.clock import Clock

NAME = "Contoso.Test.Probe"
CONTINUE = {"continueOnUpdateFailure": True}
MANY = {"supportsMultipleExtensions": True}


def kill_after(bed: Bed, verb: str, *handlers: Handler) -> None:
    """Process a goal state and die when the command of this verb has ended, before the hooks are told."""
    engine = bed.engine()

    def deadly(event: str, **data: Any) -> None:
        if event == "extension-finished" and data["operation"] == verb:
            raise Killed

    engine._steps._announce = deadly
    with pytest.raises(Killed):
        engine.process(bed.desired(*handlers))
    bed.incarnation -= 1  # the same goal state comes again


def cut_the_power(bed: Bed) -> None:
    """Another boot: of what was running nothing can be told."""
    journal = Path(bed.layout.journal)
    journal.write_text(json.dumps({**json.loads(journal.read_text()), "boot": "the one before"}))
    shutil.rmtree(bed.layout.running)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power-cut"])
@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        ("disable", ["update", "uninstall", "install", "enable"]),
        ("update", ["uninstall", "install", "enable"]),
        ("uninstall", ["install", "enable"]),
        ("install", ["enable"]),
    ],
)
@pytest.mark.row("extensions", 50, 51)
def test_50_51_what_has_ended_in_an_update_is_known_at_once(
    bed: Bed, verb: str, rest: list[str], power: bool
) -> None:
    bed.publish(NAME, "1.0.0", {"disable": "exit 7", "uninstall": "exit 9"})
    bed.process(single(NAME))
    bed.ran()
    bed.publish(NAME, "1.1.0", manifest=CONTINUE)
    kill_after(bed, verb, single(NAME, "1.1.0", sequence=1))
    if power:
        cut_the_power(bed)
    assert bed.verbs() + rest == ["disable", "update", "uninstall", "install", "enable"]
    bed.fetched.clear()
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert (bed.verbs(), bed.fetched) == (rest, [])
    assert not list(Path(bed.layout.lib).glob(".*.fetched"))
    if "update" in rest:
        assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "7"
    if "install" in rest:
        assert bed.environment("install")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"
    assert bed.environment("enable")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"
    assert not bed.base(NAME, "1.0.0").exists()
    assert Journal(bed.system, bed.layout).updates == {}


@pytest.mark.parametrize("verb", ["disable", "uninstall"])
def test_a_removal_that_was_killed_goes_on_behind_the_command_that_ended(bed: Bed, verb: str) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    bed.ran()
    kill_after(bed, verb, single(NAME, sequence=1, state="uninstall"))
    bed.process(single(NAME, sequence=1, state="uninstall"))
    assert bed.verbs() == ["disable", "uninstall"]
    assert not bed.base(NAME, "1.0.0").exists()


def test_an_update_goes_on_in_another_instance_s_turn(bed: Bed) -> None:
    """The instance that was about to have its handler updated is gone from the next goal state."""
    bed.publish(NAME, "1.0.0", manifest=MANY)
    bed.process(multi(NAME, "1.0.0", Settings("A", 0), Settings("B", 0)))
    bed.ran()
    bed.publish(NAME, "1.1.0", manifest=MANY)
    kill_after(bed, "uninstall", multi(NAME, "1.1.0", Settings("A", 1), Settings("B", 1)))
    bed.ran()
    bed.incarnation += 1
    bed.process(multi(NAME, "1.1.0", Settings("B", 2)))
    assert bed.ran() == [f"install {NAME}-1.1.0 2 B", f"enable {NAME}-1.1.0 2 B"]


def test_a_command_over_its_limit_stays_so_when_the_process_dies(bed: Bed) -> None:
    bed.rules = replace(bed.rules, limits={**LIMITS, "enable": 0.3})
    bed.publish(NAME, "1.0.0", {"enable": "sleep 60"})
    kill_after(bed, "enable", single(NAME))
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert bed.entry(NAME)["code"] == 1011


def test_a_turn_whose_last_command_has_ended_is_over(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success done"})
    engine = bed.engine()

    def deadly(*words: Any) -> None:
        raise Killed

    engine._journal.ended = deadly  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.process(bed.desired(single(NAME)))
    bed.incarnation -= 1
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]


@pytest.mark.row("extensions", 54)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "power-cut"])
def test_54_an_instance_that_was_disabled_is_forgotten_after_a_crash(bed: Bed, power: bool) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success ok"}, MANY)
    bed.process(multi(NAME, "1.0.0", Settings("A", 0), Settings("B", 0)))
    bed.ran()
    wanted = multi(NAME, "1.0.0", Settings("A", 1, "disabled"), Settings("B", 1))
    kill_before(bed, "forget", wanted)
    if power:
        cut_the_power(bed)
    bed.process(wanted)
    assert bed.ran() == [f"disable {NAME}-1.0.0 1 A", f"enable {NAME}-1.0.0 1 B"]
    assert list(bed.base(NAME, "1.0.0").glob("*/A.*")) == []


def test_settings_of_an_instance_that_never_was_enabled_stay(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest=MANY)
    for sequence in (0, 1):
        bed.process(multi(NAME, "1.0.0", Settings("A", sequence, "disabled"), Settings("B", 0)))
    assert len(list(bed.base(NAME, "1.0.0").glob("config/A.*.settings"))) == 2


def test_what_ran_in_another_boot_is_not_taken_for_what_runs(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    kill_after(bed, "enable", single(NAME))
    journal = Path(bed.layout.journal)
    journal.write_text(json.dumps({**json.loads(journal.read_text()), "boot": "the one before"}))
    bed.events.clear()
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable", "enable"]
    assert [event for event, _ in bed.events] == ["extension-started", "extension-finished"]
    assert not Path(bed.layout.running).exists()


# -- a machine that sleeps -----------------------------------------------------------------------------------


class Asleep(Clock):
    """The clock of a machine that has slept for a day between two looks at it."""

    slept = 0.0

    def boot(self) -> float:
        self.slept += 86400
        return super().boot() + self.slept


def test_time_asleep_does_not_count_against_a_command(bed: Bed) -> None:
    process = resumed_bed(bed, NAME, "touch ../begun; sleep 1.5; status success done", "enable")
    process.kill()
    process.wait()
    bed.incarnation = 0
    bed.system = System("/", clock=Asleep(), journalling=False)
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert settings(bed.entry(NAME))["status"] == "success"


def test_time_asleep_does_not_count_against_a_dependency(bed: Bed) -> None:
    other = "Contoso.Test.Other"
    bed.system = System("/", clock=Asleep(), journalling=False)
    bed.publish(NAME, "1.0.0", {"enable": "(sleep 0.4; status success late) > /dev/null 2>&1 & true"})
    bed.publish(other, "1.0.0")
    assert not bed.process(single(NAME, level=1), single(other, level=2)).failed
    assert bed.entry(other)["status"] == "Ready"


def test_the_clock_of_limits_is_one_for_all_processes_and_stands_still_in_sleep() -> None:
    clock = Clock()
    assert abs(clock.monotonic() - time.clock_gettime(time.CLOCK_MONOTONIC)) < 1
