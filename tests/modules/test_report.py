"""final/90-report.py: ready, or the first essential step that failed; and what a kill at any moment leaves."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import VM_ID, settle
from tests.modules.fabric import FAILED, HARMLESS, LIB, joined, marker, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent.errors import FabricUnreachable
from waagent.instance.store import swapped
from waagent.module import Context
from waagent.provisioning import kvp

MODULE = "final/90-report.py"


@pytest.mark.row("field-demands", 91)
@pytest.mark.wire("5.1/Ready", "8.2/provisioned")
def test_ready_then_silence(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.secret_facts["ovf"] = {"password": "s3cret"}
    joined.boot = (HARMLESS,)
    assert module.run(joined).kind == "changed"
    assert vm.reports.provisioning_state == "Ready"
    assert marker(joined) == VM_ID
    assert joined.published_secrets == {"ovf.password": None}
    assert joined.events == [("ready", {"vm_id": VM_ID})]
    settle(joined)
    # The next boot, in which even an essential step fails: the platform is not told again.
    joined.boot = (FAILED,)
    assert module.run(joined).kind == "unchanged"
    assert len(vm.reports.health) == 1
    assert joined.system.effects == []


@pytest.mark.row("field-demands", 89)
@pytest.mark.wire("5.1/ProvisioningFailed")
def test_the_first_essential_failure(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.boot = (HARMLESS, FAILED)
    outcome = module.run(joined)
    assert "local.user failed" in outcome.message
    assert vm.reports.provisioning_state == "Failed"
    told = vm.reports.health[-1]
    assert told.substatus == "ProvisioningFailed"
    fields = dict(part.split("=", 1) for part in told.description.replace("'cannot", "cannot").split("|")[:6])
    assert fields["result"] == "error"
    assert fields["reason"] == "user account failed"
    assert fields["vm_id"] == VM_ID
    assert fields["documentation_url"].startswith("https://")
    assert "|step=local.user|detail='cannot create user ''x|y'''" in told.description
    assert marker(joined) is None
    assert [event for event, _ in joined.events] == ["failed"]
    assert joined.published_secrets == {}
    # The next boot repairs it.
    settle(joined)
    joined.boot = ()
    assert module.run(joined).kind == "changed"
    assert vm.reports.provisioning_state == "Ready"
    assert marker(joined) == VM_ID


def test_killed_before_the_marker_it_reports_once_more(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    module.run(joined)
    joined.system.remove(f"{LIB}/provisioned")
    assert module.run(joined).kind == "changed"
    assert [report.state for report in vm.reports.health] == ["Ready", "Ready"]
    assert marker(joined) == VM_ID


@pytest.mark.wire("8.2/provisioned")
@pytest.mark.parametrize("stored", [VM_ID.upper(), swapped(VM_ID), f"{swapped(VM_ID)}\n"])
def test_the_marker_of_another_agent(module: ModuleType, joined: Context, vm: Any, stored: str) -> None:  # noqa: F811
    joined.facts["provisioning"]["by"] = "already"
    joined.system.write(f"{LIB}/provisioned", stored)
    assert module.run(joined).kind == "unchanged"
    assert vm.reports.health == []


@pytest.mark.wire("8.2/provisioned")
@pytest.mark.parametrize("stored", ["", "00000000-1111-2222-3333-444444444444"])
def test_an_empty_marker_and_that_of_another_vm_are_replaced(
    module: ModuleType, joined: Context, vm: Any, stored: str  # noqa: F811
) -> None:
    joined.facts["provisioning"]["by"] = "already"
    joined.system.write(f"{LIB}/provisioned", stored)
    joined.boot = (FAILED,)  # what a step of this boot could not do does not undo what was provisioned
    assert module.run(joined).kind == "changed"
    assert vm.reports.provisioning_state == "Ready"
    assert marker(joined) == VM_ID


@pytest.mark.row("field-demands", 96)
@pytest.mark.wire("5.1/Ready")
def test_switched_off_is_ready_at_each_boot(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    joined.facts["provisioning"]["by"] = "disabled"
    for _ in range(2):
        assert module.run(joined).kind == "changed"
    assert [report.state for report in vm.reports.health] == ["Ready", "Ready"]


@pytest.mark.parametrize("boot", [(), (FAILED,)])
def test_cloud_init_s_outcome_is_reported_too(
    module: ModuleType, joined: Context, vm: Any, boot: tuple[Any, ...]  # noqa: F811
) -> None:
    joined.facts["provisioning"]["by"] = "cloud-init"
    joined.boot = boot
    module.run(joined)
    assert vm.reports.provisioning_state == ("Failed" if boot else "Ready")


def test_no_azure_vm(module: ModuleType, ctx: Context) -> None:
    ctx.facts["provisioning"]["by"] = "nobody"
    assert module.run(ctx).kind == "skipped"


@pytest.mark.wire("5.1/failure")
def test_a_wire_server_that_is_away(module: ModuleType, joined: Context, vm: Any, sim: Any, talk: Talk) -> None:  # noqa: F811
    joined.secret_facts["ovf"] = {"password": "s3cret"}
    sim.fault("/machine*comp=health*", status=500)
    with pytest.raises(FabricUnreachable, match="the platform is told at the next opportunity"):
        module.run(joined)
    assert sum(talk.slept) <= 300
    assert marker(joined) is None
    assert joined.published_secrets == {}


@pytest.mark.row("field-demands", 90)
@pytest.mark.parametrize("boot", [(), (FAILED,)])
def test_the_host_is_told_without_a_network(
    module: ModuleType, joined: Context, put: Any, sim: Any, boot: tuple[Any, ...]  # noqa: F811
) -> None:
    pool = put(kvp.POOL, b"")
    sim.fault("/machine*", status=404)
    joined.boot = boot
    with pytest.raises(Exception, match="404"):
        module.run(joined)
    record = pool.read_bytes()
    assert len(record) == 2560
    assert record[:512].rstrip(b"\0") == b"PROVISIONING_REPORT"
    value = record[512:].rstrip(b"\0").decode()
    assert value.startswith("result=error|reason=user account failed|" if boot else "result=success|")
    assert len(value) <= 1023


def test_a_plan_tells_nothing(module: ModuleType, joined: Context, vm: Any, tmp_path: Any, sim: Any, put: Any) -> None:  # noqa: F811
    pool = put(kvp.POOL, b"")
    joined.system = Talk(tmp_path, sim, planning=True).system
    assert module.run(joined).kind == "changed"
    assert vm.reports.health == []
    assert pool.read_bytes() == b""
    assert not (tmp_path / "root/var/lib/waagent/provisioned").exists()
    assert [effect.kind for effect in joined.system.effects] == ["write", "upload", "write"]
