"""When the watcher asks whether a periodic step is due, and what it starts then: real processes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.fabric.samples import FakeClock
from waagent.watcher import launch
from waagent.watcher.main import Watcher
from waagent.watcher.notify import Notifier
from waagent.watcher.periodic import Periodic
from waagent.watcher.settings import Settings

Make = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path) -> Make:
    """A program that writes down that it was started, and ends with this status."""

    def make(name: str, status: int = 0) -> Path:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/started\nexit {status}\n')
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def started(tmp_path: Path) -> Callable[[int], list[str]]:
    """What was started, once it is so many; a moment longer is waited for more."""

    def look(count: int) -> list[str]:
        file, until = tmp_path / "started", time.monotonic() + 10
        lines: list[str] = []
        while len(lines) < count and time.monotonic() < until:
            lines = file.read_text().splitlines() if file.exists() else []
            time.sleep(0.02)
        time.sleep(0.1)
        launch.reap()
        return file.read_text().splitlines() if file.exists() else []

    return look


def without_units(is_due: Path | str, agent: Path) -> Periodic:
    return Periodic([str(agent)], 30.0, str(is_due), systemd="/nonexistent")


def test_it_asks_twice_a_minute_and_starts_nothing_while_nothing_is_due(program: Make, started) -> None:
    periodic = without_units(program("is-due", 1), program("agent"))
    asked = []
    for now in (0, 29, 30, 36, 59.9, 60, 66):
        before = len(started(0))
        periodic.turn(now)
        asked += [now] * (len(started(0)) - before)
    assert asked == [30, 60]
    assert started(0) == ["is-due ", "is-due "]


def test_the_stage_is_started_when_something_is_due(program: Make, started) -> None:
    without_units(program("is-due", 0), program("agent")).turn(30)
    assert started(2) == ["is-due ", "agent stage periodic"]


def test_without_the_program_that_tells_the_stage_looks_itself(program: Make, started) -> None:
    without_units("/nonexistent", program("agent")).turn(30)
    assert started(1) == ["agent stage periodic"]


def test_where_systemd_runs_the_stage_is_a_unit(
    tmp_path: Path, program: Make, started, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("systemctl")
    monkeypatch.setattr(launch, "PATH", f"{tmp_path}:{launch.PATH}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{launch.PATH}")  # where posix_spawnp looks
    Periodic([str(program("agent"))], 0.0, str(program("is-due")), systemd=str(tmp_path)).turn(0)
    assert started(2) == ["is-due ", "systemctl start --no-block waagent-periodic.service"]


def test_what_a_silent_program_says_goes_nowhere(capfd: pytest.CaptureFixture[str], started) -> None:
    for silent in (True, False):
        launch.launch(["sh", "-c", f"echo {silent}; echo {silent} >&2"], silent=silent)
    started(0)
    assert capfd.readouterr() == ("False\n", "False\n")


def test_a_start_that_fails_is_told_and_tried_again(
    tmp_path: Path, program: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Minute(FakeClock):
        def monotonic(self) -> float:
            return self.passed

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.passed > 60:
                raise TimeoutError

    clock, tried = Minute(), []

    def full(*words: object, **more: object) -> None:
        tried.append(clock.passed)
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(launch, "launch", full)
    settings = Settings(
        extensions=True, fast_track=True, host_health=False, initial=3000, lib=str(tmp_path), os_name="debian",
        os_version="12", period=3000,
    )  # fmt: skip
    watcher = Watcher(settings, periodic=without_units(program("is-due"), program("agent")), clock=clock)
    monkeypatch.setattr(watcher, "turn", lambda: None)
    with pytest.raises(TimeoutError):
        watcher.watch(Notifier())
    assert tried == [30.0, 60.0]
    assert capsys.readouterr().err.count("cannot start the stage periodic: Cannot allocate memory") == 1


def test_it_asks_in_time_however_seldom_the_goal_state_is_asked_for(
    tmp_path: Path, program: Make, started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of a watcher whose goal state period is fifty minutes."""
    turns: list[float] = []

    class Hour(FakeClock):
        def monotonic(self) -> float:
            return self.passed

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.passed >= 3600:
                raise TimeoutError

    clock = Hour()
    asked: list[float] = []
    periodic = without_units(program("is-due", 1), program("agent"))
    monkeypatch.setattr(periodic, "_due", lambda: asked.append(clock.passed))
    settings = Settings(
        extensions=True, fast_track=True, host_health=False, initial=3000, lib=str(tmp_path), os_name="debian",
        os_version="12", period=3000,
    )  # fmt: skip
    watcher = Watcher(settings, periodic=periodic, clock=clock)
    monkeypatch.setattr(watcher, "turn", lambda: turns.append(clock.passed))
    with pytest.raises(TimeoutError):
        watcher.watch(Notifier())
    assert asked == [30.0 * number for number in range(1, 120)]
    assert turns == [0.0, 3000.0]
