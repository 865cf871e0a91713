"""RDMA: the interface that the platform gives besides the ordinary one, for programs that talk memory to memory.

    load_modules(system, profile)                     names of the kernel's modules that are loaded now
    pairs(text)                                       {mac: address} of "NUMPAIRS:2|00155D33FF1D:172.16.0.4|…"
    interfaces(system)                                {name: mac}; of InfiniBand ones the MAC within their address
    wait_for_device(system)                           SR-IOV: whether one came within two minutes
    wait_for_interfaces(system, wanted)               SR-IOV: whether all that are wanted came within a minute
    configure(system, wanted)                         SR-IOV: [Set(interface, address, changed)] of those here
    have_driver(system, profile, version, update)     Network Direct: what is still to be done, "" when it is there
    direct(system, profile, version, mac, address)    Network Direct: tell driver and library the address

Two kinds. SR-IOV (all sizes of today): an InfiniBand device of the machine's own, ib0 or ibP257p0s0 or whatever
name the system gives it; it is known by its MAC. Network Direct (the oldest sizes): a driver of Hyper-V,
hv_network_direct, whose version has to be that of the host.

Source: provisioning 7.9.
"""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, NetworkError
from waagent.machine import kernel
from waagent.machine.network import INTERFACES
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from waagent.distro import DistroProfile

DEVICES = "/sys/class/infiniband"
PREFIX = 16
PATIENCE = 60.0
DIRECT = "/dev/hvnd_rdma"
LIBRARY = ("/etc/dat.conf", "/etc/rdma/dat.conf", "/usr/local/etc/dat.conf")
PROVIDER = re.compile(r"^ofa-v2-ib0 .*$", re.MULTILINE)
ALIAS = "/etc/modprobe.d/vmbus-rdma.conf"
NEEDS_TELLING = (4, 0)  # drivers up to this version learn the address by their device


class Set(NamedTuple):
    interface: str
    address: str
    changed: bool


def load_modules(system: System, profile: DistroProfile) -> list[str]:
    return [name for name in profile.texts("rdma.modules") if kernel.load_module(system, name)]


def pairs(text: str) -> dict[str, str]:
    """What cannot be read is passed over."""
    found = {}
    for part in text.split("|"):
        mac, _, address = part.strip().rpartition(":")
        digits = re.sub(r"[^0-9a-f]", "", mac.lower())
        try:
            if len(digits) == 12 and not mac.upper().startswith("NUMPAIRS"):
                found[":".join(re.findall("..", digits))] = str(IPv4Address(address.strip()))
        except AddressValueError:
            continue
    return found


def interfaces(system: System) -> dict[str, str]:
    """An InfiniBand address has 20 bytes; the MAC's are at -8, -7, -6 and -3, -2, -1."""
    found = {}
    for name in system.listing(INTERFACES):
        try:
            parts = system.read_text(f"{INTERFACES}/{name}/address").strip().lower().split(":")
        except OSError:
            continue
        found[name] = ":".join(parts[-8:-5] + parts[-3:] if len(parts) == 20 else parts)
    return found


def configure(system: System, wanted: Mapping[str, str]) -> list[Set]:
    """Bring those that are here up with their address. Raises NetworkError."""
    done = []
    for name, mac in interfaces(system).items():
        address = wanted.get(mac)
        if address is None:
            continue
        try:
            listed = system.run("ip", "-o", "-4", "addr", "show", "dev", name, "up", reads=True).stdout
            has_it = re.search(rf"\binet {re.escape(address)}/", listed) is not None
            if not has_it:
                system.run("ip", "link", "set", name, "up")
                system.run("ip", "addr", "add", f"{address}/{PREFIX}", "dev", name, ok=(0, 2))
        except CommandFailed as error:
            raise NetworkError(f"cannot give {name} the address {address} for RDMA: {error}") from error
        done.append(Set(name, address, not has_it))
    return done


def wait(system: System, came: Callable[[], object], patience: float = PATIENCE) -> bool:
    """For what the host adds some time after the machine has started."""
    clock = system.clock
    end = clock.monotonic() + patience
    while not came():
        if clock.monotonic() >= end:
            return False
        clock.sleep(1.0)
    return True


def wait_for_device(system: System) -> bool:
    return wait(system, lambda: system.listing(DEVICES), 2 * PATIENCE)


def wait_for_interfaces(system: System, wanted: Mapping[str, str]) -> bool:
    """They come some time after their device, when the kernel has loaded IP over InfiniBand."""
    return wait(system, lambda: set(wanted) <= set(interfaces(system).values()))


def have_driver(system: System, profile: DistroProfile, version: str, *, update: bool) -> str:
    """The driver that fits the host, by the commands of the profile; a sentence on what is left to do, or "".

    Raises CommandFailed.
    """
    release = os.uname().release
    words = {
        "version": version,
        "module": version.replace(".", "_"),
        "number": _number(version)[0],
        "flavour": release.rpartition("-")[2],
        "release": "".join(profile.version.split(".")[:2]),
    }
    versioned = profile.text("rdma.driver-versioned")
    if versioned is not None:
        name = versioned.format_map(words)
        if system.run("modinfo", name, reads=True, ok=None).status == 0:
            system.make_directory(os.path.dirname(ALIAS))
            system.write(ALIAS, f"alias hv_network_direct {name}\n")
            return ""
        commands = profile.commands("rdma.driver-update", **words)
        if commands and not update:
            return f"the kernel has no driver {name}; OS.UpdateRdmaDriver=y would update the kernel"
    else:
        question = profile.command("rdma.driver-installed", **words)
        if not question:
            return ""
        answer = system.run(*question, reads=True, ok=None)
        if answer.status == 0 and re.search(rf"(?<!\d){words['number']}(?!\d)", answer.stdout):
            return ""
        commands = profile.commands("rdma.driver-install", **words)
    for command in commands:
        system.run(*command, limit=600)
    return f"the driver {version} was installed; it counts after a restart" if commands else ""


def _number(version: str) -> tuple[str, str]:
    """The first two numbers; the first names the package of the driver."""
    found = re.findall(r"\d+", version)
    return (found[0], found[1] if len(found) > 1 else "0") if found else ("0", "0")


def direct(system: System, profile: DistroProfile, version: str, mac: str, address: str) -> list[Set]:
    """Raises NetworkError when the driver or its library is missing, CommandFailed."""
    file = next((path for path in LIBRARY if system.exists(path)), None)
    if file is None:
        raise NetworkError(f"cannot configure RDMA: none of {', '.join(LIBRARY)} is there; install the DAT library")
    entry = f'ofa-v2-ib0 u2.0 nonthreadsafe default libdaplofa.so.2 dapl.2.0 "{address} 0" ""'
    content = system.read_text(file)
    changed = PROVIDER.sub(lambda _: entry, content)
    system.write(file, changed if PROVIDER.search(content) else f"{content.rstrip()}\n{entry}\n".lstrip())
    name = profile.text("rdma.driver") or ""
    if not kernel.load_module(system, name):
        raise NetworkError(f"cannot configure RDMA: the kernel has no module {name}")
    if tuple(map(int, _number(version))) <= NEEDS_TELLING:
        if not wait(system, lambda: system.exists(DIRECT), 2 * PATIENCE):
            raise NetworkError(f"cannot configure RDMA: {DIRECT} did not come within {2 * PATIENCE:.0f} s")
        # One write: the driver takes what it is given as a whole.
        system.run("tee", DIRECT, stdin=f'rdmaMacAddress="{mac}" rdmaIPv4Address="{address}"')
    return configure(system, {mac: address})
