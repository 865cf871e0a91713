"""Have the platform's DNS learn the host name: it takes it from the DHCP client's lease.

    publish(system, profile, name, note, fresh=…) -> Published(told, how)
    recorded(system, lib), record(system, lib, name)    the name that was published last
    of_cloud_init(system)                               the one that cloud-init has set

told is false when nothing had to be told, or could be: the link has its address from no DHCP server. Raises
HostNameError when the client that has the link would not do it; then the name is not published.

Whoever manages the link is found out on the running machine, in the order of the profile's hostname.publish, and is
asked to renew its lease with the new name. No service is restarted and no link is taken down:

    networkd        the link is configured anew: a mere renewal repeats the name that networkd read when it started
                    its client. The address is away for some 50 ms; connections survive that.
    networkmanager  the running connection is modified, which requests the lease again; the address stays. The name
                    is not written to a profile: NetworkManager uses the host name at the next activation anyway.
    wicked          the interface is brought up once more, without going down
    dhcpcd          rebinds, by SIGHUP; its configuration has to say that the host name is sent
    dhclient        cannot be told while it runs. A second one that does not configure anything requests the same
                    address for the same client, with the new name, and is ended without giving the lease back.
    udhcpc          the same with a second udhcpc

hostname.last-resort of the profile is used only where none of them has the link and network.dhcp-pid finds a
client.

Source: provisioning 4.7, 7.8; field demands 18 to 23, 25 to 27, 31; networkctl(1), nmcli(1), dhcpcd(8),
dhclient(8).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, Optional

from waagent.errors import CommandFailed, ConfigError, HostNameError, SystemRefused
from waagent.machine import dhcp_name, hostname, network, processes, services
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.distro import DistroProfile

RECORD = "published_hostname"
CLOUD_INIT = "/var/lib/cloud/data/set-hostname"
PATIENCE = 30.0  # for a device that is being activated, and for a lease to come
DHCPCD = "/etc/dhcpcd.conf"
DHCPCD_LEASES = ("/var/lib/dhcpcd/{}.lease", "/var/lib/dhcpcd/dhcpcd-{}.lease", "/var/lib/dhcpcd5/dhcpcd-{}.lease")
APPARMOR = "/sys/kernel/security/apparmor/profiles"

# What identifies a client to the server: a second one has to repeat it. 1: a value follows.
DHCLIENT_IDENTITY = {"-i": 0, "-I": 0, "-cf": 1, "-df": 1, "-D": 1, "-C": 1, "-V": 1}
UDHCPC_IDENTITY = {"-C": 0, "--clientid-none": 0, "-c": 1, "--clientid": 1, "-V": 1, "--vendorclass": 1}


class Published(NamedTuple):
    told: bool
    how: str


class Link(NamedTuple):
    """What the ways need: whose link, on which system, under which name it shall be known."""

    system: System
    profile: DistroProfile
    interface: str
    name: str
    fresh: bool


def publish(
    system: System, profile: DistroProfile, name: str, note: Callable[[str], None], *, fresh: bool = False
) -> Published:
    """fresh: the client was started under this name; only one that does not send it is asked anything.

    Raises HostNameError, ConfigError.
    """
    hostname.check(name)
    ways = profile.texts("hostname.publish")
    if not ways:
        return Published(False, "this system tells its DHCP client nothing")
    interface = network.primary_interface(system)
    if interface is None:
        raise HostNameError(f"cannot publish host name {name}: no interface is up")
    try:
        told_now = dhcp_name.tell_client(system, profile, interface, name, note)
        link = Link(system, profile, interface, name, fresh and not told_now)
        for way in ways:
            if way not in _WAYS:
                raise ConfigError(
                    f"cannot publish host name: the profile's way {way!r} is not one of {', '.join(_WAYS)}"
                )
            published = _WAYS[way](link)
            if published is not None:
                return published
        return _last_resort(link)
    except (CommandFailed, SystemRefused, OSError) as error:
        raise HostNameError(f"cannot publish host name {name} over {interface}: {error}") from error


def recorded(system: System, lib: str) -> str | None:
    """The name that was published last; None when nobody wrote it down."""
    try:
        return system.read_text(f"{lib}/{RECORD}").strip() or None
    except OSError:
        return None


def record(system: System, lib: str, name: str) -> bool:
    """Other software reads this file: the bare name, without a line end."""
    return system.write(f"{lib}/{RECORD}", name, mode=0o600)


def of_cloud_init(system: System) -> str | None:
    """The name that cloud-init has set, where it has."""
    import json

    try:
        name = json.loads(system.read_text(CLOUD_INIT))["hostname"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) and name else None


def _last_resort(link: Link) -> Published:
    system, profile = link.system, link.profile
    find = profile.command("network.dhcp-pid")
    commands = profile.commands("hostname.last-resort", interface=link.interface)
    if link.fresh or not commands or not find or system.which(find[0]) is None:
        return Published(False, f"no DHCP client that is known has {link.interface}")
    if not system.run(*find, reads=True, ok=None).stdout.strip():
        return Published(False, f"no DHCP client is running; {link.interface} has its address some other way")
    for command in commands:
        system.run(*command, limit=120)
    return Published(True, " && ".join(" ".join(command) for command in commands))


def _announced(link: Link, client: str) -> Published:
    return Published(False, f"{client} has sent {link.name} from its start")


# -- systemd-networkd -------------------------------------------------------------------------------------------


def _networkd(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    if system.which("networkctl") is None:
        return None
    index = _line(system, f"/sys/class/net/{interface}/ifindex")
    state = _values(system, f"/run/systemd/netif/links/{index}").get("ADMIN_STATE")
    if state in (None, "unmanaged", "linger") or not services.is_active(system, link.profile, "systemd-networkd"):
        return None
    if link.fresh:
        return _announced(link, "systemd-networkd")
    lease = f"/run/systemd/netif/leases/{index}"
    before = _identity(system, lease)
    if before is None and state != "configuring":
        return Published(False, f"systemd-networkd has no lease for {interface}: its address is a static one")
    system.run("networkctl", "reconfigure", interface)
    if not system.planning and not _wait(system, lambda: _identity(system, lease) not in (None, before)):
        raise HostNameError(
            f"cannot publish host name {link.name} over {interface}: systemd-networkd was asked to request the "
            f"lease again and has none after {PATIENCE:.0f} s; see networkctl status {interface}"
        )
    return Published(True, f"systemd-networkd requested the lease of {interface} again")


# -- NetworkManager ---------------------------------------------------------------------------------------------


def _networkmanager(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    if system.which("nmcli") is None or not services.is_active(system, link.profile, "NetworkManager"):
        return None
    state = _nm_state(link)
    if state <= 20:  # unmanaged, unavailable
        return None
    if link.fresh:
        return _announced(link, "NetworkManager")
    if state < 100 and not system.planning and not _wait(system, lambda: _nm_state(link) == 100):
        raise HostNameError(
            f"cannot publish host name {link.name} over {interface}: NetworkManager says its state is "
            f"{_nm_state(link)} after {PATIENCE:.0f} s, not 100 (connected)"
        )
    lease = system.run("nmcli", "--get-values", "DHCP4", "device", "show", interface, reads=True).stdout.strip()
    if not lease:
        return Published(False, f"NetworkManager has no lease for {interface}: its address is a static one")
    system.run("nmcli", "device", "modify", interface, "ipv4.dhcp-hostname", link.name, limit=90)
    if not system.planning and not _wait(system, lambda: _nm_state(link) == 100):
        # Activating the device again is what an admin would do; NetworkManager itself runs on.
        system.run("nmcli", "--wait", "60", "device", "connect", interface, limit=90)
    return Published(True, f"NetworkManager requested the lease of {interface} again")


def _nm_state(link: Link) -> int:
    """10 unmanaged, 20 unavailable, 30 disconnected, … 100 connected; 0 when it does not know the device."""
    asked = ("nmcli", "--get-values", "GENERAL.STATE", "device", "show", link.interface)
    found = re.match(r"\d+", link.system.run(*asked, reads=True, ok=None).stdout.strip())
    return int(found.group()) if found else 0


# -- wicked, dhcpcd ---------------------------------------------------------------------------------------------


def _wicked(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    if system.which("wicked") is None or not processes.running(system, "wickedd-dhcp4"):
        return None
    if link.fresh:
        return _announced(link, "wicked")
    if not system.exists(f"/var/lib/wicked/lease-{interface}-dhcp-ipv4.xml"):
        return Published(False, f"wicked has no lease for {interface}: its address is a static one")
    system.run("wicked", "ifup", interface, limit=120)
    return Published(True, f"wicked requested the lease of {interface} again")


def _dhcpcd(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    clients = processes.running(system, "dhcpcd")
    if not clients or not any(system.exists(path.format(interface)) for path in DHCPCD_LEASES):
        return None
    if system.exists(DHCPCD):
        lines = system.read_text(DHCPCD).splitlines()
        if not any(re.match(r"\s*hostname(\s|$)", line) for line in lines):
            # Options for all interfaces stand before the first section of one.
            sections = [n for n, line in enumerate(lines) if re.match(r"\s*(interface|profile|ssid)\s", line)]
            lines.insert(sections[0] if sections else len(lines), "hostname")
            system.write(DHCPCD, "".join(f"{line}\n" for line in lines))
        elif link.fresh:
            return _announced(link, "dhcpcd")
    # By signal: the control socket of version 9 serves one client and then no other.
    told = (one for one in clients if {"manager", "master", interface} & set(re.split(r"\W+", " ".join(one.argv))))
    system.run("kill", "-HUP", str(next(told, clients[0]).pid))
    return Published(True, f"dhcpcd requests the lease of {interface} again")


# -- dhclient, udhcpc: a second client that only asks -------------------------------------------------------------


def _dhclient(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    client = next(
        (
            one
            for one in processes.running(system, "dhclient")
            if interface in one.argv[1:] and "-6" not in one.argv
        ),
        None,
    )
    if client is None:
        return None
    if link.fresh:
        return _announced(link, "dhclient")
    leases = _value_of(client.argv, "-lf") or next(
        (place for place in DHCLIENT_LEASES if system.exists(place)), DHCLIENT_LEASES[0]
    )
    pids = _value_of(client.argv, "-pf") or "/run/dhclient.pid"
    # Beside the real ones, where the confinement that some systems put around dhclient lets it read and write.
    own_leases = f"{os.path.dirname(leases)}/dhclient.waagent.{interface}.leases"
    own_pid = f"{os.path.dirname(pids)}/dhclient.waagent.{interface}.pid"
    quiet = system.quietly()
    quiet.write(own_leases, system.read(leases) if system.exists(leases) else b"", durable=False)
    try:
        system.run(
            *_unconfined(system), "dhclient", "-4", "-1", "-sf", system.which("true") or "/bin/true",
            *_kept(client.argv, DHCLIENT_IDENTITY), "-pf", own_pid, "-lf", own_leases, interface, limit=90,
        )  # fmt: skip
        # It goes on in the background and writes its number only there. Killed, it cannot give the lease back.
        if not system.planning and _wait(system, lambda: _line(system, own_pid) != ""):
            quiet.run("kill", "-KILL", _line(system, own_pid), ok=None)
    finally:
        quiet.remove(own_pid)
        quiet.remove(own_leases, durable=False)
    return Published(True, f"the lease of {interface} was requested again beside dhclient")


DHCLIENT_LEASES = ("/var/lib/dhcp/dhclient.leases", "/var/lib/dhclient/dhclient.leases")


def _unconfined(system: System) -> tuple[str, ...]:
    """AppArmor's profile of dhclient lets it run no script but its own, which would configure the link."""
    try:
        confined = "dhclient" in system.read_text(APPARMOR)
    except OSError:
        return ()
    return ("aa-exec", "-p", "unconfined", "--") if confined else ()


