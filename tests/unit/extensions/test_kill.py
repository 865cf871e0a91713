"""SIGKILL at random points of an install, update and uninstall: the machine always converges, nothing runs twice;
the same with three handlers that do so side by side.

In the CI it is 200 kills of each kind, elsewhere a few; WAAGENT_KILLS is the number.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, single
from waagent.extensions.apply import is_processed
from waagent.fabric.desired import Handler

NAMES = ("Contoso.Test.Probe", "Contoso.Test.Other", "Contoso.Test.Third")
KILLS = int(os.environ.get("WAAGENT_KILLS") or (200 if os.environ.get("CI") == "true" else 36))
EACH = 4  # kills in each of the three goal states of a sequence, unless it is over sooner
SLOWLY = dict.fromkeys(("install", "enable", "disable", "update", "uninstall"), "sleep 0.03")

# Processes that have everything imported when they begin.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])


def goal_states(count: int) -> list[list[Handler]]:
    names = NAMES[:count]
    return [
        [single(name, "1.0.0") for name in names],
        [single(name, "1.1.0", 1) for name in names],
        [single(name, "1.1.0", 2, state="uninstall") for name in names],
    ]


def publish(bed: Bed) -> None:
    for name in NAMES:
        for version in ("1.0.0", "1.1.0"):
            bed.publish(name, version, SLOWLY)


def work(folder: str, number: int, count: int, begun: Event) -> None:
    """A worker as the periodic stage starts it: it takes up the goal state of this number and ends."""
    bed = Bed(Path(folder))
    publish(bed)
    bed.rules = replace(bed.rules, parallel=count)
    bed.incarnation = number
    begun.set()
    bed.process(*goal_states(count)[number])


def worker(bed: Bed, number: int, count: int) -> ForkServerProcess:
    begun = SERVER.Event()
    process = SERVER.Process(target=work, args=(str(bed.folder), number, count, begun))
    process.start()
    begun.wait()
    return process


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("seed", range(-(-KILLS // (3 * EACH))))
def test_it_converges_and_nothing_runs_twice(bed: Bed, seed: int, count: int) -> None:
    chance = random.Random(seed)
    publish(bed)
    for number, expected in enumerate(
        (
            ["install 1.0.0"],
            ["disable 1.0.0", "update 1.1.0", "uninstall 1.0.0", "install 1.1.0"],
            ["disable 1.1.0", "uninstall 1.1.0"],
        )
    ):
        kills = 0
        while not is_processed(bed.system, bed.layout, f"incarnation:{number + 1}"):
            process = worker(bed, number, count)
            if kills < EACH:
                time.sleep(chance.uniform(0.0, 0.35))
                process.kill()
                kills += 1
            process.join()
        lines = bed.ran()
        for name in NAMES[:count]:
            ran = Counter(" ".join(line.replace(f"{name}-", "").split()[:2]) for line in lines if name in line)
            commands = {line: times for line, times in ran.items() if not line.startswith("enable")}
            assert commands == dict.fromkeys(expected, 1), f"{name} in goal state {number}"
            assert sum(ran.values()) - len(commands) >= (number < 2), f"{name} was not enabled"
    assert not list(Path(bed.layout.lib).glob("*Contoso*"))
    assert not os.path.exists(bed.layout.running)
