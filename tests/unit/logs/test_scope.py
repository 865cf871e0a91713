"""The collector knows whether it is where its limits hold, and when it takes more than its share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modules.conftest import put  # noqa: F401 - a fixture
from tests.unit.fabric.samples import FakeClock
from waagent.logs import scope
from waagent.system import System

Put = Callable[..., Path]
PLACE = f"/azure.slice/azure-walinuxagent.slice/{scope.SLICE}/collect-logs.scope"


@pytest.fixture
def machine(system: System) -> System:
    return System(system.root, clock=FakeClock(), execute=system._execute)


@pytest.fixture
def unified(machine: System, put: Put) -> System:  # noqa: F811
    put(scope.UNIFIED, "cpu memory\n")
    put("/proc/self/cgroup", f"0::{PLACE}\n")
    put(f"/sys/fs/cgroup{PLACE}/cgroup.controllers", "cpu memory pids\n")
    put(f"/sys/fs/cgroup{PLACE}/memory.stat", "anon 1000\nfile 1000\n")
    return machine


@pytest.fixture
def legacy(machine: System, put: Put) -> System:  # noqa: F811
    put("/proc/self/cgroup", f"4:memory:{PLACE}\n3:cpu,cpuacct:{PLACE}\n1:name=systemd:{PLACE}\n")
    put(f"/sys/fs/cgroup/memory{PLACE}/memory.stat", "total_rss 1000\ntotal_cache 1000\n")
    return machine


@pytest.mark.parametrize("hierarchy", ["unified", "legacy"])
def test_in_its_place(request: pytest.FixtureRequest, hierarchy: str) -> None:
    confinement = scope.Confinement(request.getfixturevalue(hierarchy))
    confinement.check()
    confinement.watch()


@pytest.mark.row("guest-operations", 67)
@pytest.mark.parametrize(
    ("hierarchy", "file", "content"),
    [
        ("unified", "memory.stat", "anon 26214401\n"),
        ("unified", "memory.swap.current", "26214401\n"),
        ("unified", "memory.stat", "file 162529281\n"),
        ("unified", "memory.events", "high 11\n"),
        ("legacy", "memory.stat", "total_rss 26214000\ntotal_swap 1000\n"),
        ("legacy", "memory.stat", "total_cache 162529281\n"),
        ("legacy", "memory.failcnt", "11\n"),
    ],
)
def test_more_than_its_share(
    request: pytest.FixtureRequest, put: Put, hierarchy: str, file: str, content: str  # noqa: F811
) -> None:
    system = request.getfixturevalue(hierarchy)
    confinement = scope.Confinement(system)
    confinement.check()
    put(f"/sys/fs/cgroup{'' if hierarchy == 'unified' else '/memory'}{PLACE}/{file}", content)
    with pytest.raises(scope.NotConfined, match="are allowed") as told:
        confinement.watch()
    assert told.value.facts["status"] == 3


@pytest.mark.row("guest-operations", 68)
def test_in_another_place_after_three_looks(unified: System, put: Put) -> None:  # noqa: F811
    put("/proc/self/cgroup", "0::/system.slice/x.service\n")
    put("/sys/fs/cgroup/system.slice/x.service/cgroup.controllers", "cpu memory\n")
    with pytest.raises(scope.NotConfined, match=r"it runs in /system\.slice/x\.service") as told:
        scope.Confinement(unified).check()
    assert told.value.facts["status"] == 4
    assert unified.clock.slept == [5.0, 5.0]  # type: ignore[attr-defined]


def test_without_a_controller(unified: System, put: Put) -> None:  # noqa: F811
    put(f"/sys/fs/cgroup{PLACE}/cgroup.controllers", "pids memory\n")
    with pytest.raises(scope.NotConfined, match="the controllers cpu and memory are not there") as told:
        scope.Confinement(unified).check()
    assert told.value.facts["status"] == 2


@pytest.mark.parametrize(
    ("files", "limiting", "why"),
    [((), True, "no systemd"), (("systemd",), True, "no control groups"), (("systemd", "unified"), True, ""),
     (("systemd", "unified"), False, "Debug.EnableCgroupV2ResourceLimiting=n"), (("systemd", "memory"), False, "")],
)  # fmt: skip
def test_where_limits_are_possible(
    machine: System, put: Put, files: tuple[str, ...], limiting: bool, why: str  # noqa: F811
) -> None:
    for name in files:
        put({"systemd": f"{scope.SYSTEMD}/x", "unified": scope.UNIFIED, "memory": "/sys/fs/cgroup/memory/x"}[name])
    found = scope.possible(machine, limiting=limiting)
    assert (why in found) if why else (found == "")


def test_the_command(unified: System) -> None:
    argv = scope.command(unified, "/usr/sbin/waagent")
    assert argv[-3:] == ("/usr/sbin/waagent", "collect-logs", "--confined")
    assert {"--property=CPUQuota=5%", "--property=MemoryHigh=170M", f"--slice={scope.SLICE}"} <= set(argv)