def _udhcpc(link: Link) -> Published | None:
    system, interface = link.system, link.interface
    for client in processes.running(system, "udhcpc"):
        if interface not in (_value_of(client.argv, "-i"), _value_of(client.argv, "--interface")):
            continue
        if link.fresh and any(word.endswith(f"hostname:{link.name}") for word in client.argv):
            return _announced(link, "udhcpc")
        kept = _kept(client.argv, UDHCPC_IDENTITY)
        system.run(
            "udhcpc", "-f", "-q", "-n", "-i", interface, "-s", system.which("true") or "/bin/true", *kept,
            "-x", f"hostname:{link.name}", limit=90,
        )  # fmt: skip
        return Published(True, f"the lease of {interface} was requested again beside udhcpc")
    return None


def _kept(argv: tuple[str, ...], identity: dict[str, int]) -> list[str]:
    kept: list[str] = []
    for number, word in enumerate(argv):
        if word in identity:
            kept.extend(argv[number : number + 1 + identity[word]])
    return kept


def _value_of(argv: tuple[str, ...], option: str) -> Optional[str]:
    return next((argv[at + 1] for at, word in enumerate(argv[:-1]) if word == option), None)


# -- looking ----------------------------------------------------------------------------------------------------


def _wait(system: System, condition: Callable[[], bool]) -> bool:
    deadline = system.clock.monotonic() + PATIENCE
    while not condition():
        if system.clock.monotonic() >= deadline:
            return False
        system.clock.sleep(0.2)
    return True


def _identity(system: System, path: str) -> tuple[int, int] | None:
    """Of a file that is replaced as a whole: another one when it was written again; None without it."""
    try:
        status = system.status(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _values(system: System, path: str) -> dict[str, str]:
    try:
        lines = system.read_text(path).splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _line(system: System, path: str) -> str:
    try:
        return system.read_text(path).strip()
    except OSError:
        return ""


_WAYS: dict[str, Callable[[Link], Optional[Published]]] = {
    "networkd": _networkd,
    "networkmanager": _networkmanager,
    "wicked": _wicked,
    "dhcpcd": _dhcpcd,
    "dhclient": _dhclient,
    "udhcpc": _udhcpc,
}
