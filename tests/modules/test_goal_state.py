"""network/30-goal-state.py: everything anew at each boot."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import settle
from tests.modules.fabric import LIB, joined, sim, talk, vm  # noqa: F401 - fixtures
from waagent.errors import FabricUnreachable
from waagent.fabric import cache
from waagent.module import Context, StepResult

MODULE = "network/30-goal-state.py"


def test_facts_and_files(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    outcome = module.run(joined)
    assert outcome.kind == "changed"
    assert joined.published["fabric.container_id"] == vm.container_id
    assert joined.published["fabric.role_instance_id"] == vm.instance_id
    assert joined.published["fabric.role_config_name"] == vm.config_name
    assert joined.published["fabric.thumbprints"] == [vm.tenant_certificate.thumbprint]
    assert cache.read(joined.system, LIB) is not None
    settle(joined)
    assert module.run(joined).kind == "unchanged"
    assert [effect for effect in joined.system.effects if effect.kind != "run"] == []


@pytest.mark.wire("2.2/documents")
def test_a_certificate_under_the_old_number_is_found_at_boot(
    module: ModuleType, joined: Context, vm: Any  # noqa: F811
) -> None:
    module.run(joined)
    settle(joined)
    vm.rotate_certificate(new_incarnation=False)
    assert module.run(joined).kind == "changed"
    assert joined.published["fabric.thumbprints"] == [vm.tenant_certificate.thumbprint]


def test_without_an_endpoint_it_is_skipped(module: ModuleType, ctx: Context) -> None:
    assert module.run(ctx).kind == "skipped"


@pytest.mark.row("field-demands", 106)
def test_a_wire_server_that_was_not_found_in_this_boot_is_not_asked(
    module: ModuleType, joined: Context, sim: Any  # noqa: F811
) -> None:
    """Where it was at the last boot is known; the boot does not wait for it once more."""
    joined.boot = (StepResult("network", "endpoint", "failed", "cannot find the wire server"),)
    assert module.run(joined).kind == "skipped"
    assert not sim.requests


@pytest.mark.wire("2.2/failure")
def test_a_failure_keeps_the_last_good_state(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    module.run(joined)
    good = joined.system.read(cache.path(LIB))
    sim.fault("*type=extensionsConfig*", status=500)
    with pytest.raises(FabricUnreachable, match="6 tries"):
        module.run(joined)
    assert joined.system.read(cache.path(LIB)) == good
