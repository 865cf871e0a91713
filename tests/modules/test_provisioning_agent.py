"""Who provisions: decided once, from the option, cloud-init's state and the marker of an earlier provisioning."""

from __future__ import annotations

import pytest

from tests.modules.conftest import VM_ID, settle
from waagent.errors import ProvisioningError
from waagent.instance.store import swapped

MODULE = "local/15-provisioning-agent.py"
ENABLED = ("systemctl", "is-enabled", "cloud-init-local.service")
STATUS = ("service", "cloud-init", "status")


@pytest.fixture(autouse=True)
def fresh(ctx):
    ctx.facts.pop("provisioning")


@pytest.fixture
def cloud_init(script, program):
    """cloud-init as systemctl and service tell of it."""

    def state(word: str, running: bool = False) -> None:
        program("systemctl", "service")
        script.on(*ENABLED, stdout=f"{word}\n", status=0 if word == "enabled" else 1)
        script.on(*STATUS, status=0 if running else 3)

    return state


def decide(module, ctx) -> str:
    module.run(ctx)
    return ctx.published["provisioning"]["by"]


def test_without_cloud_init_the_agent_does_it(module, ctx):
    assert decide(module, ctx) == "waagent"


@pytest.mark.parametrize(("word", "running", "by"), [
    ("enabled", False, "cloud-init"), ("disabled", False, "waagent"), ("static", False, "waagent"),
    ("masked", False, "waagent"), ("enabled-runtime", False, "waagent"), ("disabled", True, "cloud-init"),
])  # fmt: skip
def test_auto_leaves_it_to_cloud_init_where_that_is_enabled(module, ctx, cloud_init, word, running, by):
    cloud_init(word, running)
    assert decide(module, ctx) == by


@pytest.mark.row("provisioning", 60)
def test_row_60_waagent_with_cloud_init_enabled_is_refused(module, ctx, declared, cloud_init):
    declared("Provisioning.Agent=waagent")
    cloud_init("enabled")
    with pytest.raises(
        ProvisioningError, match=r"disable cloud-init-local\.service, or set Provisioning\.Agent=auto"
    ):
        module.run(ctx)


@pytest.mark.row("provisioning", 59)
def test_row_59_disabled_is_disabled_whatever_else_holds(module, ctx, declared, put):
    declared("Provisioning.Agent=disabled")
    put("/var/lib/waagent/provisioned", "another")
    assert decide(module, ctx) == "disabled"


@pytest.mark.row("provisioning", 61)
def test_row_61_cloud_init_is_waited_for_even_where_it_is_not_there(module, ctx, declared):
    declared("Provisioning.Agent=cloud-init")
    assert decide(module, ctx) == "cloud-init"


@pytest.mark.row("provisioning", 57)
@pytest.mark.parametrize("marker", [VM_ID, VM_ID.upper() + "\n", swapped(VM_ID), ""])
def test_row_57_a_machine_in_use_is_never_provisioned_again(module, ctx, put, marker):
    put("/var/lib/waagent/provisioned", marker)
    assert decide(module, ctx) == "already"


@pytest.mark.row("provisioning", 58)
def test_row_58_the_marker_of_another_vm_is_told_and_this_one_is_provisioned(module, ctx, put):
    put("/var/lib/waagent/provisioned", "11111111-2222-3333-4444-555555555555")
    assert decide(module, ctx) == "waagent"
    assert ctx.published["provisioning"]["previous"] == "11111111-2222-3333-4444-555555555555"
    assert "not generalised" in ctx.notes[0]


def test_the_decision_stands_when_the_marker_is_written(module, ctx, put):
    module.run(ctx)
    settle(ctx)
    put("/var/lib/waagent/provisioned", VM_ID)
    assert module.run(ctx).kind == "unchanged"
    assert ctx.fact("provisioning.by") == "waagent"


def test_nobody_is_decided_anew(module, ctx, cloud_init):
    ctx.facts["provisioning"] = {"by": "nobody"}
    cloud_init("enabled")
    assert decide(module, ctx) == "cloud-init"
