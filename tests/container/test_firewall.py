"""Only root talks to the wire server, in a guest with a network of its own: from before the network on, for good.

The fabric's side is the namespace in which 168.63.129.16 answers, so load balancer probes come from there as well.
"""

from __future__ import annotations

import socket

import pytest
from bed import Bed
from bed.fabric import inside
from bed.network import GUEST_ADDRESS, WIRE_SERVER

TRY = (
    "import socket, sys\n"
    f"socket.create_connection(('{WIRE_SERVER}', int(sys.argv[1])), 2).close()\n"
)
SERVER = "import socket; s = socket.create_server(('', 7788)); c, _ = s.accept(); c.sendall(b'alive'); c.close()"
FILE = "/var/lib/waagent/firewall.nft"


def connects(bed: Bed, account: str, port: int = 80) -> bool:
    return bed.guest.run(["setpriv", f"--reuid={account}", "--clear-groups", "python3", "-c", TRY, str(port)]).status == 0


def periodic(bed: Bed) -> str:
    """What happens half a minute later, and what the step said in the log."""
    log = "/var/log/waagent.log"
    before = len(bed.guest.read(log))
    bed.guest.run("waagent stage periodic --only firewall --force", timeout=60)
    return "\n".join(line for line in bed.guest.read(log)[before:].splitlines() if "periodic/firewall " in line)


def test_the_shipped_configuration_switches_it_on(bed: Bed) -> None:
    machine = bed.machine(user="ada")
    bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    assert "network/firewall changed: only root may talk to 168.63.129.16 (nft)" in bed.guest.read("/var/log/waagent.log")
    assert "meta skuid != 0" in bed.guest.succeed("nft list table ip walinuxagent")


@pytest.mark.row("guest-operations", 44)
def test_root_reaches_the_wire_server_and_others_do_not(bed: Bed) -> None:
    assert connects(bed, "root")
    assert not connects(bed, "nobody")
    assert not connects(bed, "nobody", 32526)


@pytest.mark.row("guest-operations", 44)
def test_everybody_may_ask_for_names(bed: Bed) -> None:
    with inside(bed.network.fabric), socket.create_server((WIRE_SERVER, 53)):
        assert connects(bed, "nobody", 53)


@pytest.mark.row("field-demands", 40)
def test_probes_from_the_wire_server_are_answered(bed: Bed) -> None:
    """By a service that runs under an account which may not begin a connection to there."""
    guest = bed.guest
    guest.succeed(["systemd-run", "--quiet", "--uid=nobody", "python3", "-c", SERVER])
    guest.wait_until_succeeds("ss -Hltn sport = :7788 | grep -q .", timeout=10)
    with inside(bed.network.fabric), socket.create_connection((GUEST_ADDRESS, 7788), 5, (WIRE_SERVER, 0)) as probe:
        assert probe.recv(5) == b"alive"


@pytest.mark.row("field-demands", 43)
def test_that_it_works_is_tried(bed: Bed) -> None:
    periodic(bed)
    assert '"works": "168.63.129.16"' in bed.guest.read("/run/waagent/firewall.json")
    assert bed.guest.succeed("waagent firewall").startswith("only root can talk to 168.63.129.16 (nft)\ntable ip")


@pytest.mark.row("guest-operations", 35)
def test_rules_that_were_flushed_come_back_and_it_is_said_once(bed: Bed) -> None:
    guest = bed.guest
    guest.succeed("nft add table inet mine; nft delete table ip walinuxagent")
    assert connects(bed, "nobody")
    said = periodic(bed)
    assert "were missing: all rules" in said and "set the missing rules again" in said
    assert not connects(bed, "nobody")
    guest.succeed("nft flush chain ip walinuxagent output")
    said = periodic(bed)
    assert "were missing" not in said and "set the missing rules again" in said
    assert not connects(bed, "nobody")
    assert periodic(bed) == ""
    assert "table inet mine" in guest.succeed("nft list tables"), "what is not ours is left alone"


@pytest.mark.row("field-demands", 43)
def test_rules_that_do_not_work_are_an_error(bed: Bed) -> None:
    """Something notes packets as established before our rule sees them: here, by not tracking them at all."""
    guest = bed.guest
    guest.succeed(
        "nft add table ip raw_; nft 'add chain ip raw_ output { type filter hook output priority -300; }'; "
        "nft add rule ip raw_ output ip daddr 168.63.129.16 notrack; rm /run/waagent/firewall.json"
    )
    said = periodic(bed)
    assert "every account of this machine can talk to it, although the rules of nft are there" in said
    assert guest.fail("waagent firewall").status == 1
    guest.succeed("nft delete table ip raw_")


@pytest.mark.row("guest-operations", 40)
@pytest.mark.row("field-demands", 41)
def test_after_a_restart_the_rules_are_there_without_the_agent(bed: Bed) -> None:
    guest = bed.guest
    assert guest.succeed(f"stat -c %a:%U {FILE}") == "600:root\n"
    guest.succeed("systemctl mask --quiet waagent.service waagent-network.service waagent-periodic.timer")
    guest.reboot()
    guest.wait_until_booted()
    assert guest.succeed("systemctl is-active waagent-firewall.service") == "active\n"
    assert not connects(bed, "nobody")
    order = guest.succeed("systemctl show --property=Before --value waagent-firewall.service").split()
    assert "network-pre.target" in order
    guest.succeed("systemctl unmask --quiet waagent.service waagent-network.service waagent-periodic.timer")


@pytest.mark.row("guest-operations", 79)
def test_switched_off_it_takes_nothing_away(bed: Bed) -> None:
    guest = bed.guest
    guest.write("/etc/waagent.conf.d/50-test.conf", "OS.EnableFirewall=n\n")
    guest.succeed("waagent stage network --only firewall --force")
    assert not connects(bed, "nobody")
    assert periodic(bed) == ""


@pytest.mark.row("field-demands", 37)
def test_it_is_removed_by_a_command_and_stays_away(bed: Bed) -> None:
    guest = bed.guest
    assert guest.succeed("waagent firewall --remove") == "our rules for 168.63.129.16 are removed\n"
    assert connects(bed, "nobody")
    assert "there are no rules of ours" in guest.succeed("waagent firewall --remove")
    assert guest.fail("waagent firewall").out.startswith("every account can talk to 168.63.129.16: all rules missing")
    guest.reboot()
    guest.wait_until_booted()
    assert connects(bed, "nobody")
    assert guest.succeed("systemctl show --property=ActiveState --value waagent-firewall.service") == "inactive\n"


def test_set_by_hand_it_stays_whatever_the_option_says(bed: Bed) -> None:
    assert "only root may talk to" in bed.guest.succeed("waagent firewall --set")
    assert not connects(bed, "nobody")
    assert not bed.fabric.simulator.violations
