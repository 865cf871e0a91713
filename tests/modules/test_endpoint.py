"""network/10-endpoint.py: find the wire server."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import VM_ID, settle
from tests.modules.fabric import LIB, joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent.errors import FabricUnreachable
from waagent.fabric import discovery
from waagent.module import Context

MODULE = "network/10-endpoint.py"


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The well-known address is beyond this machine."""
    monkeypatch.setitem(discovery.find.__kwdefaults__, "well_known", "127.0.0.1:1:1")


def test_the_endpoint_of_the_last_boot(module: ModuleType, joined: Context, talk: Talk) -> None:  # noqa: F811
    assert module.run(joined).kind == "unchanged"
    assert joined.system.read_text(f"{LIB}/WireServerEndpoint") == talk.endpoint.text
    assert joined.system.read_text(f"{LIB}/Protocol") == "WireProtocol"


def test_the_saved_file_of_another_agent(module: ModuleType, joined: Context, talk: Talk) -> None:  # noqa: F811
    del joined.facts["fabric"]
    joined.system.write(f"{LIB}/WireServerEndpoint", f"{talk.endpoint.text}\n")
    assert module.run(joined).kind == "changed"
    assert joined.published == {"fabric.endpoint": talk.endpoint.text}
    settle(joined)
    assert module.run(joined).kind == "unchanged"
    assert joined.system.effects == []


def test_leases_are_read_where_the_profile_says(module: ModuleType, joined: Context, put: Any) -> None:  # noqa: F811
    put("/run/systemd/netif/leases/2", "OPTION_245=7f000001\n")  # refused: loopback is no address of a fabric
    put("/var/lib/dhcp/dhclient.eth0.leases", "lease {\n option unknown-245 1:2:3:4;\n expire never;\n}\n")
    assert "/var/lib/dhcp/dhclient*.leases" in module._lease_files(joined)
    joined.facts["fabric"]["endpoint"] = joined.facts["fabric"]["endpoint"]
    assert module.run(joined).kind == "unchanged"


@pytest.mark.parametrize(("marker", "patience"), [(VM_ID, 20), (VM_ID.upper(), 20), ("another", 300), (None, 300)])
def test_only_a_new_machine_waits_long(
    module: ModuleType, joined: Context, talk: Talk, marker: str | None, patience: int  # noqa: F811
) -> None:
    joined.facts["fabric"]["endpoint"] = "127.0.0.1:1:1"
    if marker:
        joined.system.write(f"{LIB}/provisioned", marker)
    with pytest.raises(FabricUnreachable, match="cannot find the wire server"):
        module.run(joined)
    assert patience * 0.7 < sum(talk.slept) <= patience


def test_no_azure_vm(module: ModuleType, ctx: Context) -> None:
    ctx.facts["provisioning"]["by"] = "nobody"
    assert module.run(ctx).kind == "skipped"
