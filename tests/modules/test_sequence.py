"""All that a machine asks and tells, in order: its first boot, an idle period, a change (wire-protocol 9)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.modules.conftest import load_module, settle
from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from waagent.module import Context

EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}}
USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}
BOOT = ("network/10-endpoint", "network/30-goal-state", "network/35-report-provisioning", "network/40-metadata", "final/90-report")

# Each request by a part of its target; one of a row that is missing or in another place fails the test.
FIRST_BOOT = [
    ("9.1/2", "GET /?comp=versions"),
    ("9.1/3", "GET /machine/?comp=goalstate"),
    ("9.1/5", "GET /vmSettings"),
    ("9.1/6", "GET extensionsConfig"),
    ("9.1/8", "GET hostingEnvironmentConfig"),
    ("9.1/9", "GET sharedConfig"),
    ("9.1/10", "GET certificates"),
    ("9.1/11", "GET remoteaccessinfo"),
    ("9.1/7", "GET .vmSettings?"),
    ("9.1/3", "GET /machine/?comp=goalstate"),
    ("9.1/12", "POST /machine?comp=health"),
    ("9.1/14", "GET /metadata/instance"),
    ("9.1/3", "GET /machine/?comp=goalstate"),
    ("9.1/13", "POST /machine?comp=health"),
]
IDLE = [("9.1/21", "GET /machine/?comp=goalstate"), ("9.1/21", "GET /vmSettings")]
INCARNATION = [
    ("9.2/incarnation", "GET /machine/?comp=goalstate"),
    ("9.2/incarnation", "GET /vmSettings"),
    ("9.2/incarnation", "GET extensionsConfig"),
    ("9.2/incarnation", "GET hostingEnvironmentConfig"),
    ("9.2/incarnation", "GET sharedConfig"),
    ("9.2/incarnation", "GET certificates"),
    ("9.2/incarnation", "GET remoteaccessinfo"),
    ("9.2/incarnation", "GET .vmSettings?"),
]
ETAG = [("9.2/etag", "GET /machine/?comp=goalstate"), ("9.2/etag", "GET /vmSettings")]


@pytest.fixture
def boot(joined: Context, vm: Any, sim: Any) -> Context:  # noqa: F811
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    sim.requests.clear()
    for name in BOOT:
        module = load_module(f"{name}.py")
        if name == "network/40-metadata":
            module.SERVICE = f"127.0.0.1:{sim.imds_port}"  # type: ignore[attr-defined]
        module.run(joined)
        settle(joined)
    return joined


def seen(sim: Any) -> list[str]:  # noqa: F811
    found = [f"{one.method} {one.target}" for one in sim.requests]
    sim.requests.clear()
    return found


def agree(found: list[str], expected: list[tuple[str, str]]) -> None:
    assert len(found) == len(expected), found
    for request, (row, wanted) in zip(found, expected):
        method, part = wanted.split(" ", 1)
        assert request.startswith(f"{method} "), row
        assert part in request, row


@pytest.mark.parametrize("expected", [FIRST_BOOT])
def test_a_first_boot(boot: Context, sim: Any, vm: Any, expected: list[tuple[str, str]]) -> None:  # noqa: F811
    agree(seen(sim), expected)
    assert [(one.state, one.substatus, one.description) for one in vm.reports.health] == [
        ("NotReady", "Provisioning", "Starting"),
        ("Ready", "", ""),
    ]


@pytest.mark.wire("9.1/16")
@pytest.mark.parametrize("expected", [IDLE])
def test_a_period_in_which_nothing_changed(boot: Context, sim: Any, expected: list[tuple[str, str]]) -> None:  # noqa: F811
    seen(sim)
    goal_state = load_module("periodic/10-goal-state.py")
    goal_state.run(boot)
    assert sim.requests[-1].status == 304
    agree(seen(sim), expected)


@pytest.mark.parametrize("expected", [INCARNATION])
def test_a_new_incarnation(boot: Context, sim: Any, vm: Any, expected: list[tuple[str, str]]) -> None:  # noqa: F811
    vm.publish(extensions=[])
    seen(sim)
    load_module("periodic/10-goal-state.py").run(boot)
    found = seen(sim)
    agree(found, expected)
    assert not [request for request in found if "fullConfig" in request]


@pytest.mark.parametrize("expected", [ETAG])
def test_a_new_etag(boot: Context, sim: Any, vm: Any, expected: list[tuple[str, str]]) -> None:  # noqa: F811
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    seen(sim)
    load_module("periodic/10-goal-state.py").run(boot)
    agree(seen(sim), expected)
