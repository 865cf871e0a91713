"""periodic/10-goal-state.py: what the watcher saw coming, and the report that was owed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import VM_ID, settle
from tests.modules.fabric import FAILED, LIB, joined, marker, sim, talk, vm  # noqa: F401 - fixtures
from waagent.errors import FabricRejected
from waagent.fabric import cache
from waagent.module import Context, StepResult

MODULE = "periodic/10-goal-state.py"
OWED = StepResult("final", "report", "failed", "no answer", reason="platform unreachable")


@pytest.mark.wire("9.2/incarnation")
def test_a_new_goal_state(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    assert module.run(joined).kind == "changed"
    assert joined.published["fabric.container_id"] == vm.container_id
    settle(joined)
    assert module.run(joined).kind == "unchanged"
    assert joined.published == {}
    vm.publish(extensions=[{"name": "A.B", "version": "1.0"}], source="fasttrack")
    assert module.run(joined).kind == "changed"
    state = cache.read(joined.system, LIB)
    assert state is not None
    assert state.desired is not None
    assert state.desired.source == "fasttrack"
    assert vm.reports.health == []


def test_where_there_is_no_platform_nobody_is_asked(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    joined.facts["provisioning"] = {"by": "nobody"}
    before = len(sim.requests)
    assert module.run(joined).message == "this is no Azure VM"
    assert len(sim.requests) == before


def test_without_a_fact_the_well_known_address_is_asked(module: ModuleType, joined: Context) -> None:  # noqa: F811
    opened = module.session.open_session(joined.system, joined.config, None, joined.lib, joined.note)
    assert opened.wire.endpoint.text == "168.63.129.16"


@pytest.mark.wire("5.1/failure")
@pytest.mark.parametrize(("boot", "state"), [((OWED,), "Ready"), ((FAILED, OWED), "Failed")])
def test_the_report_that_was_owed(
    module: ModuleType, joined: Context, vm: Any, boot: tuple[StepResult, ...], state: str  # noqa: F811
) -> None:
    joined.boot = boot
    module.run(joined)
    assert vm.reports.provisioning_state == state
    assert marker(joined) == (VM_ID if state == "Ready" else None)
    assert (("ready", {"vm_id": VM_ID}) in joined.events) is (state == "Ready")
    assert any("told the platform late" in note for note in joined.notes)
    if state == "Ready":
        settle(joined)
        module.run(joined)
        assert len(vm.reports.health) == 1


@pytest.mark.wire("2.2/failure")
def test_a_goal_state_that_fails_keeps_the_last(module: ModuleType, joined: Context, vm: Any, sim: Any) -> None:  # noqa: F811
    module.run(joined)
    good = joined.system.read(cache.path(LIB))
    vm.publish(extensions=[{"name": "A.B", "version": "1.0"}])
    sim.fault("*type=extensionsConfig*", status=404)
    with pytest.raises(FabricRejected):
        module.run(joined)
    assert joined.system.read(cache.path(LIB)) == good
