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


@pytest.fixture
def link(put):
    """A link of sysfs: link("eth0", 2, device=True, master="br0", lower="eth1")."""

    def make(name, number, state="up", flags=0x1003, device=False, master="", lower=""):
        for key, value in (("operstate", state), ("ifindex", number), ("flags", hex(flags))):
            put(f"/sys/class/net/{name}/{key}", f"{value}\n")
        for wanted, entry in ((device, "device"), (master, "master"), (lower, f"lower_{lower}")):
            if wanted:
                put(f"/sys/class/net/{name}/{entry}/uevent")

    return make


@pytest.mark.row("field-demands", 103)
def test_without_a_default_route_it_is_no_link_that_serves_another(system: System, put, link) -> None:
    """An accelerated machine with containers: the synthetic adapter, its virtual function, docker's bridge."""
    put("/proc/net/route", HEAD + "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n")
    link("lo", 1, "unknown", 0x9)
    link("eth0", 2, device=True)
    link("docker0", 4)
    link("enP1s1", 3, flags=0x1803, device=True, master="eth0")
    link("br-1234", 5)
    link("veth12", 6, master="br-1234", lower="veth13")
    assert network.primary_interface(system) == "eth0"


def test_without_a_default_route_the_one_with_an_address_then_the_first(system: System, put, link) -> None:
    put("/proc/net/route", HEAD)
    link("eth10", 2, device=True)
    link("eth1", 3, device=True)
    assert network.primary_interface(system) == "eth10"
    put("/proc/net/route", HEAD + "eth1\t0001000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
    assert network.primary_interface(system) == "eth1"


def test_without_a_default_route_what_stands_on_a_device_comes_before_what_has_none(system: System, put, link) -> None:
    put("/proc/net/route", HEAD)
    link("bond0", 4, flags=0x1403, lower="eth0")
    link("eth0", 3, flags=0x1803, device=True, master="bond0")
    link("docker0", 2)
    link("tun0", 1, "unknown")
    assert network.primary_interface(system) == "bond0"


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
