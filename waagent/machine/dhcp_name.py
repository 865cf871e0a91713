"""Where a DHCP client is told which host name to send, for clients that do not take the machine's own.

    tell_client(system, profile, interface, name, note) -> whether a file changed

By the profile's hostname.dhcp:

    dhclient-conf   send host-name "NAME"; in each of hostname.dhcp-files that exists, unless it says gethostname()
                    or <hostname>: such a client finds out by itself
    ifcfg           DHCP_HOSTNAME=NAME in ifcfg-<interface> below network.interface-files, where there is one
    suse-dhcp       DHCLIENT_HOSTNAME_OPTION="NAME" in the first of hostname.dhcp-files, unless it says AUTO
    none            nothing

Source: provisioning 4.7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waagent.errors import ConfigError
from waagent.machine.hostname import assign
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.distro import DistroProfile

_SEND = re.compile(r"\s*send\s+host-name\b")
_BY_ITSELF = re.compile(r"\s*send\s+host-name\b.*(gethostname\(\)|<hostname>)")


def tell_client(
    system: System, profile: DistroProfile, interface: str, name: str, note: Callable[[str], None]
) -> bool:
    """Raises ConfigError, SystemRefused."""
    way = profile.text("hostname.dhcp") or "none"
    files = [path for path in profile.texts("hostname.dhcp-files") if system.exists(path)]
    if way == "dhclient-conf":
        changed = [path for path in files if _dhclient_conf(system, path, name)]
        return bool(changed)
    if way == "ifcfg":
        path = f"{profile.text('network.interface-files')}/ifcfg-{interface}"
        return system.exists(path) and assign(system, path, "DHCP_HOSTNAME", name)
    if way == "suse-dhcp":
        if not files:
            note(f"there is no {', '.join(profile.texts('hostname.dhcp-files'))} to tell the host name")
            return False
        if re.search(r"(?m)^\s*DHCLIENT_HOSTNAME_OPTION\s*=\s*[\"']?AUTO[\"']?\s*$", system.read_text(files[0])):
            return False
        return assign(system, files[0], "DHCLIENT_HOSTNAME_OPTION", f'"{name}"')
    if way == "none":
        return False
    raise ConfigError(
        f"cannot tell the DHCP client the host name: the profile's way {way!r} is not one of dhclient-conf, ifcfg, "
        "suse-dhcp, none"
    )


def _dhclient_conf(system: System, path: str, name: str) -> bool:
    lines = system.read_text(path).splitlines()
    if any(_BY_ITSELF.match(line) for line in lines):
        return False
    wanted = f'send host-name "{name}";'
    if [line.strip() for line in lines if _SEND.match(line)] == [wanted]:
        return False
    kept = [line for line in lines if not _SEND.match(line)]
    return system.write(path, "".join(f"{line}\n" for line in [*kept, wanted]))
