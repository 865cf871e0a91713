"""Let only root talk to the wire server: what the steps firewall and the verb have in common.

    whom(config, by, known)              the address to guard, or "" and why nothing is guarded here; by is the fact
                                         provisioning.by
    address(known)                       whom to guard: the host of the fact fabric.endpoint, else 168.63.129.16;
                                         None for a host that is this machine, or no IPv4 address (tests)
    have(system, profile, address)       Guarded: have the rules, now and at the next boot
    works(system, profile, address)      true: tried, and so it is; false: could not be tried. FirewallError if
                                         anybody gets through
    remembered(system), remember(…)      what was said and tried in this boot, so that it is said and tried once

Guarded
    tool       nft or iptables; "" when nothing on this system can filter, and then nothing was done
    missing    what was not there before, in words; () when all was
    changed    whether anything was set or written

Source: guest-operations 3; field demands 37 to 43.
"""

from __future__ import annotations

import json
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent.errors import FirewallError
from waagent.fabric import endpoint
from waagent.machine import firewall, firewall_boot, firewall_probe
from waagent.provisioning import report

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile
    from waagent.system import System

FOLDER, MEMORY = "/run/waagent", "/run/waagent/firewall.json"


class Guarded(NamedTuple):
    tool: str
    missing: tuple[str, ...]
    changed: bool


def address(known: str | None) -> str | None:
    host = endpoint.parse(known).host if known else endpoint.WIRE_SERVER
    try:
        return None if IPv4Address(host).is_loopback else host
    except AddressValueError:
        return None


def whom(config: Config, by: str | None, known: str | None) -> tuple[str, str]:
    if not config.switch("OS.EnableFirewall"):
        return "", "OS.EnableFirewall=n"
    if by == report.NOBODY:
        return "", "this is no Azure VM"
    found = address(known)
    return (found, "") if found else ("", f"{known} is no address of the platform")


def have(system: System, profile: DistroProfile, guarded: str) -> Guarded:
    before = firewall.state(system, profile, guarded)
    if not before.tool:
        return Guarded("", (), False)
    missing = before.missing if before.present == firewall.SOME else ("all rules",)
    was_set = firewall.ensure(system, profile, guarded)
    kept = firewall_boot.keep(system, profile, guarded)
    return Guarded(before.tool, missing if was_set else (), was_set or kept)


def no_tool(profile: DistroProfile) -> str:
    """Why nothing can be guarded here."""
    tools = profile.texts("firewall.tools")
    return f"none of {', '.join(tools)} works on this system" if tools else "no firewall of this system is known"


def works(system: System, profile: DistroProfile, guarded: str) -> bool:
    seen = firewall_probe.look(system, guarded, endpoint.WIRE_PORT)
    if seen == firewall_probe.OPEN:
        tool = firewall.tool(system, profile)
        raise FirewallError(
            f"cannot protect {guarded}: every account of this machine can talk to it, although the rules of {tool} "
            f"are there; look for rules that accept before ours, and whether the kernel has the modules of {tool}",
            address=guarded,
        )
    return seen == firewall_probe.GUARDED


def remembered(system: System) -> dict[str, Any]:
    try:
        found = json.loads(system.read_text(MEMORY))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(system: System, memory: dict[str, Any]) -> None:
    quiet = system.quietly()
    quiet.make_directory(FOLDER)
    quiet.write(MEMORY, json.dumps(memory))
