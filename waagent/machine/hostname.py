"""The host name: is it one, what is it now, set it.

check(name)                      HostNameError when the kernel or the DNS cannot have it
current(system)                  the kernel's
set_name(system, profile, name)  on disk by the profile's way, in the kernel, in /etc/hosts; false if all was so
assign(system, path, key, value) have a line key=value in a file of shell assignments
keep_name(system, profile, name) on disk alone: for an image, whose kernel is not the one that runs

Ways of the profile's hostname.set, the first that works counts: hostnamectl and etc-hostname write /etc/hostname
(hostnamectl would need a message bus that is not there so early in a boot; it writes the same file),
etc-HOSTNAME, sysconfig-network, uci, rc-conf, myname, setconf. An empty list: the host name is left alone.

/etc/hosts follows where it names the machine (waagent/machine/hosts.py).

Source: provisioning 4.7, field demand 30 (the name is set before any DHCP client asks for a lease).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waagent.errors import CommandFailed, ConfigError, HostNameError, SystemRefused
from waagent.machine import hosts, selinux
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from waagent.distro import DistroProfile

KERNEL = "/proc/sys/kernel/hostname"
LONGEST = 64  # __NEW_UTS_LEN
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check(name: str) -> str:
    """The name, when it can be a host name. Raises HostNameError."""
    shown = name[:80]
    if not name or len(name) > LONGEST:
        raise HostNameError(
            f"cannot set host name {shown!r}: it has {len(name)} characters, 1 to {LONGEST} are allowed"
        )
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise HostNameError(
                f"cannot set host name {shown!r}: {label[:64]!r} is not 1 to 63 letters, digits and inner hyphens"
            )
    return name


def current(system: System) -> str:
    try:
        return system.read_text(KERNEL).strip()
    except OSError:
        return ""


def set_name(system: System, profile: DistroProfile, name: str) -> bool:
    """Have this host name, now and at the next boot. Raises HostNameError."""
    if not profile.texts("hostname.set"):
        return False
    changed = _keep(system, profile, name, _WAYS)
    return _set_in_kernel(system, name) or changed


def keep_name(system: System, profile: DistroProfile, name: str) -> bool:
    """Have this host name at the next boot. Raises HostNameError where that takes the running system."""
    return _keep(system, profile, name, {**_WAYS, "uci": _uci_settings, "setconf": _not_offline})


def _keep(
    system: System, profile: DistroProfile, name: str, known: Mapping[str, Callable[[System, str], bool]]
) -> bool:
    check(name)
    before = _kept(system)
    changed = _keep_somewhere(system, profile, name, known)
    try:
        return hosts.rename(system, before, name) or changed
    except SystemRefused:
        # What runs a container may have mounted the file; the machine has its name all the same.
        return changed


def _kept(system: System) -> str:
    """The name of the last boot: the kernel's may be the new one already, when somebody else has set it."""
    try:
        return system.read_text("/etc/hostname").strip()
    except OSError:
        return current(system)


def _keep_somewhere(
    system: System, profile: DistroProfile, name: str, known: Mapping[str, Callable[[System, str], bool]]
) -> bool:
    ways = profile.texts("hostname.set")
    for number, way in enumerate(ways, start=1):
        if way not in known:
            raise ConfigError(f"cannot set host name: the profile's way {way!r} is not one of {', '.join(known)}")
        try:
            return known[way](system, name)
        except (CommandFailed, SystemRefused, OSError) as error:
            if number == len(ways):
                raise HostNameError(f"cannot keep host name {name}: {error}") from error
    return False


def _set_in_kernel(system: System, name: str) -> bool:
    if current(system) == name:
        return False
    try:
        return system.poke(KERNEL, name)
    except SystemRefused:
        # In a container /proc/sys is read-only; the system call that the program makes is allowed.
        try:
            system.run("hostname", name)
        except CommandFailed as error:
            raise HostNameError(f"cannot set host name {name} in the kernel: {error}") from error
        return True


def _etc_hostname(system: System, name: str) -> bool:
    changed = system.write("/etc/hostname", f"{name}\n", mode=0o644)
    if changed:
        selinux.restore(system, "/etc/hostname")
    return changed


def _etc_capitals(system: System, name: str) -> bool:
    return system.write("/etc/HOSTNAME", f"{name}\n", mode=0o644)


def _myname(system: System, name: str) -> bool:
    return system.write("/etc/myname", f"{name}\n", mode=0o644)


def _sysconfig(system: System, name: str) -> bool:
    return assign(system, "/etc/sysconfig/network", "HOSTNAME", name)


def _rc_conf(system: System, name: str) -> bool:
    return assign(system, "/etc/rc.conf", "hostname", f'"{name}"')


def assign(system: System, path: str, key: str, value: str) -> bool:
    """Have one line key=value in a file of shell assignments, where the last one of the key was."""
    try:
        lines = system.read_text(path).splitlines()
    except FileNotFoundError:
        lines = []
    places = [number for number, line in enumerate(lines) if re.match(rf"\s*{key}\s*=", line)]
    for number in reversed(places[:-1]):
        del lines[number]
    if places:
        lines[places[-1] - (len(places) - 1)] = f"{key}={value}"
    else:
        lines.append(f"{key}={value}")
    return system.write(path, "".join(f"{line}\n" for line in lines))


def _uci(system: System, name: str) -> bool:
    before = len(system.effects)
    changed = _uci_settings(system, name)
    if any(effect.kind == "run" for effect in system.effects[before:]):
        system.run("/etc/init.d/system", "reload")
    return changed


def _uci_settings(system: System, name: str) -> bool:
    changed = _etc_hostname(system, name)
    now = system.run("uci", "-q", "get", "system.@system[0].hostname", reads=True, ok=None)
    if now.stdout.strip() == name:
        return changed
    system.run("uci", "set", f"system.@system[0].hostname={name}")
    system.run("uci", "commit", "system")
    return True


def _not_offline(system: System, name: str) -> bool:
    raise SystemRefused("its host name can be set only while it runs")


def _setconf(system: System, name: str) -> bool:
    """Stormshield's own store of settings, and the services that have to hear of it."""
    before = current(system)
    if before == name:
        return False
    for argv in (
        ("/usr/Firewall/sbin/setconf", "/usr/Firewall/System/global", "SystemName", name),
        ("/usr/Firewall/sbin/enlog",),
        ("/usr/Firewall/sbin/enproxy", "-u"),
        ("/usr/Firewall/sbin/ensl", "-u"),
        ("/usr/Firewall/sbin/ennetwork", "-f"),
    ):
        system.run(*argv)
    return True


_WAYS = {
    "hostnamectl": _etc_hostname,
    "etc-hostname": _etc_hostname,
    "etc-HOSTNAME": _etc_capitals,
    "sysconfig-network": _sysconfig,
    "uci": _uci,
    "rc-conf": _rc_conf,
    "myname": _myname,
    "setconf": _setconf,
}
