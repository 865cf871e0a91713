"""The periodic steps that look after the network, and the options that leave it alone."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from tests.unit.machine.test_network import HEAD, TABLE
from waagent.errors import NetworkError

WS_ROUTE = "eth0\t10813FA8\t0100000A\t0007\t0\t0\t100\tFFFFFFFF\t0\t0\t0\n"
ADD = ("ip", "route", "add", "168.63.129.16/32", "via", "10.0.0.1", "dev", "eth0", "metric", "100")


def step(name: str):
    return load_module(f"{name}.py")


@pytest.fixture
def routes(put, script):
    """The routes of a machine with its lease; the command that adds one works."""
    put("/proc/net/route", TABLE)
    for name in ("eth0", "eth1"):
        put(f"/sys/class/net/{name}/operstate", "up\n")
    lease = put("/run/systemd/netif/leases/2", "OPTION_245=a83f8110\n")
    script.on(*ADD, effect=lambda: put("/proc/net/route", TABLE))
    return lease


def restarted(lease) -> None:
    os.utime(lease, (1, 1))


@pytest.mark.row("guest-operations", 56)
def test_lost_routes_are_restored_after_a_restart_of_the_client(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    assert watch.run(ctx).message == "3 routes of the DHCP client"
    settle(ctx)
    put("/proc/net/route", TABLE.replace(WS_ROUTE, ""))
    restarted(routes)
    outcome = watch.run(ctx)
    assert (outcome.kind, outcome.message) == ("changed", "restored the routes to 168.63.129.16/32 over 10.0.0.1")
    settle(ctx)
    assert watch.run(ctx).kind == "unchanged" and script.ran == [ADD]


def test_a_route_that_goes_while_the_client_stays_is_somebodys_decision(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    watch.run(ctx)
    put("/proc/net/route", TABLE.replace(WS_ROUTE, ""))
    assert watch.run(ctx).kind == "unchanged"
    restarted(routes)
    assert watch.run(ctx).kind == "unchanged" and script.ran == []


def test_until_the_link_has_its_address_it_waits(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    watch.run(ctx)
    put("/proc/net/route", HEAD)
    restarted(routes)
    assert watch.run(ctx).kind == "skipped" and script.ran == []
    put("/proc/net/route", TABLE.replace(WS_ROUTE, ""))
    assert watch.run(ctx).kind == "changed"


LINK = "eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
WAY_OUT = "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
OF_ETH1 = "eth1\t0001000A\t00000000\t0001\t0\t0\t200\t00FFFFFF\t0\t0\t0\n"
OUT_OF_ETH1 = "eth1\t00000000\t0101000A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"


def test_the_last_route_that_somebody_removes_stays_away_after_the_next_lease(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    put("/proc/net/route", HEAD + LINK + WAY_OUT)
    assert watch.run(ctx).message == "1 routes of the DHCP client"
    put("/proc/net/route", HEAD + LINK)
    assert watch.run(ctx).kind == "skipped"
    restarted(routes)
    assert watch.run(ctx).kind == "skipped" and script.ran == []


def test_a_link_that_is_taken_away_holds_up_no_other(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE + OF_ETH1 + OUT_OF_ETH1)
    watch.run(ctx)
    ctx.system.remove_tree("/sys/class/net/eth1")
    script.on(*ADD, effect=lambda: put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE))
    put("/proc/net/route", HEAD + LINK + WAY_OUT)
    restarted(routes)
    assert watch.run(ctx).message == "restored the routes to 168.63.129.16/32 over 10.0.0.1"
    assert "eth1" not in ctx.system.read_text("/run/waagent/routes.json")


def test_a_link_that_waits_for_its_address_holds_up_no_other_and_is_served_later(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE + OF_ETH1 + OUT_OF_ETH1)
    watch.run(ctx)
    put("/proc/net/route", HEAD + LINK + WAY_OUT)
    restarted(routes)
    script.on(*ADD)
    assert watch.run(ctx).message == "restored the routes to 168.63.129.16/32 over 10.0.0.1"
    put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE)
    assert watch.run(ctx).kind == "unchanged"
    put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE + OF_ETH1)
    script.on("ip", "route", "add", "0.0.0.0/0", "via", "10.0.1.1", "dev", "eth1", "metric", "200")
    assert watch.run(ctx).message == "restored the routes to 0.0.0.0/0 over 10.0.1.1"


def test_a_route_that_cannot_be_restored_holds_up_no_other_and_is_tried_again(ctx, script, put, routes):
    watch = step("periodic/58-dhcp-routes")
    put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE)
    watch.run(ctx)
    put("/proc/net/route", HEAD + LINK)
    restarted(routes)
    out = ("ip", "route", "add", "0.0.0.0/0", "via", "10.0.0.1", "dev", "eth0", "metric", "100")
    script.on(*out, status=2, stderr="Error: Nexthop has invalid gateway.")
    script.on(*ADD, effect=lambda: put("/proc/net/route", HEAD + LINK + WS_ROUTE))
    with pytest.raises(NetworkError, match=r"0\.0\.0\.0/0 over 10\.0\.0\.1.*invalid gateway"):
        watch.run(ctx)
    assert ctx.notes == ["restored the routes to 168.63.129.16/32 over 10.0.0.1"]
    script.on(*out, effect=lambda: put("/proc/net/route", HEAD + LINK + WAY_OUT + WS_ROUTE))
    assert watch.run(ctx).message == "restored the routes to 0.0.0.0/0 over 10.0.0.1"
    assert watch.run(ctx).kind == "unchanged" and script.ran == [out, ADD, out]


def test_a_machine_without_a_network_has_nothing_to_keep(ctx, put):
    assert step("periodic/58-dhcp-routes").run(ctx).kind == "skipped"
    assert not ctx.system.exists("/run/waagent/routes.json")


@pytest.mark.parametrize("content", ["", "[]", '{"routes": 1}', '{"routes": [["eth0"]]}', '{"routes": [{"route": ["eth0"], "client": []}]}'])
def test_a_memory_that_is_damaged_is_begun_anew(ctx, put, routes, content):
    put("/run/waagent/routes.json", content)
    assert step("periodic/58-dhcp-routes").run(ctx).kind == "unchanged"


@pytest.mark.parametrize(
    ("name", "conf"),
    [
        ("periodic/58-dhcp-routes", "Network.Manage=n"),
        ("periodic/68-network-changes", ""),
        ("network/40-metadata", "Network.Metadata=n"),
    ],
)
def test_options_that_leave_the_network_alone(ctx, script, declared, routes, name, conf):
    declared(conf)
    assert step(name).run(ctx).kind == "skipped"
    assert script.ran == [] and ctx.system.effects == []


def test_changes_of_the_network_are_logged(ctx, script, put, program, declared):
    declared("Monitor.NetworkConfigurationChanges=y")
    program("ip")
    watch, listing = step("periodic/68-network-changes"), ("ip", "-o", "addr", "show")
    put("/proc/net/route", TABLE)
    for name, content in (("operstate", "up\n"), ("address", "00:0D:3A:01:02:03\n")):
        put(f"/sys/class/net/eth0/{name}", content)
    script.on(*listing, stdout="2: eth0    inet 10.0.0.4/24 brd 10.0.0.255 scope global eth0\n")
    assert watch.run(ctx).kind == "changed"
    assert "link eth0: up 00:0d:3a:01:02:03" in ctx.notes
    assert "route to 0.0.0.0/0 by eth0: over 10.0.0.1, metric 100" in ctx.notes
    settle(ctx)
    assert watch.run(ctx).kind == "unchanged" and ctx.notes == []
    put("/sys/class/net/eth0/operstate", "down\n")
    put("/proc/net/route", TABLE.replace(WS_ROUTE, ""))
    script.on(*listing, stdout="2: eth0    inet6 fe80::1/64 scope link\n")
    assert watch.run(ctx).message == "3 changes in the network"
    assert ctx.notes == [
        "addresses of eth0: fe80::1/64, was 10.0.0.4/24",
        "link eth0: down 00:0d:3a:01:02:03, was up 00:0d:3a:01:02:03",
        "route to 168.63.129.16/32 by eth0 is gone: over 10.0.0.1, metric 100",
    ]
