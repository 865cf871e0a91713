"""Routes that a restarted DHCP client has lost come back, in a guest that has them from a DHCP server as the platform's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bed import Bed, Dhcp
from bed.network import HOST_ADDRESS, METADATA_SERVICE, WIRE_SERVER

NETWORKD = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
ADDRESSES = (WIRE_SERVER, METADATA_SERVICE)
LOG = "/var/log/waagent.log"


@pytest.fixture(scope="module")
def leased() -> Iterator[Bed]:
    with Bed() as bed, Dhcp(bed.network, bed.directory):
        bed.guest.succeed("rm -f /etc/systemd/network/*")
        bed.guest.write("/etc/systemd/network/10-eth0.network", NETWORKD)
        machine = bed.machine(user="ada")
        bed.guest.boot()
        machine.wait_for("ready", timeout=60)
        bed.guest.wait_until_booted()
        bed.guest.hold_periodic()
        yield bed


def periodic(bed: Bed) -> str:
    """What happens half a minute later, and what the step said in the log."""
    before = len(bed.guest.read(LOG))
    bed.guest.succeed("waagent stage periodic --only dhcp-routes --force", timeout=60)
    return "\n".join(line for line in bed.guest.read(LOG)[before:].splitlines() if "periodic/dhcp-routes " in line)


def route(bed: Bed, address: str) -> list[str]:
    """Gateway, device and metric of the route to the address alone; [] where there is none."""
    words = bed.guest.succeed(f"ip route show {address}").split()
    return [words[words.index(key) + 1] for key in ("via", "dev", "metric")] if words else []


@pytest.mark.row("guest-operations", 56)
def test_lost_routes_come_back_after_a_restart_of_the_client(leased: Bed) -> None:
    guest = leased.guest
    assert periodic(leased) == ""
    before = {address: route(leased, address) for address in ADDRESSES}
    assert all(found[:2] == [HOST_ADDRESS, "eth0"] for found in before.values())
    guest.succeed("systemctl restart systemd-networkd")
    guest.wait_until_succeeds(f"ip route show {METADATA_SERVICE} | grep -q via", timeout=30)
    for address in ADDRESSES:
        guest.succeed(f"ip route del {address}")
    said = periodic(leased)
    assert all(f"{address}/32 over {HOST_ADDRESS}" in said for address in ADDRESSES), said
    assert {address: route(leased, address) for address in ADDRESSES} == before
    assert periodic(leased) == ""


def test_the_client_takes_its_routes_over_again(leased: Bed) -> None:
    """One route to each place, not ours beside the client's."""
    leased.guest.succeed("networkctl renew eth0")
    leased.guest.succeed("systemctl restart systemd-networkd")
    leased.guest.wait_until_succeeds(f"ip route show {METADATA_SERVICE} | grep -q 'proto dhcp'", timeout=30)
    assert leased.guest.succeed(f"ip route show {METADATA_SERVICE}").count("\n") == 1


def test_a_route_that_somebody_takes_away_stays_away(leased: Bed) -> None:
    periodic(leased)
    leased.guest.succeed(f"ip route del {METADATA_SERVICE}")
    assert periodic(leased) == ""
    assert route(leased, METADATA_SERVICE) == []
