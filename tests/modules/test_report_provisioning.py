"""network/35-report-provisioning.py: tell the platform that provisioning has begun."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import VM_ID
from tests.modules.fabric import LIB, joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent.errors import FabricUnreachable
from waagent.module import Context

MODULE = "network/35-report-provisioning.py"


@pytest.mark.wire("5.1/Provisioning")
def test_a_new_machine(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.facts["fabric"]["container_id"] = vm.container_id
    assert module.run(joined).kind == "changed"
    (report,) = vm.reports.health
    assert (report.state, report.substatus, report.description) == ("NotReady", "Provisioning", "Starting")


def test_a_machine_that_was_reported_ready(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.system.write(f"{LIB}/provisioned", VM_ID)
    assert module.run(joined).kind == "unchanged"
    assert vm.reports.health == []


def test_without_a_goal_state_it_is_skipped(module: ModuleType, joined: Context) -> None:  # noqa: F811
    assert module.run(joined).kind == "skipped"


def test_the_boot_does_not_wait_long_for_it(module: ModuleType, joined: Context, sim: Any, talk: Talk) -> None:  # noqa: F811
    joined.facts["fabric"]["container_id"] = "x"
    sim.fault("/machine*", status=503)
    with pytest.raises(FabricUnreachable):
        module.run(joined)
    assert sum(talk.slept) <= 30
