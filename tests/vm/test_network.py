"""The network of one machine with a kernel of its own: firewall, lease, names; bad days of the DHCP server.

One machine, in order; it meets a DHCP server that tells nonsense first, and is restarted without any.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from bed.dhcp import AZURE
from bed.fabric import inside
from bed.network import GUEST_ADDRESS, HOST_ADDRESS, METADATA_SERVICE, WIRE_SERVER
from bed.vm_bed import VmBed

from waagent.simulator import Machine

READY_LIMIT = 480
OPTIONS = "Provisioning.SshHostKeyPairType=ed25519\n"
TRY = f"import socket, sys; socket.create_connection(('{WIRE_SERVER}', int(sys.argv[1])), 5).close()"
ECHO = """
import socket
listener = socket.create_server(("", 7777))
connection, _ = listener.accept()
while data := connection.recv(100):
    connection.sendall(data)
"""
SHELF = "/media/dvd"
THREE_BYTES = "--dhcp-option-force=245,a8:3f:81"


class Connected(NamedTuple):
    bed: VmBed
    machine: Machine


@pytest.fixture(scope="module")
def vm() -> Iterator[Connected]:
    with VmBed(told=(THREE_BYTES, *AZURE[1:])) as bed:
        machine = bed.machine(host_name="vm-born", user="ada", ssh_keys=[bed.make_key()[1]])
        bed.vm.write("/etc/waagent.conf.d/50-test.conf", OPTIONS)
        bed.vm.write("/etc/fstab", f"/dev/sr0 {SHELF} auto ro 0 0\n")
        bed.vm.boot()
        machine.wait_for("ready", timeout=READY_LIMIT)
        settled(bed)
        bed.vm.hold_periodic()
        yield Connected(bed, machine)


def settled(bed: VmBed) -> dict[str, str]:
    """What the steps said, once the boot is over."""
    told = json.loads(bed.vm.run("waagent status --wait --timeout 400 --format json", timeout=420).out)
    assert told["state"] == "done"
    return {f"{name}/{step['name']}": step["message"] for name, stage in told["stages"].items() for step in stage["steps"]}


def connects(bed: VmBed, account: str, port: int = 80) -> bool:
    words = ["setpriv", f"--reuid={account}", "--clear-groups", "python3", "-c", TRY, str(port)]
    return bed.vm.run(words, timeout=60).status == 0


def periodic(bed: VmBed, step: str) -> str:
    """What the timer does half a minute later, and what the step said in the log."""
    before = len(bed.vm.read("/var/log/waagent.log"))
    bed.vm.run(f"waagent stage periodic --only {step} --force", timeout=120)
    lines = bed.vm.read("/var/log/waagent.log")[before:].splitlines()
    return "\n".join(line for line in lines if f"periodic/{step} " in line)


# -- the first boot ---------------------------------------------------------------------------


@pytest.mark.row("provisioning", 21)
@pytest.mark.row("field-demands", 97)
def test_row_97_a_disc_that_the_system_has_mounted_is_read_there_and_ejected_with_its_password(vm: Connected) -> None:
    guest = vm.bed.vm
    assert 0 < entered(vm.bed, "media-dvd.mount") < entered(vm.bed, "waagent-local.service")
    assert "read ovf-env.xml from /dev/sr0" in guest.read("/var/log/waagent.log")
    done = [json.loads(line).get("argv") for line in guest.read("/var/lib/waagent/effects.jsonl").splitlines()]
    assert [argv for argv in done if argv and "/dev/sr0" in argv] == [["eject", "/dev/sr0"]]
    assert guest.tray() == "open" and "/dev/sr0" not in guest.read("/proc/mounts")


@pytest.mark.row("field-demands", 57)
def test_row_57_the_local_stage_is_over_before_the_network_and_before_anybody_comes_in(vm: Connected) -> None:
    units = ("waagent-local.service", "network-pre.target", "systemd-networkd.service", "ssh.service")
    local, before, network, ssh = (entered(vm.bed, unit) for unit in units)
    assert 0 < local <= before <= network and local <= ssh


def entered(bed: VmBed, unit: str) -> int:
    """Microseconds after the kernel's start."""
    return int(bed.vm.succeed(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {unit}"))


# -- who may talk to the wire server ----------------------------------------------------------


def test_only_root_reaches_the_wire_server_but_everybody_its_names(vm: Connected) -> None:
    assert connects(vm.bed, "root") and not connects(vm.bed, "nobody")
    with inside(vm.bed.network.fabric), socket.create_server((WIRE_SERVER, 53)):
        assert connects(vm.bed, "nobody", 53)


@pytest.mark.row("field-demands", 43)
def test_it_was_tried_and_works(vm: Connected) -> None:
    periodic(vm.bed, "firewall")
    assert vm.bed.vm.succeed("waagent firewall", timeout=60).startswith(f"only root can talk to {WIRE_SERVER} (nft)")


@pytest.mark.row("field-demands", 40)
def test_a_probe_of_the_load_balancer_is_answered(vm: Connected) -> None:
    with inside(vm.bed.network.fabric), socket.create_connection((GUEST_ADDRESS, 22), 10, (WIRE_SERVER, 0)) as probe:
        assert probe.recv(4) == b"SSH-"


# -- the lease --------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 87)
def test_option_245_of_the_wrong_length_does_not_count(vm: Connected) -> None:
    """At its first boot the machine knows no better: it takes the address that is the same everywhere."""
    assert "OPTION_245=a83f81\n" in vm.bed.vm.succeed("cat /run/systemd/netif/leases/*")
    assert vm.bed.vm.read("/var/lib/waagent/WireServerEndpoint") == WIRE_SERVER
    assert vm.machine.reports.health[-1].state == "Ready"


@pytest.mark.row("guest-operations", 56)
def test_routes_that_a_restart_of_the_client_has_lost_come_back(vm: Connected) -> None:
    guest, places = vm.bed.vm, (WIRE_SERVER, METADATA_SERVICE)
    periodic(vm.bed, "dhcp-routes")
    before = {place: route(vm.bed, place) for place in places}
    assert all(found[:2] == [HOST_ADDRESS, "eth0"] for found in before.values())
    guest.succeed("systemctl restart systemd-networkd")
    guest.wait_until_succeeds(f"ip route show {METADATA_SERVICE} | grep -q via")
    for place in places:
        guest.succeed(f"ip route del {place}")
    said = periodic(vm.bed, "dhcp-routes")
    assert all(f"{place}/32 over {HOST_ADDRESS}" in said for place in places), said
    assert {place: route(vm.bed, place) for place in places} == before
    assert periodic(vm.bed, "dhcp-routes") == ""


def route(bed: VmBed, address: str) -> list[str]:
    """Gateway, device and metric of the route to the address alone; [] where there is none."""
    words = bed.vm.succeed(f"ip route show {address}").split()
    return [words[words.index(key) + 1] for key in ("via", "dev", "metric")] if words else []


# -- the name ---------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 91)
def test_a_changed_name_is_published_and_no_connection_is_cut(vm: Connected) -> None:
    guest = vm.bed.vm
    guest.succeed(["systemd-run", "--quiet", "--unit=echo", "python3", "-c", ECHO])
    guest.wait_until_succeeds("ss -Hltn sport = :7777 | grep -q .", timeout=60)
    with inside(vm.bed.network.fabric), socket.create_connection((GUEST_ADDRESS, 7777), 30) as connection:
        connection.settimeout(60)
        guest.succeed("hostname vm-renamed")
        said = periodic(vm.bed, "hostname")
        assert "vm-renamed, which was vm-born" in said
        vm.bed.dhcp.wait_for_name("vm-renamed")
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
    assert guest.read("/etc/hostname") == "vm-renamed\n"
    assert guest.read("/var/lib/waagent/published_hostname") == "vm-renamed"
    requests = vm.bed.dhcp.heard("DHCPREQUEST")
    assert periodic(vm.bed, "hostname") == "" and vm.bed.dhcp.heard("DHCPREQUEST") == requests


# -- a boot without a DHCP server --------------------------------------------------------------


def test_without_any_dhcp_answer_the_boot_goes_on(vm: Connected) -> None:
    vm.bed.dhcp.stop()
    vm.bed.vm.reboot()
    vm.bed.vm.wait_for_unit("ssh.service", 120)
    told = json.loads(vm.bed.vm.run("waagent status --wait --timeout 400 --format json", timeout=420).out)
    failed = {step["name"] for stage in told["stages"].values() for step in stage["steps"] if step["outcome"] == "failed"}
    assert "endpoint" in failed and told["state"] != "running"
    assert vm.bed.vm.succeed("systemctl is-active multi-user.target") == "active\n"
    assert vm.bed.vm.succeed("hostname") == "vm-renamed\n"
    vm.bed.dhcp.start(AZURE)
    vm.bed.vm.wait_until_succeeds("ip route show | grep -q default", timeout=120)
    assert not vm.bed.fabric.simulator.violations


@pytest.mark.row("field-demands", 41)
def test_before_the_network_the_rules_are_there(vm: Connected) -> None:
    assert 0 < entered(vm.bed, "waagent-firewall") <= entered(vm.bed, "network-pre.target")
    assert connects(vm.bed, "root") and not connects(vm.bed, "nobody")
