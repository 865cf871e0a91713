"""What a collection of logs takes: a list of patterns, and no file that none of them names.

    sources(profile, lib, extension_logs, log, full) -> Sources
        listings    directories that are listed in the results
        patterns    (pattern, priority) of files; lower comes first, files of one pattern by name

A normal collection is what a support engineer needs to see what the agent and its extensions did. A full one, made
by hand, adds what the machine was told about network, disks and boot.

    forbidden(path)     names that never enter a collection, whatever pattern or link leads to them

Source: guest-operations 7.3, 7.4.
"""

from __future__ import annotations

import posixpath
from fnmatch import fnmatch
from typing import TYPE_CHECKING, NamedTuple

from waagent.system.effects import JOURNAL

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

LAST = 9  # priority of what is in no hurry

SYSTEM = ("/etc/*-release", "/etc/HOSTNAME", "/etc/hostname", "/etc/waagent.conf", "/etc/waagent.conf.d/*.conf")
MACHINE = (
    "/etc/fstab", "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*.conf", "/boot/grub*/grub.c*",
    "/boot/grub*/menu.lst",
    "/etc/network/interfaces", "/etc/network/interfaces.d/*.cfg", "/etc/netplan/50-cloud-init.yaml",
    "/etc/nsswitch.conf", "/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf",
    "/run/resolvconf/resolv.conf", "/etc/sysconfig/iptables", "/etc/sysconfig/network",
    "/etc/sysconfig/network/ifcfg-eth*", "/etc/sysconfig/network/routes",
    "/etc/sysconfig/network-scripts/ifcfg-eth*", "/etc/sysconfig/network-scripts/route-eth*",
    "/etc/sysconfig/SuSEfirewall2", "/etc/ufw/ufw.conf",
    "/var/log/azure-proxy-agent/*",
)  # fmt: skip
FEW_LOGS = ("dmesg*", "syslog*", "auth*")
# Below the state directory.
STATE = (
    "ovf-env.xml", "*/status/*.status", "*/config/*.settings", "*/config/HandlerState", "*/config/HandlerStatus",
    "*/error.json", "error.json",
)  # fmt: skip
FULL_STATE = ("provisioned", "SharedConfig.xml", "ManagedIdentity-*.json")
RUNNING = ("/run/waagent/status*.json", "/run/waagent/periodic.json")

FORBIDDEN = (
    "*.prv", "*.pem", "*.pfx", "*.p12", "*.p7m", "*.key", "*.keytab", "shadow*", "gshadow*", "secret.json",
    "goal-state.json", "ssh_host_*", "id_rsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "CustomData*",
    "core", "core.*",
)  # fmt: skip


class Sources(NamedTuple):
    listings: tuple[str, ...]
    patterns: tuple[tuple[str, int], ...]


def sources(profile: DistroProfile, lib: str, extension_logs: str, log: str, *, full: bool) -> Sources:
    first = [
        (log, 0),
        *((pattern, 1) for pattern in (*RUNNING, JOURNAL, f"{lib}/boots/*")),
        (f"{lib}/history/*.zip", 2),
        (f"{lib}/history/*/*", 2),
        (f"{extension_logs}/*/*", 3),
        (f"{extension_logs}/*/*/*", 4),
        (f"{log}.*", 5),
    ]
    system = [*profile.texts("logs.system"), *(profile.texts("logs.packages") if full else ())]
    if not full:
        system = [name for name in system if posixpath.basename(name) in FEW_LOGS]
    files = [*SYSTEM, *(MACHINE if full else ()), *system]
    files += [f"{lib}/{name}" for name in (*STATE, *(FULL_STATE if full else ()))]
    if full:
        files += [path for formats in profile.get("network.leases").values() for path in formats]
    listings = ("/var/log", lib, *(("/etc/udev/rules.d",) if full else ()))
    return Sources(listings, (*first, *((pattern, LAST) for pattern in files)))


def forbidden(path: str) -> bool:
    """Whether a file of this name is, or may hold, a secret as a whole."""
    name = posixpath.basename(path)
    return any(fnmatch(name, pattern) for pattern in FORBIDDEN)
