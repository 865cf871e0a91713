"""The host name reaches the DHCP server, whichever client has the link, and no connection is cut for it.

One guest for each client, all made of one tree that has all of them installed; only one is enabled. The server's
lease file says what a DNS would know. A TCP connection through the link is open all the time.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import Bed, Dhcp, package, tree
from bed.fabric import inside
from bed.network import GUEST_ADDRESS

from waagent.simulator import Machine

PACKAGES = ("network-manager", "ifupdown", "isc-dhcp-client", "dhcpcd", "netplan.io", "udhcpc")
SERVICES = ("systemd-networkd", "NetworkManager", "networking", "dhcpcd")
INTERFACES = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"
NETPLAN = "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n"
NETWORKD = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
PROFILE = "[connection]\nid=eth0\ntype=ethernet\ninterface-name=eth0\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=disabled\n"


DHCPCD = "/etc/dhcpcd.conf"
ECHO = """
import socket
listener = socket.create_server(("", 7777))
connection, _ = listener.accept()
while data := connection.recv(100):
    connection.sendall(data)
"""


class Client(NamedTuple):
    """service starts it; told is what the agent says it did; asks_once: it sends the name with its first request."""

    service: str
    files: dict[str, str]
    told: str
    address_stays: bool = True
    asks_once: bool = True
    setup: str = "true"


CLIENTS = {
    "networkd": Client(
        "systemd-networkd", {"/etc/systemd/network/10-eth0.network": NETWORKD}, "systemd-networkd requested", False
    ),
    "netplan": Client("systemd-networkd", {"/etc/netplan/50-eth0.yaml": NETPLAN}, "systemd-networkd requested", False),
    "networkmanager": Client(
        "NetworkManager",
        {
            "/etc/NetworkManager/conf.d/veth.conf": "[device-veth]\nmatch-device=type:veth\nmanaged=1\n",
            "/etc/NetworkManager/system-connections/eth0.nmconnection": PROFILE,
        },
        "NetworkManager requested",
    ),
    "dhclient": Client("networking", {"/etc/network/interfaces": INTERFACES}, "beside dhclient"),
    "udhcpc": Client(
        "networking", {"/etc/network/interfaces": INTERFACES}, "beside udhcpc", asks_once=False, setup="rm -f /sbin/dhclient"
    ),
    # Debian's dhcpcd.conf and ifupdown's call of udhcpc send no name: the agent has it sent.
    # It would wait for udev, which a container has not, and probe its address for seconds.
    "dhcpcd": Client(
        "dhcpcd", {"/etc/resolv.conf": ""}, "dhcpcd requests", asks_once=False,
        setup="sed -i '1i nodev\\nnoarp' /etc/dhcpcd.conf",
    ),
}


class Connected(NamedTuple):
    """before: what was in the files that configure the network, before the first boot."""

    bed: Bed
    client: Client
    server: Dhcp
    machine: Machine
    before: dict[str, str]


CONFIGURED = ("netplan", "network", "systemd/network", "networkd-dispatcher", "NetworkManager", "dhcp", "dhcpcd.conf", "udhcpc", "udev")


def configured(bed: Bed) -> dict[str, str]:
    """The files that configure links, their hooks and rules, with their content."""
    places = " ".join(f"/etc/{name}" for name in CONFIGURED)
    listed = bed.guest.run(f"find {places} -type f").out.split()
    return {path: bed.guest.read(path) for path in listed}


@pytest.fixture(scope="module")
def layers() -> list[Path]:
    """Made once, whatever somebody changes in the source meanwhile."""
    return tree.layers("bookworm", package.build(), *PACKAGES)


@pytest.fixture(scope="module", params=CLIENTS)
def vm(request: pytest.FixtureRequest, layers: list[Path]) -> Iterator[Connected]:
    client = CLIENTS[request.param]
    # A machine may write the settings of its network; a container may only when it is told so.
    patch = pytest.MonkeyPatch()
    patch.setenv("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
    with patch.context(), Bed(layers=layers) as bed, Dhcp(bed.network, bed.directory, options=()) as server:
        guest = bed.guest
        guest.succeed("rm -f /etc/systemd/network/*; mkdir -p /etc/waagent/hooks.d/on-hostname-changed")
        guest.succeed(f"systemctl disable --quiet {' '.join(SERVICES)} systemd-networkd.socket")
        guest.succeed(f"systemctl enable --quiet {client.service}; {client.setup}")
        for path, content in client.files.items():
            guest.write(path, content, 0o600 if "nmconnection" in path else 0o644)
        guest.write(
            "/etc/waagent/hooks.d/on-hostname-changed/10-tell.sh", '#!/bin/sh\ncat "$WAAGENT_INPUT" >/run/told\n', 0o755
        )
        machine = bed.machine(host_name="born", user="ada")
        before = configured(bed)
        guest.boot()
        machine.wait_for("ready", timeout=60)
        guest.wait_until_booted()
        yield Connected(bed, client, server, machine, before)
    patch.undo()


def due(vm: Connected) -> None:
    """What happens half a minute later."""
    vm.bed.guest.succeed("rm -f /run/waagent/periodic.due; waagent stage periodic --only hostname --force", timeout=120)


@pytest.mark.row("field-demands", 26, 30)
def test_the_first_lease_has_the_name_that_the_owner_chose(vm: Connected) -> None:
    guest = vm.bed.guest
    vm.server.wait_for_name("born")
    assert guest.read("/var/lib/waagent/published_hostname") == "born"
    if vm.client.asks_once:
        assert vm.server.heard("DHCPACK") == 1


@pytest.mark.row("field-demands", 18)
def test_a_new_name_is_published_and_no_connection_is_cut(vm: Connected) -> None:
    guest, server = vm.bed.guest, vm.server
    guest.succeed(["systemd-run", "--quiet", "--unit=echo", "python3", "-c", ECHO])
    guest.wait_until_succeeds("ss -Hlnt sport = :7777 | grep -q .")
    started = guest.succeed(f"systemctl show -p ActiveEnterTimestampMonotonic {vm.client.service}")
    with inside(vm.bed.network.fabric):
        connection = socket.create_connection((GUEST_ADDRESS, 7777), timeout=10)
    with connection:
        assert echoed(connection, b"before")
        guest.succeed("(ip -o monitor address >/run/monitor & echo $! >/run/monitor.pid) 2>/dev/null </dev/null")
        guest.succeed("hostname renamed")
        due(vm)
        server.wait_for_name("renamed")
        assert echoed(connection, b"after")
    guest.succeed("kill $(cat /run/monitor.pid)")
    assert guest.succeed(f"systemctl show -p ActiveEnterTimestampMonotonic {vm.client.service}") == started
    assert server.heard("DHCPRELEASE") == 0
    if vm.client.address_stays:
        assert "Deleted" not in guest.read("/run/monitor")
    assert GUEST_ADDRESS in guest.succeed("ip -4 -o address show eth0")
    assert "default via" in guest.succeed("ip route")


def test_it_is_kept_recorded_and_told_to_hooks(vm: Connected) -> None:
    guest = vm.bed.guest
    assert guest.read("/etc/hostname") == "renamed\n"
    assert guest.read("/var/lib/waagent/published_hostname") == "renamed"
    event = json.loads(guest.read("/run/told"))["event"]
    assert (event["name"], event["before"]) == ("renamed", "born")
    assert vm.client.told in guest.read("/var/log/waagent.log")


def test_one_change_is_published_once(vm: Connected) -> None:
    requests = vm.server.heard("DHCPREQUEST")
    due(vm)
    assert vm.server.heard("DHCPREQUEST") == requests


def test_the_client_goes_on_and_gives_nothing_else_away(vm: Connected) -> None:
    """What the agent did beside the client is gone: no second client, no file of it; renewals have the new name."""
    guest = vm.bed.guest
    clients = guest.run("pgrep -xa 'dhclient|udhcpc'").out
    assert clients.count("\n") == (1 if vm.client.service == "networking" else 0), clients
    assert guest.succeed("find /run /var/lib/dhcp -name '*waagent.eth0*'") == ""


def test_a_restart_keeps_the_name(vm: Connected) -> None:
    vm.bed.guest.reboot()
    vm.bed.guest.wait_until_booted()
    vm.server.wait_for_name("renamed")
    assert vm.bed.guest.succeed("hostname") == "renamed\n"


@pytest.mark.row("field-demands", 33, 34, 35, 36)
def test_rows_33_to_36_no_file_of_the_network_is_the_agent_s(vm: Connected) -> None:
    """No metric, no name server of a second interface, no address, no hot-plug script: after two boots and a renaming."""
    now = configured(vm.bed)
    changed = {path for path in {*now, *vm.before} if now.get(path) != vm.before.get(path)}
    assert changed == ({DHCPCD} if vm.client.service == "dhcpcd" else set())
    for path in changed:
        added = set(now[path].splitlines()) ^ set(vm.before[path].splitlines())
        assert [line for line in added if "hostname" not in line and not line.startswith("#")] == []


def echoed(connection: socket.socket, data: bytes) -> bool:
    connection.sendall(data)
    return connection.recv(100) == data
