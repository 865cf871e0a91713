"""The host name of a former instance in the configuration of DHCP clients: where one is written out, it goes.

reset(system, profile, name)   the files that were changed; name "" takes the setting out

Only a name that stands there is replaced. Where the configuration says nothing, or has the client take the
machine's name (gethostname(), <hostname>, AUTO), it stays: a name that is added would be sent until somebody
changes it, whatever the machine is called by then. No client is restarted or asked to renew.

Ways of the profile's hostname.dhcp: dhclient-conf (`send host-name "…";`), ifcfg (DHCP_HOSTNAME=…), suse-dhcp
(DHCLIENT_HOSTNAME_OPTION=…), none; machine/dhcp_name.py has the other direction.

Source: provisioning 4.7, 5.2 row 8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

IFCFG = "/etc/sysconfig/network-scripts"
_SENDS = re.compile(r'^(\s*send\s+host-name\s*=?\s*)"(?!<hostname>)[^"]*"\s*;.*$')
_IFCFG = re.compile(r"^(\s*DHCP_HOSTNAME\s*=).*$")
_SUSE = re.compile(r"^(\s*DHCLIENT_HOSTNAME_OPTION\s*=).*$")


def reset(system: System, profile: DistroProfile, name: str) -> list[str]:
    """Raises SystemRefused."""
    way = profile.text("hostname.dhcp")
    files = list(profile.texts("hostname.dhcp-files"))
    if way == "dhclient-conf":
        return [file for file in files if _replace(system, file, _SENDS, f'"{name}";' if name else None)]
    if way == "ifcfg":
        folder = profile.text("network.interface-files") or IFCFG
        files = [f"{folder}/{file}" for file in system.listing(folder) if file.startswith("ifcfg-")]
        return [file for file in files if _replace(system, file, _IFCFG, name or None)]
    if way == "suse-dhcp":
        # AUTO stands for the machine's own name; it is the default there, and right in an image.
        return [file for file in files if _replace(system, file, _SUSE, f'"{name or "AUTO"}"')]
    return []


def _replace(system: System, file: str, setting: re.Pattern[str], value: str | None) -> bool:
    try:
        lines = system.read_text(file).splitlines()
    except OSError:
        return False
    fresh = []
    for line in lines:
        match = setting.match(line)
        if match is None:
            fresh.append(line)
        elif value is not None:
            fresh.append(match.group(1) + value)
    if fresh == lines:
        return False
    return system.write(file, "".join(f"{line}\n" for line in fresh))
