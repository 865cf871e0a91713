"""What brings the firewall rules back at the next boot, before any link is up.

    keep(system, profile, address, uid)    have it for the tool that works here; true if anything changed
    forget(system)                         nothing is brought back; true if something was

A file of ready-made rules, which waagent-firewall.service hands to its tool before network-pre.target: no Python
runs for it, and the rules are there when the first link comes up, even if the agent does not start. The unit is
shipped, so nothing has to be written below /usr; without the file it does nothing.

    /var/lib/waagent/firewall.nft        for nft -f; replaces our own table
    /var/lib/waagent/firewall.iptables   for iptables-restore --noflush

A running firewalld would lose what iptables was told before it starts, so there its permanent rules do the same and
the file goes. It leaves a table of nft alone that is not its own, so rules of nft never need it.

Source: guest-operations 3.6; field demand 41.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.machine import firewall
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

# Not below Lib.Dir: the unit is the same on every machine.
FOLDER = "/var/lib/waagent"
FILES = {"nft": f"{FOLDER}/firewall.nft", "iptables": f"{FOLDER}/firewall.iptables"}


def keep(system: System, profile: DistroProfile, address: str, uid: int = 0) -> bool:
    """Raises FirewallError, SystemRefused."""
    ways = profile.texts("firewall.persist")
    tool = firewall.tool(system, profile)
    if tool == "iptables" and "firewalld" in ways and firewall.firewalld_runs(system):
        added = firewall.persist(system, profile, address, uid)
        return forget(system) or added
    if tool not in FILES or "systemd-unit" not in ways:
        return False
    rules = firewall.nft_script(address, uid) if tool == "nft" else iptables_script(address, uid)
    system.make_directory(FOLDER, 0o711)
    written = system.write(FILES[tool], rules, mode=0o600)
    others = [system.remove(path) for name, path in FILES.items() if name != tool]
    return written or any(others)


def forget(system: System) -> bool:
    removed = [system.remove(path) for path in FILES.values()]
    return any(removed)


def iptables_script(address: str, uid: int) -> str:
    """As iptables-restore reads it."""
    rules = firewall.iptables_rules(address, uid).values()
    return "\n".join(["*security", *(" ".join(("-A", *rule)) for rule in rules), "COMMIT", ""])
