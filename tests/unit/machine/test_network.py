"""Routes as the kernel lists them."""

from __future__ import annotations

import pytest

from tests.conftest import Script
from waagent.errors import NetworkError
from waagent.machine import network
from waagent.system import System

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
TABLE = HEAD + (
    "eth1\t00000000\t0101000A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"
    "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
    "eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    "eth0\t10813FA8\t0100000A\t0007\t0\t0\t100\tFFFFFFFF\t0\t0\t0\n"
    "eth2\t00000000\t0100000A\t0000\t0\t0\t0\t00000000\t0\t0\t0\n"
    "half a line\n"
)


@pytest.mark.row("field-demands", 103)
def test_the_default_route_with_the_lowest_metric_leads_out(system: System, put) -> None:
    put("/proc/net/route", TABLE)
    route = network.default_route(system)
    assert route is not None
    assert (route.interface, str(route.gateway), route.metric) == ("eth0", "10.0.0.1", 100)
    assert network.primary_interface(system) == "eth0"
    assert len(network.routes(system)) == 4


@pytest.mark.row("provisioning", 85)
def test_row_85_the_route_to_the_wire_server_is_recognised(system: System, put) -> None:
    put("/proc/net/route", TABLE)
    found = network.route_to(system, "168.63.129.16")
    assert found is not None and found.network.prefixlen == 32
    assert str(network.route_to(system, "10.0.0.77").network) == "10.0.0.0/24"  # type: ignore[union-attr]
    assert network.route_to(system, "8.8.8.8").interface == "eth0"  # type: ignore[union-attr]


def test_without_a_default_route_the_first_interface_that_is_up(system: System, put) -> None:
    put("/proc/net/route", HEAD)
    for name, state in (("lo", "unknown"), ("eth0", "down"), ("eth1", "up")):
        put(f"/sys/class/net/{name}/operstate", f"{state}\n")
    assert network.default_route(system) is None
    assert network.primary_interface(system) == "eth1"
    assert network.primary_interface(System(system.root + "/none")) is None


def test_a_route_is_added_once(system: System, script: Script, profile, put) -> None:
    put("/proc/net/route", TABLE)
    assert not network.add_route(system, profile, "168.63.129.16/32", "10.0.0.1")
    script.on("ip", "route", "add", "169.254.169.254/32", "via", "10.0.0.1")
    assert network.add_route(system, profile, "169.254.169.254/32", "10.0.0.1")
    script.on(
        "ip",
        "route",
        "add",
        "169.254.169.254/32",
        "via",
        "10.0.0.1",
        status=2,
        stderr="RTNETLINK answers: File exists",
    )
    assert not network.add_route(system, profile, "169.254.169.254/32", "10.0.0.1")
    script.on(
        "ip", "route", "add", "169.254.169.254/32", "via", "10.0.0.1", status=2, stderr="Network is unreachable"
    )
    with pytest.raises(NetworkError, match="Network is unreachable"):
        network.add_route(system, profile, "169.254.169.254/32", "10.0.0.1")


def test_this_machines_own_table_is_read() -> None:
    host = System("/", journalling=False)
    assert isinstance(network.routes(host), list)
