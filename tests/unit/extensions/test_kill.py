"""SIGKILL at random points of an install, update and uninstall: the machine always converges, nothing runs twice.

WAAGENT_KILLS=200 makes it that many kills instead of a few.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, single
from waagent.extensions.apply import is_processed
from waagent.fabric.desired import Handler

NAME = "Contoso.Test.Probe"
KILLS = int(os.environ.get("WAAGENT_KILLS", "8"))
SLOWLY = dict.fromkeys(("install", "enable", "disable", "update", "uninstall"), "sleep 0.03")

# A worker as the periodic stage starts it: a process that takes up the goal state of this number and ends.
WORKER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.unit.extensions.conftest import Bed
from tests.unit.extensions.test_kill import goal_states, publish
bed = Bed(Path({folder!r}))
publish(bed)
bed.incarnation = {number}
print("begun", flush=True)
bed.process(*goal_states()[{number}])
"""


def goal_states() -> list[list[Handler]]:
    return [[single(NAME, "1.0.0")], [single(NAME, "1.1.0", 1)], [single(NAME, "1.1.0", 2, state="uninstall")]]


def publish(bed: Bed) -> None:
    for version in ("1.0.0", "1.1.0"):
        bed.publish(NAME, version, SLOWLY)


def worker(bed: Bed, number: int) -> subprocess.Popen[bytes]:
    program = WORKER.format(path=sys.path, folder=str(bed.folder), number=number)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize("seed", range(max(1, KILLS // 4)))
def test_it_converges_and_nothing_runs_twice(bed: Bed, seed: int) -> None:
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
            process = worker(bed, number)
            if kills < 4:
                time.sleep(chance.uniform(0.0, 0.35))
                process.kill()
                kills += 1
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        ran = Counter(" ".join(line.replace(f"{NAME}-", "").split()[:2]) for line in bed.ran())
        commands = {line: count for line, count in ran.items() if not line.startswith("enable")}
        assert commands == dict.fromkeys(expected, 1), f"goal state {number}"
        assert sum(ran.values()) - len(commands) >= (number < 2), "it was enabled"
    assert not list(Path(bed.layout.lib).glob(f"*{NAME}*"))
    assert not os.path.exists(bed.layout.running)
