"""periodic/80-collect-logs.py: when logs are collected, by whom, and what becomes of them. Rows: guest operations, section 12."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from waagent.errors import FabricError, MachineError
from waagent.logs import scope
from waagent.module import Context
from waagent.system import Result

MODULE = "periodic/80-collect-logs.py"
ARCHIVE = b"PK\x05\x06" + b"\0" * 18


class Collector:
    """The program as it is started: it leaves an archive, or ends with `status`."""

    def __init__(self) -> None:
        self.status, self.ran = 0, 0


@pytest.fixture
def collector(
    joined: Context, talk: Any, put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> Collector:
    monkeypatch.setattr(talk.clock, "boot", lambda: talk.clock.passed, raising=False)
    put(scope.UNIFIED, "cpu memory\n")
    put(f"{scope.SYSTEMD}/x")
    talk.session.update()
    talk.clock.passed = 400.0
    made = Collector()

    def execute(argv: tuple[str, ...], *_: Any) -> Result:
        assert argv == scope.command(joined.system, "/usr/sbin/waagent")
        made.ran += 1
        if made.status == 0:
            put("/var/lib/waagent/logcollector/logs.zip", ARCHIVE)
        return Result(argv, made.status, "", "waagent collect-logs: cannot collect logs: why" if made.status else "")

    joined.system._execute = execute
    return made


def test_collected_and_uploaded_once_a_period(
    module: ModuleType, joined: Context, collector: Collector, vm: Any, talk: Any  # noqa: F811
) -> None:
    assert module.run(joined).kind == "changed"
    assert vm.reports.logs[1] == ARCHIVE
    assert module.run(joined).message == "the next collection is in 3600 s"
    talk.clock.passed += 3601
    assert module.run(joined).kind == "changed"
    assert collector.ran == 2


@pytest.mark.parametrize(
    ("conf", "why"),
    [
        ("Logs.Collect=n", "Logs.Collect=n"),
        ("CGroups.Enabled=n", "cannot be limited: control groups are not used here"),
        ("Debug.EnableCgroupV2ResourceLimiting=n", "Debug.EnableCgroupV2ResourceLimiting=n"),
        ("Debug.LogCollectorInitialDelay=3000", "the next collection is in 2"),
    ],
)
def test_reasons_not_to(
    module: ModuleType, joined: Context, declared: Any, collector: Collector, conf: str, why: str  # noqa: F811
) -> None:
    declared(conf)
    outcome = module.run(joined)
    assert outcome.kind == "skipped"
    assert why in outcome.message
    assert collector.ran == 0


def test_without_systemd_and_without_a_goal_state(module: ModuleType, ctx: Context) -> None:
    assert "no systemd" in module.run(ctx).message


@pytest.mark.row("guest-operations", 67)
@pytest.mark.parametrize("status", [2, 3])
def test_a_collector_that_cannot_be_limited_is_not_started_again(
    module: ModuleType, joined: Context, collector: Collector, vm: Any, talk: Any, status: int  # noqa: F811
) -> None:
    collector.status = status
    if status == 2:  # the machine has no such limits: nothing failed
        assert "not tried again in this boot: it" in module.run(joined).message
    else:
        with pytest.raises(MachineError, match="not tried again in this boot: it"):
            module.run(joined)
    talk.clock.passed += 4000
    assert "no collection any more in this boot" in module.run(joined).message
    assert collector.ran == 1
    assert vm.reports.logs is None


@pytest.mark.row("guest-operations", 68)
def test_a_collector_in_the_wrong_place_three_times_running(
    module: ModuleType, joined: Context, collector: Collector, talk: Any  # noqa: F811
) -> None:
    def again(status: int) -> tuple[str, str]:
        collector.status = status
        talk.clock.passed += 4000
        outcome = module.run(joined)
        return outcome.kind, outcome.message.rpartition("; ")[2]

    assert [again(status) for status in (4, 4)] == [("skipped", "tried again later")] * 2
    assert again(0)[0] == "changed"  # one that worked: counted from the beginning
    assert [again(4) for _ in range(2)] == [("skipped", "tried again later")] * 2
    kind, told = again(4)
    assert kind == "skipped"
    assert "wrong place 3 times running" in told


def test_one_that_fails_is_tried_in_the_next_period(
    module: ModuleType, joined: Context, collector: Collector, talk: Any  # noqa: F811
) -> None:
    collector.status = 1
    with pytest.raises(MachineError, match="why; tried again later"):
        module.run(joined)
    collector.status = 0
    assert module.run(joined).kind == "skipped"
    talk.clock.passed += 3601
    assert module.run(joined).kind == "changed"


@pytest.mark.row("guest-operations", 69)
def test_what_the_host_does_not_take_waits_for_the_next_period(
    module: ModuleType, joined: Context, collector: Collector, sim: Any, vm: Any, talk: Any  # noqa: F811
) -> None:
    sim.fault("*/vmAgentLog*", status=400, count=1)
    with pytest.raises(FabricError, match="cannot upload the logs"):
        module.run(joined)
    assert module.run(joined).kind == "skipped"
    talk.clock.passed += 3601
    assert module.run(joined).kind == "changed"
    assert vm.reports.logs[1] == ARCHIVE
