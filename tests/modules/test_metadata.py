"""network/40-metadata.py: ask the metadata service about this VM."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import settle
from tests.modules.fabric import joined, sim, talk, vm  # noqa: F401 - fixtures
from waagent.errors import FabricUnreachable
from waagent.module import Context

MODULE = "network/40-metadata.py"


@pytest.fixture(autouse=True)
def service(module: ModuleType, sim: Any) -> None:  # noqa: F811
    module.SERVICE = f"127.0.0.1:{sim.imds_port}"  # type: ignore[attr-defined]


def test_facts_and_the_secret(module: ModuleType, joined: Context, vm: Any) -> None:  # noqa: F811
    vm.user_data = "c2VjcmV0"
    vm.touch()
    assert module.run(joined).kind == "changed"
    assert joined.published["imds"]["vmId"] == vm.vm_id
    assert "c2VjcmV0" not in str(joined.published)
    settle(joined)
    assert module.run(joined).kind == "unchanged"


def test_a_service_that_does_not_answer(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    sim.fault("/metadata/*", status=500)
    with pytest.raises(FabricUnreachable, match="cannot fetch the instance metadata"):
        module.run(joined)


def test_what_is_known_is_not_waited_for_long(module: ModuleType, joined: Context, sim: Any) -> None:  # noqa: F811
    module.run(joined)
    settle(joined)
    sim.fault("/metadata/*", status=500)
    began = joined.system.clock.monotonic()
    with pytest.raises(FabricUnreachable):
        module.run(joined)
    assert joined.system.clock.monotonic() - began <= 10
    assert joined.facts["imds"]


def test_no_azure_vm(module: ModuleType, ctx: Context) -> None:
    ctx.facts["provisioning"]["by"] = "nobody"
    assert module.run(ctx).kind == "skipped"
