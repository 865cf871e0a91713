"""network/10-endpoint.py: find the wire server."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.modules.conftest import VM_ID, settle
from tests.modules.fabric import LIB, joined, sim, talk, vm  # noqa: F401 - fixtures
from tests.protocol.talk import Talk
from waagent.errors import FabricUnreachable
from waagent.fabric import discovery
from waagent.module import Context
from waagent.system import broadcast

MODULE = "network/10-endpoint.py"


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The well-known address is beyond this machine."""
    monkeypatch.setitem(discovery.find.__kwdefaults__, "well_known", "127.0.0.1:1:1")


@pytest.mark.wire("1.1/order", "8.1/WireServerEndpoint", "8.1/Protocol")
def test_the_endpoint_of_the_last_boot(module: ModuleType, joined: Context, talk: Talk) -> None:  # noqa: F811
    assert module.run(joined).kind == "unchanged"
    assert joined.system.read_text(f"{LIB}/WireServerEndpoint") == talk.endpoint.text
    assert joined.system.read_text(f"{LIB}/Protocol") == "WireProtocol"


@pytest.mark.wire("8.1/WireServerEndpoint")
def test_the_saved_file_of_another_agent(module: ModuleType, joined: Context, talk: Talk) -> None:  # noqa: F811
    del joined.facts["fabric"]
    joined.system.write(f"{LIB}/WireServerEndpoint", f"{talk.endpoint.text}\n")
    assert module.run(joined).kind == "changed"
    assert joined.published == {"fabric.endpoint": talk.endpoint.text}
    settle(joined)
    assert module.run(joined).kind == "unchanged"
    assert joined.system.effects == []


@pytest.mark.wire("1.3/dhclient", "1.3/networkd", "1.3/NetworkManager")
def test_leases_are_read_where_the_profile_says(module: ModuleType, joined: Context, put: Any) -> None:  # noqa: F811
    put("/run/systemd/netif/leases/2", "OPTION_245=7f000001\n")  # refused: loopback is no address of a fabric
    put("/var/lib/dhcp/dhclient.eth0.leases", "lease {\n option unknown-245 1:2:3:4;\n expire never;\n}\n")
    assert "/var/lib/dhcp/dhclient*.leases" in module._lease_files(joined)
    joined.facts["fabric"]["endpoint"] = joined.facts["fabric"]["endpoint"]
    assert module.run(joined).kind == "unchanged"


@pytest.mark.wire("1.3/dhclient", "1.3/networkd", "1.3/NetworkManager")
@pytest.mark.parametrize("value", ["a83f81", "a83f811000", ""], ids=["three", "five", "none"])
def test_an_option_of_the_wrong_length_is_no_endpoint_and_none_is_saved_that_would_hide_it(
    module: ModuleType, joined: Context, put: Any, talk: Talk, monkeypatch: pytest.MonkeyPatch, value: str  # noqa: F811
) -> None:
    """Nothing else is known: of the lease comes nothing, and the well-known address is the one that answers."""
    del joined.facts["fabric"]
    put("/run/systemd/netif/leases/2", f"ADDRESS=10.0.0.4\nOPTION_245={value}\n")
    put("/var/lib/dhcp/dhclient.eth0.leases", f"lease {{\n option unknown-245 {':'.join(value)};\n expire never;\n}}\n")
    monkeypatch.setitem(discovery.find.__kwdefaults__, "well_known", talk.endpoint.text)
    asked: list[str] = []
    check = discovery.WireServer.check_version

    def noted(server: Any, policy: Any) -> None:
        asked.append(server.endpoint.text)
        check(server, policy)

    monkeypatch.setattr(discovery.WireServer, "check_version", noted)
    assert module.run(joined).kind == "changed"
    assert asked == [talk.endpoint.text]
    assert joined.system.read_text(f"{LIB}/WireServerEndpoint") == talk.endpoint.text


ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
LINK, DEFAULT = "eth0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n", "eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n"
DIRECT = "eth0 10813FA8 0100000A 0007 0 0 0 FFFFFFFF 0 0 0\n"


@pytest.mark.wire("1.1/route")
@pytest.mark.parametrize(
    ("routes", "asked", "added"),
    [(LINK + DEFAULT, True, False), (LINK + DEFAULT + DIRECT, False, False), (LINK, True, True), ("", True, True)],
)
def test_the_network_is_asked_where_no_lease_and_no_route_tells(
    module: ModuleType, ctx: Context, put: Any, script: Any, monkeypatch: pytest.MonkeyPatch,
    routes: str, asked: bool, added: bool,
) -> None:  # fmt: skip
    put("/proc/net/route", ROUTES + routes)
    put("/sys/class/net/eth0/address", "00:0d:3a:01:02:03\n")
    put("/sys/class/net/eth0/operstate", "up\n")
    command = ("ip", "route", "add", "168.63.129.16/32", "via", "10.0.0.1")
    script.on(*command, status=2, stderr="Error: Nexthop has invalid gateway.")
    questions: list[str] = []

    def ask(interface: str, question: bytes, accept: Callable[[bytes], Any], **_: object) -> Any:
        questions.append(interface)
        options = bytes((53, 1, 2, 245, 4, 168, 63, 129, 16, 3, 4, 10, 0, 0, 1, 255))
        return accept(b"\x02" + question[1:240] + options)

    monkeypatch.setattr(broadcast, "ask", ask)
    asking = module._asker(ctx)
    assert (asking is not None) is asked
    if asking is not None:
        assert asking() == "168.63.129.16"
    assert questions == ["eth0"] * asked
    assert script.ran == [command] * added
    assert [note for note in ctx.notes if "Nexthop" in note] == ctx.notes[: int(added)]


@pytest.mark.row("provisioning", 89)
@pytest.mark.wire("1.1/static")
def test_leases_and_questions_do_not_count_where_dhcp_is_off(
    module: ModuleType, joined: Context, declared: Any, monkeypatch: pytest.MonkeyPatch, talk: Talk  # noqa: F811
) -> None:
    declared(conf="Protocol.EndpointDiscovery=static\n")
    joined.facts["fabric"]["endpoint"] = "127.0.0.1:1:1"
    joined.system.write(f"{LIB}/provisioned", VM_ID)
    monkeypatch.setattr(module, "_asker", lambda ctx: pytest.fail)
    with pytest.raises(FabricUnreachable):
        module.run(joined)


@pytest.mark.row("field-demands", 95)
@pytest.mark.row("provisioning", 90)
@pytest.mark.wire("1.1/rounds")
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
