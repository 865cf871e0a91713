"""Publishing the host name: each client that may have the link, found at run time, and asked its own way."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from waagent.errors import HostNameError
from waagent.machine import dhcp_name, publish
from waagent.system import System
from waagent.system.clock import Clock

ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 01004D0A 0003 0 0 0 00000000\n"
NETWORKD = ("systemctl", "is-active", "--quiet", "systemd-networkd")
NETWORKMANAGER = ("systemctl", "is-active", "--quiet", "NetworkManager")
STATE = ("nmcli", "--get-values", "GENERAL.STATE", "device", "show", "eth0")
LEASE = ("nmcli", "--get-values", "DHCP4", "device", "show", "eth0")
MODIFY = ("nmcli", "device", "modify", "eth0", "ipv4.dhcp-hostname", "web-01")
RECONFIGURE = ("networkctl", "reconfigure", "eth0")


class Hurried(Clock):
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture(autouse=True)
def machine(system: System, put, program) -> None:
    system.clock = Hurried()
    put("/proc/net/route", ROUTES)
    put("/sys/class/net/eth0/ifindex", "2\n")
    program("systemctl", "true", "pidof")


@pytest.fixture
def run(system: System, tmp_path):
    def asked(distro: str = "debian", version: str = "12", *, fresh: bool = False) -> publish.Published:
        profile = profile_of(tmp_path / "root", distro, version)
        return publish.publish(system, profile, "web-01", print, fresh=fresh)

    return asked


@pytest.fixture
def process(put):
    def start(pid: int, *argv: str, comm: str = "") -> None:
        put(f"/proc/{pid}/comm", f"{(comm or os.path.basename(argv[0]))[:15]}\n")
        put(f"/proc/{pid}/cmdline", "\0".join(argv) + "\0")

    return start


@pytest.fixture
def networkd(script: Script, put, program):
    program("networkctl")
    put("/run/systemd/netif/links/2", "ADMIN_STATE=configured\n")
    lease = put("/run/systemd/netif/leases/2", "ADDRESS=10.77.0.10\n")
    script.on(*NETWORKD)

    def renewed() -> None:
        lease.unlink()
        put("/run/systemd/netif/leases/2", "ADDRESS=10.77.0.10\nHOSTNAME=web-01\n")
        os.utime(lease, ns=(1, 1))

    script.on(*RECONFIGURE, effect=renewed)
    return lease


@pytest.fixture
def networkmanager(script: Script, program):
    program("nmcli")
    script.on(*NETWORKMANAGER)
    script.on(*LEASE, stdout="expiry = 1\n")
    script.on(*MODIFY)

    def state(number: str) -> None:
        script.on(*STATE, stdout=f"{number}\n")

    state("100 (connected)")
    return state


@pytest.mark.row("field-demands", 18, 31)
def test_networkd_configures_the_link_anew(run, networkd, script):
    assert run().told
    assert script.ran == [NETWORKD, RECONFIGURE]


@pytest.mark.row("field-demands", 19)
def test_row_19_a_lease_that_does_not_come_is_told(run, networkd, script):
    script.on(*RECONFIGURE, effect=networkd.unlink)
    with pytest.raises(HostNameError, match=r"has none after 30 s; see networkctl status eth0"):
        run()


def test_networkd_with_a_static_address_is_left_alone(run, networkd, script):
    networkd.unlink()
    published = run()
    assert not published.told and "static" in published.how
    assert RECONFIGURE not in script.ran


@pytest.mark.row("field-demands", 21, 27)
def test_rows_21_and_27_networkd_that_is_there_and_has_not_the_link_is_passed_over(run, networkd, put, script):
    put("/run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n")
    script.on("pidof", "dhclient", status=1)
    assert not run().told
    assert script.ran == [("pidof", "dhclient")]


@pytest.mark.row("field-demands", 18, 20, 31)
@pytest.mark.row("field-demands", 25)
def test_row_25_networkmanager_requests_the_lease_again_and_is_not_restarted(run, networkmanager, script):
    assert run("rhel", "9.4").told
    assert script.ran == [NETWORKMANAGER, STATE, LEASE, MODIFY, STATE]


@pytest.mark.row("provisioning", 93)
def test_row_93_a_device_that_went_away_is_connected_again(run, networkmanager, script):
    script.on(*MODIFY, effect=lambda: networkmanager("30 (disconnected)"))
    connect = ("nmcli", "--wait", "60", "device", "connect", "eth0")
    script.on(*connect)
    assert run("rhel", "8.4").told
    assert script.ran[-1] == connect


@pytest.mark.row("field-demands", 19, 20)
def test_a_device_that_is_being_activated_is_waited_for(run, networkmanager, script):
    networkmanager("50 (connecting (configuring))")
    script.on(*STATE, stdout="70 (connecting)\n", effect=lambda: networkmanager("100 (connected)"))
    assert run().told


def test_a_device_that_is_not_activated_is_told_and_not_touched(run, networkmanager, script):
    networkmanager("50 (connecting (configuring))")
    with pytest.raises(HostNameError, match=r"its state is 50 after 30 s, not 100"):
        run()
    assert MODIFY not in script.ran


def test_ifcfg_has_the_name_too(run, networkmanager, put, system):
    path = "/etc/sysconfig/network-scripts/ifcfg-eth0"
    put(path, "DEVICE=eth0\nDHCP_HOSTNAME=old\nONBOOT=yes\n")
    assert run("rhel", "8.4", fresh=True).told
    assert system.read_text(path) == "DEVICE=eth0\nDHCP_HOSTNAME=web-01\nONBOOT=yes\n"
    assert not run("rhel", "8.4", fresh=True).told


@pytest.mark.row("field-demands", 22)
def test_wicked_brings_the_interface_up_without_going_down(run, put, program, process, script):
    program("wicked")
    process(700, "/usr/lib/wicked/bin/wickedd-dhcp4", "--foreground")
    put("/etc/sysconfig/network/dhcp", 'DHCLIENT_HOSTNAME_OPTION="AUTO"\n')
    put("/var/lib/wicked/lease-eth0-dhcp-ipv4.xml", "<lease/>")
    script.on("wicked", "ifup", "eth0")
    assert run("sles", "15.5").told
    assert script.ran == [("wicked", "ifup", "eth0")]


@pytest.mark.row("field-demands", 22)
def test_dhcpcd_is_told_to_send_the_name(run, put, process, script, system):
    process(799, "dhcpcd: [privileged proxy]", comm="dhcpcd")
    process(800, "dhcpcd: [manager] [ip4]", comm="dhcpcd")
    put("/var/lib/dhcpcd/eth0.lease", b"\2\1\6")
    put("/etc/dhcpcd.conf", "#hostname\nduid\ninterface eth1\nstatic ip_address=10.0.0.1\n")
    script.on("kill", "-HUP", "800")
    assert run("alpine", "3.20", fresh=True).told
    assert system.read_text("/etc/dhcpcd.conf").splitlines()[2:4] == ["hostname", "interface eth1"]
    script.ran.clear()
    assert not run("alpine", "3.20", fresh=True).told
    assert run("alpine", "3.20").told


def dhclient(script: Script, *kept: str, before: tuple[str, ...] = (), effect=None) -> tuple[str, ...]:
    argv = (
        *before, "dhclient", "-4", "-1", "-sf", "/usr/bin/true", *kept, "-pf", "/run/dhclient.waagent.eth0.pid",
        "-lf", "/var/lib/dhcp/dhclient.waagent.eth0.leases", "eth0",
    )  # fmt: skip
    script.on(*argv, effect=effect)
    return argv


def test_a_second_dhclient_asks_as_the_same_client_and_leaves_nothing(run, put, process, script, system):
    process(900, "dhclient", "-4", "-v", "-i", "-pf", "/run/dhclient.eth0.pid", "-lf", "/var/lib/dhcp/x.leases", "eth0")
    put("/var/lib/dhcp/x.leases", "lease {}\n")
    own = system.path("/var/lib/dhcp/dhclient.waagent.eth0.leases")

    def asked() -> None:
        assert own.read_text() == "lease {}\n"
        put("/run/dhclient.waagent.eth0.pid", "901\n")

    argv = dhclient(script, "-i", effect=asked)
    script.on("kill", "-KILL", "901")
    assert run().told
    assert script.ran == [argv, ("kill", "-KILL", "901")]
    assert not own.exists() and not system.exists("/run/dhclient.waagent.eth0.pid")
    assert system.read_text("/var/lib/dhcp/x.leases") == "lease {}\n"


def test_apparmor_s_profile_of_dhclient_is_stepped_out_of(run, put, process, script):
    process(900, "dhclient", "-pf", "/run/dhclient.eth0.pid", "-lf", "/var/lib/dhcp/x.leases", "eth0")
    put("/var/lib/dhcp/x.leases", "lease {}\n")
    put("/sys/kernel/security/apparmor/profiles", "/{,usr/}sbin/dhclient (enforce)\n")
    argv = dhclient(script, before=("aa-exec", "-p", "unconfined", "--"),
                    effect=lambda: put("/run/dhclient.waagent.eth0.pid", "901\n"))  # fmt: skip
    script.on("kill", "-KILL", "901")
    run()
    assert script.ran[0] == argv


@pytest.mark.row("field-demands", 22)
def test_a_second_udhcpc_asks_as_the_same_client(run, process, script):
    process(901, "udhcpc", "-n", "-R", "-p", "/run/udhcpc.eth0.pid", "-i", "eth0", "-C", "-x", "hostname:old")
    argv = ("udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s", "/usr/bin/true", "-C", "-x", "hostname:web-01")
    script.on(*argv)
    assert run("openwrt", "23.05", fresh=True).told
    assert script.ran == [argv]


def test_a_client_that_began_with_the_name_is_left_alone(run, networkd, networkmanager, script):
    assert not run(fresh=True).told
    assert script.ran == [NETWORKD]


def test_the_last_resort_is_for_clients_that_nobody_knows(run, script, program):
    program("pgrep")
    script.on("pgrep", "-n", "dhclient", stdout="44\n")
    script.on("/etc/rc.d/dhclient", "restart", "eth0")
    assert run("freebsd", "14.1").told
    assert script.ran[-1] == ("/etc/rc.d/dhclient", "restart", "eth0")


@pytest.mark.row("field-demands", 28, 58)
def test_without_any_client_nothing_is_cut(run, script):
    script.on("pidof", "dhclient", status=1)
    assert not run().told


def test_appliances_publish_nothing(run, script):
    assert not run("gaia", "81.20").told
    assert script.ran == []


def test_a_command_that_fails_is_told(run, networkmanager, script):
    script.on(*MODIFY, status=4, stderr="Error: device modify failed")
    with pytest.raises(HostNameError, match=r"cannot publish host name web-01 over eth0: .*device modify failed"):
        run()


def test_without_a_link_it_is_not_published(run, put, system):
    put("/proc/net/route", ROUTES.splitlines()[0] + "\n")
    with pytest.raises(HostNameError, match="no interface is up"):
        run()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("send host-name = gethostname();\n", None),
        ('send host-name "<hostname>";\n', None),
        ("request x;\n", 'request x;\nsend host-name "web-01";\n'),
        ('send host-name "old";\n\nrequest x;\n', '\nrequest x;\nsend host-name "web-01";\n'),
        ("# send host-name = gethostname();\n", '# send host-name = gethostname();\nsend host-name "web-01";\n'),
    ],
)
def test_dhclient_conf(system: System, put, profile, before, after):
    put("/etc/dhcp/dhclient.conf", before)
    assert dhcp_name.tell_client(system, profile, "eth0", "web-01", print) == (after is not None)
    assert system.read_text("/etc/dhcp/dhclient.conf") == (after or before)
    assert not dhcp_name.tell_client(system, profile, "eth0", "web-01", print)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DHCLIENT_HOSTNAME_OPTION='AUTO'\n", None),
        ('A=1\nDHCLIENT_HOSTNAME_OPTION="old"\nB=2\n', 'A=1\nDHCLIENT_HOSTNAME_OPTION="web-01"\nB=2\n'),
        ("A=1\n", 'A=1\nDHCLIENT_HOSTNAME_OPTION="web-01"\n'),
    ],
)
def test_suse(system: System, put, tmp_path, before, after):
    put("/etc/sysconfig/network/dhcp", before)
    profile = profile_of(tmp_path / "root", "sles", "15.5")
    assert dhcp_name.tell_client(system, profile, "eth0", "web-01", print) == (after is not None)
    assert system.read_text("/etc/sysconfig/network/dhcp") == (after or before)


def test_what_was_published_is_a_bare_name(system: System, tmp_path):
    lib = "/var/lib/waagent"
    (tmp_path / "root/var/lib/waagent").mkdir()
    assert publish.recorded(system, lib) is None
    assert publish.record(system, lib, "web-01")
    assert system.read(f"{lib}/published_hostname") == b"web-01"
    assert publish.recorded(system, lib) == "web-01"


@pytest.mark.row("provisioning", 92)
@pytest.mark.parametrize(
    ("text", "name"), [('{"fqdn": "a.b", "hostname": "a"}', "a"), ("{", None), ('{"hostname": 1}', None), ("[]", None)]
)
def test_row_92_what_cloud_init_has_set(system: System, put, text, name):
    put("/var/lib/cloud/data/set-hostname", text)
    assert publish.of_cloud_init(system) == name
