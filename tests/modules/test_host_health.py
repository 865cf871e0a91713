"""periodic/40-host-health.py: what the platform is told about its own node (wire-protocol 3.2, 5.5, 5.7)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent.fabric import host_health
from waagent.fabric.host_health import METADATA, PLUGIN
from waagent.module import Context
from waagent.system import System

MODULE = "periodic/40-host-health.py"


@pytest.fixture
def module(module: ModuleType, sim: Any) -> ModuleType:  # noqa: F811
    module.SERVICE = f"127.0.0.1:{sim.imds_port}"  # type: ignore[attr-defined]
    return module


@pytest.fixture
def uptime(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(talk.clock, "boot", lambda: 1000.0 + talk.clock.passed, raising=False)


def seen(vm: Any) -> dict[str, bool]:  # noqa: F811
    """The last report."""
    return {one["ObservationName"]: one["IsHealthy"] for _, one in list(vm.reports.observations)[-2:]}


def test_all_is_well(module: ModuleType, joined: Context, vm: Any, sim: Any) -> None:  # noqa: F811
    assert module.run(joined).kind == "unchanged"
    assert seen(vm) == {PLUGIN: True, METADATA: True}
    assert not joined.system.exists(host_health.PATH)
    (report,) = sim.requests.select(path="/HealthService")
    assert report.headers["content-type"] == "application/json"
    assert "x-ms-version" not in report.headers
    (probe,) = sim.requests.select(path="/metadata/instance")
    assert probe.headers["user-agent"].endswith("+health")


@pytest.mark.parametrize(
    ("path", "name", "minutes", "fault"),
    [
        ("/health", PLUGIN, 5, {"status": 500}),
        ("/health", PLUGIN, 5, {"reset": True}),
        ("/metadata/instance*", METADATA, 3, {"status": 500}),
        ("/metadata/instance*", METADATA, 3, {"status": 410}),
        ("/metadata/instance*", METADATA, 3, {"content": "empty"}),
    ],
    ids=str,
)
def test_minutes_of_failing_make_a_service_unhealthy(
    module: ModuleType, joined: Context, talk: Talk, vm: Any, sim: Any, uptime: None,  # noqa: F811
    path: str, name: str, minutes: int, fault: dict[str, Any],
) -> None:  # fmt: skip
    sim.fault(path, **fault)
    kinds = []
    for _ in range(minutes):
        kinds.append(module.run(joined).kind)
        assert seen(vm)[name] is True
        talk.clock.sleep(60.0)
    assert kinds == ["changed"] + ["unchanged"] * (minutes - 1)
    module.run(joined)
    assert seen(vm) == {PLUGIN: name != PLUGIN, METADATA: name != METADATA}
    sim.clear_faults()
    assert module.run(joined).kind == "changed"
    assert seen(vm) == {PLUGIN: True, METADATA: True}


@pytest.mark.parametrize("status", [400, 404, 429])
def test_a_refusal_that_is_our_doing_is_no_fault_of_the_service(
    module: ModuleType, joined: Context, talk: Talk, vm: Any, sim: Any, uptime: None, status: int  # noqa: F811
) -> None:
    sim.fault("/metadata/instance*", status=status)
    for _ in range(5):
        module.run(joined)
        talk.clock.sleep(60.0)
    assert seen(vm)[METADATA] is True


def test_a_health_service_that_takes_nothing(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    fault = sim.fault("/HealthService", status=500)
    outcome = module.run(joined)
    assert (outcome.kind, fault.met) == ("skipped", 1)
    assert "did not take the report" in outcome.message


def test_a_plan_asks_and_tells_nothing(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.system.planning = True
    module.run(joined)
    assert not vm.reports.observations


def test_without_an_endpoint(module: ModuleType, ctx: Context) -> None:
    assert module.run(ctx).kind == "skipped"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"GuestAgentPluginHeartbeat": "soon"}', "[" * 100_000])
def test_a_file_that_is_none_is_no_memory(system: System, text: str) -> None:
    system.make_directory(host_health.FOLDER)
    system.write(host_health.PATH, text)
    assert host_health.read(system) == {}


def test_times_of_another_boot_do_not_count() -> None:
    healthy, since = host_health.judge({PLUGIN: 90_000.0}, {PLUGIN: False, METADATA: True}, 10.0)
    assert (healthy, since) == ({PLUGIN: True, METADATA: True}, {PLUGIN: 10.0})
