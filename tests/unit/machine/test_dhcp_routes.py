"""Routes that came with a lease."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import profile_of
from tests.unit.machine.test_network import TABLE
from waagent.errors import NetworkError
from waagent.machine import dhcp_routes
from waagent.machine.dhcp_routes import Kept, Remembered

ADDRESSES = ("168.63.129.16", "169.254.169.254")
TO_FABRIC = Kept("eth0", "168.63.129.16/32", "10.0.0.1", 100)


def test_the_way_out_and_those_that_are_named_are_worth_keeping(system, profile, put) -> None:
    put("/proc/net/route", TABLE)
    assert dhcp_routes.worth_keeping(system, profile, ADDRESSES) == [
        Kept("eth1", "0.0.0.0/0", "10.0.1.1", 200), Kept("eth0", "0.0.0.0/0", "10.0.0.1", 100), TO_FABRIC,
    ]  # fmt: skip


def test_protocol_and_source_are_kept_where_ip_tells_them(system, script, profile, put, program) -> None:
    put("/proc/net/route", TABLE)
    program("ip")
    show = ("ip", "-4", "route", "show", "exact")
    script.on(*show, "0.0.0.0/0", "dev", "eth1", status=1)
    script.on(*show, "0.0.0.0/0", "dev", "eth0", stdout="default via 10.0.0.9 proto static metric 5\n")
    script.on(
        *show, "168.63.129.16/32", "dev", "eth0",
        stdout="168.63.129.16 via 10.0.0.1 proto dhcp src 10.0.0.4 metric 100 \n",
    )  # fmt: skip
    kept = dhcp_routes.worth_keeping(system, profile, ADDRESSES)
    assert [route.further for route in kept] == ["", "", "proto dhcp src 10.0.0.4"]


def test_a_source_that_is_gone_is_left_out(system, script, profile) -> None:
    add = ("ip", "route", "add", "168.63.129.16/32", "via", "10.0.0.1", "dev", "eth0", "metric", "100")
    script.on(*add, "src", "10.0.0.4", status=2, stderr="RTNETLINK answers: Invalid argument")
    script.on(*add)
    dhcp_routes.restore(system, profile, TO_FABRIC._replace(further="src 10.0.0.4"))
    assert script.ran[-1] == add


def test_one_over_another_gateway_is_not_lost(system, put) -> None:
    put("/proc/net/route", TABLE)
    elsewhere = TO_FABRIC._replace(gateway="10.0.0.77")
    assert dhcp_routes.compare(system, [Remembered(elsewhere, ["1"])], ["2"]) == ([], [])


@pytest.mark.parametrize(
    ("interface", "gateway", "client", "found"),
    [
        ("eth0", "10.0.0.1", ["2"], ([0], [])),
        ("eth0", "10.0.0.1", ["1"], ([], [])),  # the client goes on: somebody's decision
        ("eth1", "10.0.1.1", ["2"], ([], [0])),  # no address on the link: not known yet
        ("eth1", "10.0.1.1", ["1"], ([], [0])),
        ("eth9", "10.0.9.1", ["2"], ([], [])),  # the link is gone
    ],
)
def test_what_is_missing_is_lost_waits_or_was_taken_away(system, put, interface, gateway, client, found) -> None:
    put("/proc/net/route", TABLE)
    for name in ("eth0", "eth1"):
        put(f"/sys/class/net/{name}/operstate", "up\n")
    entry = Remembered(Kept(interface, "169.254.169.254/32", gateway, 100), ["1"])
    assert dhcp_routes.compare(system, [entry], client) == tuple([entry] * len(places) for places in found)


def test_a_route_needs_an_address_on_its_link(system, put) -> None:
    put("/proc/net/route", TABLE)
    assert dhcp_routes.reachable(system, TO_FABRIC)
    assert not dhcp_routes.reachable(system, TO_FABRIC._replace(interface="eth1"))
    assert not dhcp_routes.reachable(system, TO_FABRIC._replace(gateway="10.0.9.1"))  # only over the default route


@pytest.mark.parametrize(
    ("distro", "version", "argv"),
    [
        ("debian", "12", "ip route add 168.63.129.16/32 via 10.0.0.1 dev eth0 metric 100"),
        ("freebsd", "14.1", "route add -net 168.63.129.16/32 10.0.0.1"),
        ("openbsd", "7.5", "route add -net 168.63.129.16/32 10.0.0.1"),
        ("bigip", "15.1", "/usr/bin/tmsh create net route 168.63.129.16/32 gw 10.0.0.1"),
    ],
)
def test_it_is_put_back_as_it_was(system, script, tmp_path, distro, version, argv) -> None:
    profile = profile_of(tmp_path / "root", distro, version)
    script.on(*argv.split())
    dhcp_routes.restore(system, profile, TO_FABRIC)
    script.on(*argv.split(), status=2, stderr="RTNETLINK answers: File exists")
    dhcp_routes.restore(system, profile, TO_FABRIC)
    script.on(*argv.split(), status=2, stderr="Network is unreachable")
    with pytest.raises(NetworkError, match=r"cannot restore the route to 168\.63\.129\.16/32 over 10\.0\.0\.1"):
        dhcp_routes.restore(system, profile, TO_FABRIC)


def test_a_client_is_another_after_a_restart_or_a_new_lease(system, script, profile, put, program) -> None:
    program("pidof")
    script.on("pidof", "dhclient", stdout="812 77\n")
    assert dhcp_routes.client(system, profile) == ["77", "812"]
    lease = put("/run/systemd/netif/leases/2", "OPTION_245=a83f8110\n")
    first = dhcp_routes.client(system, profile)
    os.utime(lease, (1, 1))
    assert len({tuple(first), tuple(dhcp_routes.client(system, profile))}) == 2
    script.on("pidof", "dhclient", status=1)
    assert len(dhcp_routes.client(system, profile)) == 1
