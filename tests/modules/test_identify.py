"""The first step: the machine's id becomes a fact."""

from __future__ import annotations

import pytest

from tests.modules.conftest import VM_ID, settle
from waagent.errors import InstanceError
from waagent.instance.store import swapped

MODULE = "local/10-identify.py"


def test_the_id_of_the_firmware_is_published(module, ctx, put):
    put("/sys/class/dmi/id/product_uuid", "11111111-2222-3333-4444-555555555555\n")
    outcome = module.run(ctx)
    assert outcome.kind == "changed"
    assert ctx.published["vm"]["id"] == "11111111-2222-3333-4444-555555555555"
    assert ctx.published["vm"]["source"] == "smbios"


def test_a_second_boot_changes_nothing(module, ctx, put):
    put("/sys/class/dmi/id/product_uuid", VM_ID)
    module.run(ctx)
    settle(ctx)
    assert module.run(ctx).kind == "unchanged"


@pytest.mark.row("provisioning", 57)
def test_row_57_the_same_id_in_the_other_byte_order_is_no_new_instance(module, ctx, put):
    put("/sys/class/dmi/id/product_uuid", swapped(VM_ID).upper())
    module.run(ctx)
    assert ctx.published["vm"]["id"] == VM_ID


def test_a_machine_without_an_id_fails(module, ctx):
    with pytest.raises(InstanceError, match="cannot find this machine's id"):
        module.run(ctx)
    assert not ctx.published
