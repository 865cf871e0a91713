"""Interfaces and IPv4 routes, as the kernel lists them.

    routes(system)               [Route(interface, destination, gateway, prefix, metric, up)]
    default_route(system)        the one with a gateway and the lowest metric, or None
    primary_interface(system)    of the default route; without one the likeliest of those that are up, see there
    route_to(system, address)    the most specific route, or None
    add_route(…)                 by the profile's command; false if it is there
    mac(system, interface)       "00:0d:3a:…"

Source: provisioning 7.1, 7.4; proc(5) for /proc/net/route: addresses are hexadecimal, least significant byte
first.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, NamedTuple, Optional

from waagent.errors import CommandFailed, NetworkError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

ROUTES = "/proc/net/route"
INTERFACES = "/sys/class/net"
UP, GATEWAY = 0x1, 0x2  # of a route
SLAVE = 0x800  # of a link


class Route(NamedTuple):
    interface: str
    network: IPv4Network
    gateway: Optional[IPv4Address]
    metric: int


def routes(system: System) -> list[Route]:
    """The routes that are up; lines that cannot be read are passed over."""
    try:
        lines = system.read_text(ROUTES).splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split()
        try:
            flags = int(fields[3], 16)
            network = IPv4Network((_address(fields[1]), bin(int(fields[7], 16)).count("1")), strict=False)
            gateway = IPv4Address(_address(fields[2])) if flags & GATEWAY else None
            if flags & UP:
                found.append(Route(fields[0], network, gateway, int(fields[6])))
        except (IndexError, ValueError):
            continue
    return found


def default_route(system: System) -> Route | None:
    candidates = [route for route in routes(system) if route.network.prefixlen == 0 and route.gateway is not None]
    return min(candidates, key=lambda route: route.metric, default=None)


def primary_interface(system: System) -> str | None:
    """The interface that leads out; without a default route the likeliest of those that are up, or None.

    Never one that works for another (the port of a bridge, the virtual function under the synthetic adapter). A
    device comes before what stands on one (bond, bridge, VLAN), and that before what has none (docker0, tun0); then
    one that has an address, then the one that was there first.
    """
    route = default_route(system)
    if route is not None:
        return route.interface
    with_address = {each.interface for each in routes(system)}
    ranked = []
    for name in system.listing(INTERFACES):
        link = f"{INTERFACES}/{name}"
        up = _line(system, f"{link}/operstate") in ("up", "unknown")
        if name == "lo" or not up or system.exists(f"{link}/master") or _number(system, f"{link}/flags") & SLAVE:
            continue
        if system.exists(f"{link}/device"):
            kind = 0
        else:
            kind = 1 if any(entry.startswith("lower_") for entry in system.listing(link)) else 2
        ranked.append((kind, name not in with_address, _number(system, f"{link}/ifindex"), name))
    return min(ranked)[-1] if ranked else None


def route_to(system: System, address: str) -> Route | None:
    """The most specific route to the address; among equals the one of the lowest metric."""
    wanted = IPv4Address(address)
    candidates = [route for route in routes(system) if wanted in route.network]
    return min(candidates, key=lambda route: (-route.network.prefixlen, route.metric), default=None)


def add_route(system: System, profile: DistroProfile, destination: str, gateway: str) -> bool:
    """Have a route to destination ("168.63.129.16/32") over the gateway. Raises NetworkError."""
    network = IPv4Network(destination)
    if any(route.network == network and str(route.gateway) == gateway for route in routes(system)):
        return False
    command = profile.command("network.add-route", destination=str(network), gateway=str(IPv4Address(gateway)))
    if not command:
        raise NetworkError(f"cannot add a route to {network}: this system has no command for it")
    try:
        system.run(*command)
    except CommandFailed as error:
        if "File exists" not in error.stderr:
            raise NetworkError(f"cannot add a route to {network} over {gateway}: {error}") from error
        return False
    return True


def mac(system: System, interface: str) -> str:
    return _line(system, f"{INTERFACES}/{interface}/address").lower()


def _address(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def _number(system: System, path: str) -> int:
    try:
        return int(_line(system, path), 0)
    except ValueError:
        return 0


def _line(system: System, path: str) -> str:
    try:
        return system.read_text(path).strip()
    except OSError:
        return ""
