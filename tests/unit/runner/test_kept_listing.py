"""A start of the periodic stage with everything kept, and every change that has to be seen all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP, Machine
from waagent.errors import StageError
from waagent.runner import kept_listing
from waagent.runner.situation import situation
from waagent.runner.steps import Listing
from waagent.system import System

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps anything")
HOOK = "#!/bin/sh\n# waagent: {every: 30s, when: [a.b, c=d], watching: [/etc/hosts], frequency: always}\ntrue\n"


@pytest.fixture
def found(machine: Machine) -> Machine:
    """A machine whose periodic stage was found once, with everything that a listing can hold."""
    shutil.copytree(TOP / "data/distros", machine.root / "usr/lib/waagent/data/distros")
    machine.add("admin/periodic/20-hook.sh", HOOK)
    machine.add("admin/periodic/21-refused.sh", "#!/bin/sh\n", 0o666)
    machine.add("admin/periodic/30-masked.py", "")
    machine.add("admin/periodic/31-null.sh", "x")
    (machine.root / "etc/waagent/hooks.d/periodic/31-null.sh").unlink()
    (machine.root / "etc/waagent/hooks.d/periodic/31-null.sh").symlink_to("/dev/null")
    machine.module("vendor/periodic/30-masked.py", every=5, frequency="always")
    machine.module("vendor/periodic/40-step.py", every=300, on=("goal-state",), frequency="always")
    time.sleep(0.05)
    assert look(machine).is_news
    return machine


def look(machine: Machine) -> Listing:
    return kept_listing.find(machine.system(), "periodic")[1]


def test_what_is_kept_is_what_was_found(found: Machine) -> None:
    stage, listing = kept_listing.find(found.system(), "periodic")
    assert not listing.is_news
    (found.root / "run/waagent/kept/stage.periodic.json").unlink()
    again, fresh = kept_listing.find(found.system(), "periodic")
    assert fresh.is_news
    assert stage == again
    assert [*map(repr, listing.steps)] == [*map(repr, fresh.steps)]
    assert (listing.masked, listing.refused, listing.notes) == (fresh.masked, fresh.refused, fresh.notes)
    assert fresh.steps and fresh.masked and fresh.refused


def hooks(machine: Machine) -> Path:
    return machine.root / "etc/waagent/hooks.d/periodic"


CHANGES: dict[str, Callable[[Machine], object]] = {
    "a hook changes": lambda m: m.add("admin/periodic/20-hook.sh", HOOK.replace("30s", "40s")),
    "a hook comes": lambda m: m.add("run/periodic/50-new.sh", HOOK),
    "a hook goes": lambda m: (hooks(m) / "20-hook.sh").unlink(),
    "a hook becomes writable": lambda m: (hooks(m) / "20-hook.sh").chmod(0o777),
    "its directory becomes writable": lambda m: hooks(m).chmod(0o777),
    "a directory above becomes writable": lambda m: (m.root / "etc/waagent").chmod(0o777),
    "a directory above changes hands": lambda m: os.chown(m.root / "etc/waagent", 12, 12),
    "a module changes": lambda m: m.module("vendor/periodic/40-step.py", every=7, frequency="always"),
    "the mask goes": lambda m: (hooks(m) / "31-null.sh").unlink(),
    "the stage changes": lambda m: (m.root / "usr/lib/waagent/stages/periodic.yaml").write_text("order: 5\n"),
    "the administrator has a stage file": lambda m: (
        (m.root / "etc/waagent/stages").mkdir(), (m.root / "etc/waagent/stages/periodic.yaml").write_text("{")
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(found: Machine, change: str) -> None:
    assert not look(found).is_news
    CHANGES[change](found)
    try:
        assert look(found).is_news
    except StageError as error:  # an unusable stage file was seen, too
        assert "periodic.yaml" in error.message


def test_a_link_to_a_module_is_looked_at_each_time(found: Machine) -> None:
    (hooks(found) / "60-again.py").symlink_to("/usr/lib/waagent/modules/periodic/40-step.py")
    time.sleep(0.05)
    assert look(found).is_news
    assert look(found).is_news


def test_other_stages_and_plans_are_found_anew(found: Machine) -> None:
    kept_listing.find(found.system(), "local")
    assert kept_listing.find(found.system(), "local")[1].is_news
    assert kept_listing.find(found.system(planning=True), "periodic")[1].is_news


@pytest.mark.parametrize("content", ["", "{}", '{"stamp": [], "value": {}}', "null"])
def test_a_damaged_file_is_found_anew(found: Machine, content: str) -> None:
    (found.root / "run/waagent/kept/stage.periodic.json").write_text(content)
    assert look(found).is_news


def test_the_configuration_is_kept_and_seen_to_change(machine: Machine) -> None:
    main = machine.root / "etc/waagent.conf"
    drop_ins = machine.root / "etc/waagent.conf.d"
    os_release = machine.root / "etc/os-release"
    shutil.copytree(TOP / "data/distros", machine.root / "usr/lib/waagent/data/distros")

    def period() -> int:
        time.sleep(0.05)
        situation(System(machine.root))
        return situation(System(machine.root))[1].integer("Extensions.GoalStatePeriod")

    os_release.write_text("ID=debian\nVERSION_ID=12\n")
    assert period() == 6
    main.write_text("Extensions.GoalStatePeriod=7\nHttpProxy.Host=http://me:secret@proxy\n")
    assert period() == 7
    assert (machine.root / "run/waagent/kept/config.json").stat().st_mode & 0o777 == 0o600
    drop_ins.mkdir()
    assert period() == 7
    (drop_ins / "10-a.conf").write_text("Extensions.GoalStatePeriod=8\n")
    assert period() == 8
    (drop_ins / "10-a.conf").write_text("Extensions.GoalStatePeriod=9\n")
    assert period() == 9
    (drop_ins / "10-a.conf").chmod(0o666)
    assert period() == 7
    (drop_ins / "10-a.conf").unlink()
    main.unlink()
    assert period() == 6


PASS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from waagent.runner.situation import situation
from waagent.runner.stage import Wish, run_stage
from waagent.system import System

def started(*args, **words):
    raise SystemExit("a process was started")

os.fork = os.posix_spawn = started if sys.argv[3] == "nothing due" else os.fork
system = System(sys.argv[2])
profile, settings = situation(system)
run_stage(system, "periodic", settings, profile, Wish())
print(sorted({"yaml", "configobj", "requests", "cryptography", "subprocess"} & set(sys.modules)))
"""


def test_a_pass_with_everything_kept_loads_no_parser_and_starts_nothing(found: Machine) -> None:
    hooks(found).joinpath("20-hook.sh").unlink()
    for due in ("all due", "all kept", "nothing due"):
        time.sleep(0.05)
        ran = subprocess.run(
            [sys.executable, "-c", PASS, str(TOP), str(found.root), due], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran
    assert ran.stdout.strip() == "[]"
