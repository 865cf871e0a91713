"""Bring a link back that did not come up again after its DHCP client was told another name.

recover(system, profile, interface) -> what was done, or "" where nothing had to be. Raises NetworkError when the
link is still down, CommandFailed.

Only where the profile names a command for it (network.recover): releases whose links are taken down and up for a
new name, by scripts that race with NetworkManager. A link that NetworkManager shall not touch is left alone.

Source: provisioning 7.8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waagent.errors import NetworkError
from waagent.machine.network import INTERFACES
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

PAUSE = 5.0
CONNECTED = "100 (connected)"
UNMANAGED = re.compile(r"^\s*NM_CONTROLLED\s*=\s*[\"']?(no|n|false|0)\b", re.MULTILINE | re.IGNORECASE)


def recover(system: System, profile: DistroProfile, interface: str) -> str:
    command = profile.command("network.recover")
    if not command or system.which("nmcli") is None or not _managed(system, profile, interface):
        return ""
    link, state = _states(system, interface)
    if link != "down" and "disconnected" not in state:
        return ""
    system.run(*command, limit=120)
    system.clock.sleep(PAUSE)
    link, state = _states(system, interface)
    if link != "up" or state != CONNECTED:
        raise NetworkError(
            f"cannot bring {interface} up again: after {' '.join(command)} the link is {link or 'gone'} and "
            f"NetworkManager says {state or 'nothing'}; look at nmcli device show {interface}"
        )
    return f"{interface} was down and is up again after {' '.join(command)}"


def _states(system: System, interface: str) -> tuple[str, str]:
    try:
        link = system.read_text(f"{INTERFACES}/{interface}/operstate").strip()
    except OSError:
        link = ""
    argv = ("nmcli", "-g", "general.state", "device", "show", interface)
    return link, system.run(*argv, reads=True, ok=None).stdout.strip()


def _managed(system: System, profile: DistroProfile, interface: str) -> bool:
    folder = profile.text("network.interface-files")
    try:
        return UNMANAGED.search(system.read_text(f"{folder}/ifcfg-{interface}")) is None
    except OSError:
        return True
