"""A handler works for an hour and a half; the watcher's own loop goes on, by a clock that lets the time pass at once.

The steps of the worker run beside it, with a real handler whose `enable` ends when the test says so, and with the lock
held that a worker holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.protocol import test_extensions_over_the_wire as over_the_wire
from waagent.simulator import Simulator
from waagent.simulator.machine import Machine
from waagent.system.clock import Clock
from waagent.watcher.main import Watcher
from waagent.watcher.notify import Notifier
from waagent.watcher.settings import Settings
from waagent.watcher.worker import Worker

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")

NAME = "Contoso.Test.Long"
MINUTES = 90
MANIFEST = """[{"handlerManifest": {"installCommand": "run.sh install", "enableCommand": "run.sh enable",
    "updateCommand": "run.sh update", "disableCommand": "run.sh disable", "uninstallCommand": "run.sh uninstall"}}]"""
HANDLER = """#!/bin/sh
[ "$1" = enable ] || exit 0
tell() {
    printf '[{"status": {"operation": "Enable", "status": "%s", "code": 0}}]' "$1" > status/.new
    mv status/.new status/$ConfigSequenceNumber.status
}
tell transitioning
until [ -e "OVER" ]; do sleep 0.05; done
tell success
"""


class Turn(NamedTuple):
    """What one turn of the watcher did, and when by its clock."""

    at: float
    goal_states: int
    settings: int
    health: int
    alive: bool  # whether systemd heard of it
    report: dict[str, Any] | None  # that went out in this turn


class Passing(Clock):
    """Waiting takes no time. What a turn did is looked at when the wait after it begins; at `until` it ends."""

    def __init__(self, simulator: Simulator, machine: Machine, systemd: socket.socket) -> None:
        self.simulator, self.machine, self.systemd = simulator, machine, systemd
        self.passed, self.until = 0.0, 0.0
        self.turns: list[Turn] = []
        self._reports = 0

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed  # sockets wait in real time

    def sleep(self, seconds: float) -> None:
        requests, reports = self.simulator.requests, self.machine.reports
        fresh, self._reports = reports.status_count > self._reports, reports.status_count
        self.turns.append(
            Turn(
                self.passed,
                len(requests.select(path="/machine/?comp=goalstate")),
                len(requests.select(path="/vmSettings")),
                len(requests.select(path="/HealthService")),
                self._heard(),
                reports.status if fresh else None,
            )
        )
        requests.clear()
        if self.passed >= self.until:
            raise TimeIsUp
        self.passed += seconds

    def _heard(self) -> bool:
        try:
            return self.systemd.recv(4096) == b"WATCHDOG=1"
        except BlockingIOError:
            return False


class TimeIsUp(Exception):
    pass


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running
        assert not running.violations


@pytest.fixture
def machine(simulator: Simulator) -> Machine:
    return simulator.machine("vm01")


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the watchdog of the service is answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"/tmp/waagent-test-{os.getpid()}.notify")
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", listening.getsockname())
        yield listening
        os.unlink(listening.getsockname())


def entry(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = report["aggregateStatus"]["handlerAggregateStatus"]
    told: dict[str, Any] = found["runtimeSettingsStatus"]["settingsStatus"]
    return told


def longest_wait(times: list[float]) -> float:
    return max(later - earlier for earlier, later in zip(times, times[1:]))


@pytest.mark.wire("9.2/period")
def test_a_handler_that_takes_an_hour_and_a_half_silences_nothing(
    simulator: Simulator, machine: Machine, tmp_path: Path, systemd: socket.socket
) -> None:
    package = tmp_path / NAME
    package.mkdir()
    over = tmp_path / "over"
    (package / "HandlerManifest.json").write_text(MANIFEST)
    (package / "run.sh").write_text(HANDLER.replace("OVER", str(over)))
    simulator.add_package(package, NAME, "1.0.0")
    machine.publish([{"name": NAME, "version": "1.0.0", "public": {}}])

    run = tmp_path / "run"
    run.mkdir()
    steps = over_the_wire.Worker(simulator, tmp_path)
    settings = Settings(
        extensions=True, fast_track=True, host_health=True, initial=6, lib=str(steps.lib), os_name="debian",
        os_version="12", period=6,
    )  # fmt: skip
    lock = os.open(run / "periodic.goal-state.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    worker = threading.Thread(target=steps.work)
    worker.start()
    status = steps.lib / f"{NAME}-1.0.0/status/0.status"
    deadline = time.monotonic() + 30
    while not status.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status.exists()
    simulator.requests.clear()

    clock = Passing(simulator, machine, systemd)
    began: list[str] = []

    class Counted(Worker):
        def start(self) -> None:
            began.append(self.event)

    watcher = Watcher(
        settings, start=lambda event: Counted(event, ["/bin/true"], str(run), systemd="/nonexistent"), clock=clock
    )
    watcher.host_health.service = f"127.0.0.1:{simulator.imds_port}"
    notifier = Notifier()
    clock.until = MINUTES * 60.0
    with pytest.raises(TimeIsUp):
        watcher.watch(notifier)
    turns, clock.turns = clock.turns, []

    assert len(turns) == MINUTES * 10 + 1
    assert {(turn.goal_states, turn.settings, turn.alive) for turn in turns} == {(1, 1, True)}
    assert began == []
    sent = [turn for turn in turns if turn.report is not None]
    assert longest_wait([turn.at for turn in sent]) <= 60.0 and sent[-1].at > clock.until - 60.0
    assert longest_wait([turn.at for turn in turns if turn.health]) <= 60.0
    reports = [turn.report for turn in sent if turn.report is not None]
    for times in ([one["timestampUTC"] for one in reports], [entry(one)["timestampUTC"] for one in reports]):
        assert times == sorted(set(times)) and len(times) >= MINUTES
    assert {entry(one)["status"]["status"] for one in reports} == {"transitioning"}

    over.touch()
    worker.join(30)
    os.close(lock)
    clock.until = clock.passed
    with pytest.raises(TimeIsUp):
        watcher.watch(notifier)
    assert machine.reports.status is not None
    assert entry(machine.reports.status)["status"]["status"] == "success"
    assert steps.ctx.notes == []
