"""What the watcher tells the platform about its own node (wire-protocol 3.2, 5.5, 5.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from waagent.fabric import host_health, poll
from waagent.fabric.host_health import METADATA, PLUGIN
from waagent.simulator import Simulator
from waagent.simulator.machine import Machine
from waagent.system.http import Http
from waagent.watcher.host_health import HostHealth
from waagent.watcher.settings import DEFAULTS, Settings

WORDS: dict[str, Any] = {name: getattr(DEFAULTS, name) for name in Settings.__slots__}


@pytest.fixture
def fabric() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
        assert not simulator.violations


@pytest.fixture
def vm(fabric: Simulator) -> Machine:
    return fabric.machine("vm01")


@pytest.fixture
def known(fabric: Simulator) -> poll.Known:
    return poll.Known(f"127.0.0.1:{fabric.wire_port}:{fabric.plugin_port}")


@pytest.fixture
def host(fabric: Simulator, vm: Machine) -> HostHealth:
    return HostHealth(Http(), Settings(**WORDS), service=f"127.0.0.1:{fabric.imds_port}")


def seen(vm: Machine) -> dict[str, bool]:
    """The last report."""
    return {one["ObservationName"]: one["IsHealthy"] for _, one in list(vm.reports.observations)[-2:]}


def test_all_is_well(host: HostHealth, known: poll.Known, vm: Machine, fabric: Simulator) -> None:
    assert host.turn(known, 1000.0) is None
    assert seen(vm) == {PLUGIN: True, METADATA: True}
    assert host.troubles == {}
    (report,) = fabric.requests.select(path="/HealthService")
    assert report.headers["content-type"] == "application/json"
    assert "x-ms-version" not in report.headers
    (probe,) = fabric.requests.select(path="/metadata/instance")
    assert probe.headers["user-agent"].endswith("+health")


def test_once_a_minute(host: HostHealth, known: poll.Known, fabric: Simulator) -> None:
    for second in range(0, 181, 6):
        host.turn(known, 1000.0 + second)
    assert len(list(fabric.requests.select(path="/HealthService"))) == 4


def test_switched_off(known: poll.Known, vm: Machine, fabric: Simulator) -> None:
    HostHealth(Http(), Settings(**{**WORDS, "host_health": False})).turn(known, 1000.0)
    assert not len(fabric.requests)


@pytest.mark.row("guest-operations", 77)
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
    host: HostHealth, known: poll.Known, vm: Machine, fabric: Simulator, path: str, name: str, minutes: int,
    fault: dict[str, Any],
) -> None:  # fmt: skip
    fabric.fault(path, **fault)
    for minute in range(minutes):
        host.turn(known, 1000.0 + 60 * minute)
        assert seen(vm)[name] is True
    host.turn(known, 1000.0 + 60 * minutes)
    assert seen(vm) == {PLUGIN: name != PLUGIN, METADATA: name != METADATA}
    assert host.troubles == {name: 1000.0}
    fabric.clear_faults()
    host.turn(known, 1060.0 + 60 * minutes)
    assert seen(vm) == {PLUGIN: True, METADATA: True}
    assert host.troubles == {}


@pytest.mark.parametrize("status", [400, 404, 429])
def test_a_refusal_that_is_our_doing_is_no_fault_of_the_service(
    host: HostHealth, known: poll.Known, vm: Machine, fabric: Simulator, status: int
) -> None:
    fabric.fault("/metadata/instance*", status=status)
    for minute in range(5):
        host.turn(known, 1000.0 + 60 * minute)
    assert seen(vm)[METADATA] is True


def test_a_health_service_that_takes_nothing(host: HostHealth, known: poll.Known, fabric: Simulator) -> None:
    fault = fabric.fault("/HealthService", status=500)
    error = host.turn(known, 1000.0)
    assert fault.met == 1
    assert "cannot report on the host's health: 500" in str(error)


def test_an_endpoint_that_is_none_is_survived(host: HostHealth) -> None:
    assert host.turn(poll.Known("no endpoint at all"), 1000.0) is not None


@pytest.mark.parametrize("odd", [{}, {"network": 5}, {"network": {"interface": {}}}, {"network": {"interface": [5]}}], ids=str)
def test_odd_metadata_are_not_valid(odd: dict[str, object]) -> None:
    assert host_health.is_valid(odd).startswith("network")
