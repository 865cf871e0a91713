"""The routes that came with the DHCP lease, and whether a restart of the DHCP client has lost them.

    client(system, profile)                 what tells one life of the client from the next: process ids and leases
    worth_keeping(system, profile, addresses)
                                            [Kept]: the default route, and those to single addresses that are named
    compare(system, remembered, client)     Compared(lost, waiting): those that are to be restored now, and those
                                            whose link has no address yet
    restore(system, profile, route)         NetworkError

A client that is started anew may forget the routes of options 121 and 249, or lose those that others had set,
with the address. So each route is remembered with the client that was there when the route was last seen. One that
is missing while its link has an address is lost if the client is another now; under the same client somebody has
removed it. Without an address on the link neither can be told yet; a link that is gone takes its routes with it. A
route that was replaced by one over another gateway is not lost. Each is added as it was, with metric, source
address and protocol: one that differs in any of these would stand beside the client's own for ever.

Source: provisioning 7.4, 7.5.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, NetworkError
from waagent.machine import network
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waagent.distro import DistroProfile


class Kept(NamedTuple):
    """As JSON keeps it."""

    interface: str
    destination: str  # "168.63.129.16/32"
    gateway: str
    metric: int
    further: str = ""  # "proto dhcp src 10.0.0.4", as ip(8) prints and takes it


class Remembered(NamedTuple):
    route: Kept
    client: list[str]  # when the route was last seen


class Compared(NamedTuple):
    lost: list[Remembered]
    waiting: list[Remembered]


def client(system: System, profile: DistroProfile) -> list[str]:
    """Sorted process ids, and a stamp of each lease: either changes with a restart."""
    found = []
    command = profile.command("network.dhcp-pid")
    if command and system.which(command[0]) is not None:
        found += sorted(system.run(*command, reads=True, ok=None).stdout.split())
    for globs in profile.get("network.leases").values():
        for path in _matching(system, globs):
            try:
                status = system.path(path).stat()
            except OSError:
                continue
            found.append(f"{path} {status.st_ino} {status.st_mtime_ns}")
    return found


def worth_keeping(system: System, profile: DistroProfile, addresses: Iterable[str]) -> list[Kept]:
    wanted = {"0.0.0.0/0", *(f"{address}/32" for address in addresses)}
    found = []
    for route in network.routes(system):
        if route.gateway is not None and str(route.network) in wanted:
            further = _further(system, profile, route)
            found.append(Kept(route.interface, str(route.network), str(route.gateway), route.metric, further))
    return found


def _further(system: System, profile: DistroProfile, route: network.Route) -> str:
    """What /proc does not tell of it."""
    if profile.text("network.routes") != "ip" or system.which("ip") is None:
        return ""
    argv = ("ip", "-4", "route", "show", "exact", str(route.network), "dev", route.interface)
    for line in system.run(*argv, reads=True, ok=None).stdout.splitlines():
        found = dict(zip(line.split()[1::2], line.split()[2::2]))
        if (found.get("via"), found.get("metric", "0")) == (str(route.gateway), str(route.metric)):
            return " ".join(f"{key} {found[key]}" for key in ("proto", "src") if key in found)
    return ""


def compare(system: System, remembered: Iterable[Remembered], client: list[str]) -> Compared:
    there = {(route.interface, str(route.network)) for route in network.routes(system)}
    found = Compared([], [])
    for entry in remembered:
        route = entry.route
        if (route.interface, route.destination) in there:
            continue
        if reachable(system, route):
            if entry.client != client:
                found.lost.append(entry)
        elif system.exists(f"{network.INTERFACES}/{route.interface}"):
            found.waiting.append(entry)
    return found


def reachable(system: System, route: Kept) -> bool:
    """Whether the interface has its address again: without that the kernel refuses the route."""
    way = network.route_to(system, route.gateway)
    return way is not None and way.gateway is None and way.interface == route.interface


def restore(system: System, profile: DistroProfile, route: Kept) -> None:
    words = {"destination": route.destination, "gateway": route.gateway}
    command = profile.command("network.add-route", **words)
    if not command:
        raise NetworkError(f"cannot restore the route to {route.destination}: this system has no command for it")
    command += profile.command("network.with-interface", interface=route.interface, metric=str(route.metric))
    try:
        # The source address may be another now; then the route is added without.
        if not route.further or system.run(*command, *route.further.split(), ok=None).status != 0:
            system.run(*command)
    except CommandFailed as error:
        if "File exists" not in error.stderr:
            raise NetworkError(
                f"cannot restore the route to {route.destination} over {route.gateway}: {error}"
            ) from error


def _matching(system: System, globs: Iterable[str]) -> list[str]:
    found = []
    for pattern in globs:
        directory, _, name = pattern.rpartition("/")
        found += [f"{directory}/{entry}" for entry in system.listing(directory) if fnmatch.fnmatchcase(entry, name)]
    return sorted(set(found))
