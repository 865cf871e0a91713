"""The rules that guard the wire server: as the tools list them, and in a real network namespace."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from tests.unit.machine.conftest import real
from waagent.errors import FirewallError
from waagent.machine import firewall
from waagent.system import System
from waagent.system.command import execute

WS = "168.63.129.16"


@pytest.fixture
def namespace() -> Iterator[int]:
    """The pid of a process in a network namespace of its own."""
    if os.getuid() != 0:
        pytest.skip("a network namespace needs root")
    real("unshare", "nsenter", "nft", "iptables")
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 300"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        pytest.skip("network namespaces are not allowed here")
    yield process.pid
    process.send_signal(signal.SIGTERM)
    process.wait()
    process.stdout.close()


@pytest.fixture
def machine(namespace: int, tmp_path, program) -> System:
    """A system whose programs run in the namespace."""

    def inside(argv, stdin, limit, env):
        return execute(("nsenter", "-t", str(namespace), "-n", "--", *argv), stdin, limit, env)

    return System(tmp_path / "root", execute=inside)


def with_tool(tmp_path, put, tool: str):
    put("/etc/waagent/distro.d/50-test.yaml", f"firewall: {{tools: [{tool}]}}\n")
    return profile_of(tmp_path / "root")


@pytest.mark.parametrize("tool", ["nft", "iptables"])
def test_really_set_found_completed_and_removed(system, machine: System, tmp_path, put, program, tool: str) -> None:
    program("nft", "iptables")
    profile = with_tool(tmp_path, put, tool)
    if firewall.tool(machine, profile) != tool:
        pytest.skip(f"this kernel has no {tool}")
    assert firewall.state(machine, profile, WS).present == "none"
    assert firewall.ensure(machine, profile, WS)
    assert firewall.state(machine, profile, WS) == firewall.State(tool, "all")
    assert not firewall.ensure(machine, profile, WS)
    assert firewall.state(machine, profile, WS, uid=7).present == "some"
    assert firewall.state(machine, profile, "10.0.0.1").present == ("some" if tool == "nft" else "none")

    if tool == "nft":
        machine.run("nft", "add", "rule", "ip", "walinuxagent", "output", "accept")
    else:
        machine.run("iptables", "-t", "security", "-D", "OUTPUT", "3")
    now = firewall.state(machine, profile, WS)
    assert now.present == "some" and now.missing
    assert firewall.ensure(machine, profile, WS)
    assert firewall.state(machine, profile, WS).present == "all"
    assert firewall.remove(machine, profile, WS)
    assert firewall.state(machine, profile, WS).present == "none"
    assert not firewall.remove(machine, profile, WS)


@pytest.mark.parametrize("tool", ["nft", "iptables"])
def test_really_only_root_gets_through_and_dns_for_all(
    system, machine: System, tmp_path, put, program, tool: str
) -> None:
    program("nft", "iptables")
    profile = with_tool(tmp_path, put, tool)
    if firewall.tool(machine, profile) != tool:
        pytest.skip(f"this kernel has no {tool}")
    machine.run("ip", "link", "set", "lo", "up")
    machine.run("ip", "addr", "add", f"{WS}/32", "dev", "lo")
    firewall.ensure(machine, profile, WS)
    probe = (
        "import os, socket, sys\n"
        "servers = [socket.create_server(('168.63.129.16', port)) for port in (80, 53)]\n"
        "told = []\n"
        "for uid in (0, 65534):\n"
        "    for port in (80, 53):\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            os.setuid(uid)\n"
        "            try:\n"
        "                socket.create_connection(('168.63.129.16', port), 0.5).close()\n"
        "            except OSError:\n"
        "                os._exit(1)\n"
        "            os._exit(0)\n"
        "        told.append(os.waitpid(child, 0)[1] == 0)\n"
        "print(told)\n"
    )
    assert machine.run("python3", "-c", probe).stdout.strip() == "[True, True, False, True]"


def test_nft_that_cannot_talk_to_the_kernel_is_passed_over(
    system: System, script: Script, profile, program
) -> None:
    program("nft", "iptables")
    script.on("nft", "list", "tables", status=1, stderr="netlink: Error: cache initialization failed")
    script.on("iptables", "-t", "security", "-S", "OUTPUT", stdout="-P OUTPUT ACCEPT\n")
    assert firewall.tool(system, profile) == "iptables"


def test_without_any_tool_it_says_what_to_install(system: System, profile) -> None:
    with pytest.raises(FirewallError, match="none of nft, iptables works on this system; install nftables"):
        firewall.ensure(system, profile, WS)


def test_an_old_iptables_cannot_wait_for_its_lock(system: System, script: Script, tmp_path, put, program) -> None:
    program("iptables")
    script.on("iptables", "-t", "security", "-S", "OUTPUT")
    script.on("iptables", "--version", stdout="iptables v1.4.7\n")
    for rule in firewall.iptables_rules(WS, 0).values():
        script.on("iptables", "-t", "security", "-C", *rule, status=1)
    assert firewall.state(system, with_tool(tmp_path, put, "iptables"), WS).present == "none"


def test_a_listing_that_is_no_json_is_an_error(system: System, script: Script, profile, program) -> None:
    program("nft")
    script.on("nft", "list", "tables")
    script.on("nft", "--json", "list", "table", "ip", "walinuxagent", stdout="oops")
    with pytest.raises(FirewallError, match="nft printed no JSON listing"):
        firewall.state(system, profile, WS)


def test_permanent_rules_of_firewalld_are_added_once(system: System, script: Script, profile, program) -> None:
    program("firewall-cmd")
    script.on("firewall-cmd", "--state", stdout="running\n")
    base = ("firewall-cmd", "--permanent", "--direct")
    present = set()
    rules = firewall.iptables_rules(WS, 0)
    legacy = (*base, "--query-passthrough", "ipv4", "-t", "security", "-I", *rules["accept DNS"])
    script.on(*legacy, status=1)

    def declare(rule: tuple[str, ...]) -> None:
        words = ("ipv4", "-t", "security", "-A", *rule)
        script.on(*base, "--query-passthrough", *words, status=0 if rule in present else 1)

        def add() -> None:
            present.add(rule)
            declare(rule)

        script.on(*base, "--add-passthrough", *words, effect=add)

    for rule in rules.values():
        declare(rule)
    assert firewall.persist(system, profile, WS)
    assert present == set(rules.values())
    assert not firewall.persist(system, profile, WS)


def test_a_firewalld_that_does_not_run_gets_nothing(system: System, script: Script, profile, program) -> None:
    assert not firewall.persist(system, profile, WS)
    program("firewall-cmd")
    script.on("firewall-cmd", "--state", status=252, stdout="not running\n")
    assert not firewall.persist(system, profile, WS)
