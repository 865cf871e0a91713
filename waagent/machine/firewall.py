"""The rules that let only root talk TCP to one address (but DNS, which everybody may), with nft or iptables.

    state(system, profile, address, uid)    State(tool, present, missing); present: all, some, none
    ensure(system, profile, address, uid)   true if rules were set; FirewallError when no tool can
    remove(system, profile, address, uid)   ours only, of every tool; true if any were there
    persist(system, profile, address, uid)  permanent rules of a running firewalld; false where none runs
    firewalld_runs(system)                  listing(system, profile)    the rules in the tool's own words

What brings the rules back at the next boot is firewall_boot.py, whether they work firewall_probe.py.

Nothing but our own is ever touched: with nft that is one table, with iptables three rules in the table
`security`, which nobody else uses. Connections that exist are not cut: only new and invalid ones are dropped.
UDP is not filtered. The tool is the first of the profile's firewall.tools that is installed and answers.

    nft         table ip walinuxagent, chain output (filter, output, priority 0, accept), one rule; all in one go
    iptables    OUTPUT of `security`: accept port 53, accept our uid, drop new and invalid; -w from 1.4.21 on
    firewalld   the same three as permanent pass-throughs, besides the live rules

Source: guest-operations 3; field demands 37 to 43.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent.errors import CommandFailed, FirewallError
from waagent.system import System
from waagent.system.command import Result

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

TABLE = "walinuxagent"
CHAIN = "output"
XTABLES_WAIT = (1, 4, 21)
MOST_COPIES = 99

ALL, SOME, NONE = "all", "some", "none"


class State(NamedTuple):
    tool: str  # nft, iptables; "" when there is none
    present: str
    missing: tuple[str, ...] = ()


def state(system: System, profile: DistroProfile, address: str, uid: int = 0) -> State:
    """How much of the rules is there. Raises FirewallError when the tool cannot tell."""
    name = tool(system, profile)
    if name == "nft":
        return _nft_state(system, address, uid)
    if name == "iptables":
        return _iptables_state(system, address, uid)
    return State("", NONE)


def ensure(system: System, profile: DistroProfile, address: str, uid: int = 0) -> bool:
    """Have all the rules; what is there in part is replaced as a whole. Raises FirewallError."""
    now = state(system, profile, address, uid)
    if not now.tool:
        tried = ", ".join(profile.texts("firewall.tools")) or "any"
        raise FirewallError(
            f"cannot protect {address}: none of {tried} works on this system; install nftables", address=address
        )
    if now.present == ALL:
        return False
    try:
        if now.tool == "nft":
            system.run("nft", "-f", "-", stdin=nft_script(address, uid))
        else:
            _iptables_remove(system, address, uid)
            for rule in iptables_rules(address, uid).values():
                system.run(*_iptables(system), "-A", *rule)
    except CommandFailed as error:
        raise FirewallError(f"cannot set the rules that protect {address}: {error}", address=address) from error
    return True


def remove(system: System, profile: DistroProfile, address: str, uid: int = 0) -> bool:
    """Remove our rules from every tool that is here."""
    removed = False
    if system.which("nft") and _nft_list(system) is not None:
        system.run("nft", "delete", "table", "ip", TABLE)
        removed = True
    if system.which("iptables"):
        removed = _iptables_remove(system, address, uid) or removed
    if firewalld_runs(system):
        removed = _firewalld_remove(system, address, uid) or removed
    return removed


def persist(system: System, profile: DistroProfile, address: str, uid: int = 0) -> bool:
    """Have the permanent rules of firewalld, if it runs; true if they were added. Raises FirewallError."""
    if "firewalld" not in profile.texts("firewall.persist") or not firewalld_runs(system):
        return False
    rules = iptables_rules(address, uid)
    old = ("-t", "security", "-I", *rules["accept DNS"])
    try:
        if _firewalld(system, "--query-passthrough", old).status == 0:
            _firewalld(system, "--remove-passthrough", old, ok=(0,))
        present = [_firewalld(system, "--query-passthrough", _append(rule)).status == 0 for rule in rules.values()]
        if all(present):
            return False
        for there, rule in zip(present, rules.values()):
            if there:
                _firewalld(system, "--remove-passthrough", _append(rule), ok=(0,))
        for rule in rules.values():
            _firewalld(system, "--add-passthrough", _append(rule), ok=(0,))
    except CommandFailed as error:
        raise FirewallError(
            f"cannot make the rules that protect {address} permanent: {error}", address=address
        ) from error
    return True


def tool(system: System, profile: DistroProfile) -> str:
    """The first tool that is installed and answers; "" when there is none."""
    asks = {"nft": ("nft", "list", "tables"), "iptables": ("iptables", "-t", "security", "-S", "OUTPUT")}
    for name in profile.texts("firewall.tools"):
        ask = asks.get(name)
        if ask is not None and system.which(name) and system.run(*ask, reads=True, ok=None).status == 0:
            return name
    return ""


def listing(system: System, profile: DistroProfile) -> str:
    """For people; "" when there is nothing."""
    asks = {
        "nft": ("nft", "list", "table", "ip", TABLE),
        "iptables": ("iptables", "-t", "security", "-L", "OUTPUT", "-nxv"),
    }
    name = tool(system, profile)
    return system.run(*asks[name], reads=True, ok=None).stdout.rstrip() if name else ""


def nft_script(address: str, uid: int) -> str:
    """The whole of our table, replacing what there was of it, in one transaction."""
    return (
        f"add table ip {TABLE}\n"
        f"delete table ip {TABLE}\n"
        f"table ip {TABLE} {{\n"
        f"    chain {CHAIN} {{\n"
        f"        type filter hook output priority 0; policy accept;\n"
        f"        ip daddr {address} tcp dport != 53 meta skuid != {uid} ct state {{ invalid, new }} counter drop\n"
        f"    }}\n"
        f"}}\n"
    )


def iptables_rules(address: str, uid: int) -> dict[str, tuple[str, ...]]:
    """The three rules by name, in their order: chain first, then the match and the target."""
    to = ("OUTPUT", "-d", address, "-p", "tcp")
    return {
        "accept DNS": (*to, "--destination-port", "53", "-j", "ACCEPT"),
        "accept root": (*to, "-m", "owner", "--uid-owner", str(uid), "-j", "ACCEPT"),
        "drop others": (*to, "-m", "conntrack", "--ctstate", "INVALID,NEW", "-j", "DROP"),
    }


def _nft_state(system: System, address: str, uid: int) -> State:
    listed = _nft_list(system)
    if listed is None:
        return State("nft", NONE)
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    rules = [entry["rule"] for entry in listed if "rule" in entry]
    missing = []
    hooked = [each for each in chains if each.get("name") == CHAIN and each.get("hook") == "output"]
    if not hooked or hooked[0].get("type") != "filter":
        missing.append("the chain")
    if len(rules) != 1 or rules[0].get("chain") != CHAIN:
        missing.append("the rule" if not rules else f"one rule instead of {len(rules)}")
    else:
        missing += _nft_lacks(rules[0].get("expr") or [], address, uid)
    return State("nft", SOME if missing else ALL, tuple(missing))


def _nft_lacks(expressions: list[dict[str, Any]], address: str, uid: int) -> list[str]:
    """What the rule's expressions lack."""
    matches = [each["match"] for each in expressions if "match" in each]
    wanted: dict[str, tuple[str, Any, Any]] = {
        "the address": ("==", {"payload": {"protocol": "ip", "field": "daddr"}}, address),
        "the exception of DNS": ("!=", {"payload": {"protocol": "tcp", "field": "dport"}}, 53),
        "the exception of root": ("!=", {"meta": {"key": "skuid"}}, uid),
    }
    lacks = [
        name
        for name, (op, left, right) in wanted.items()
        if not any((each.get("op"), each.get("left"), each.get("right")) == (op, left, right) for each in matches)
    ]
    if not any(each.get("left") == {"ct": {"key": "state"}} for each in matches):
        lacks.append("the restriction to new connections")
    if not any("drop" in each for each in expressions):
        lacks.append("the drop")
    return lacks


def _nft_list(system: System) -> list[dict[str, Any]] | None:
    """What is in our table; None when there is none."""
    answer = system.run("nft", "--json", "list", "table", "ip", TABLE, reads=True, ok=None)
    if answer.status != 0:
        return None
    try:
        listed = json.loads(answer.stdout)["nftables"]
        return [entry for entry in listed if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError) as error:
        raise FirewallError(f"cannot read the firewall rules: nft printed no JSON listing ({error})") from error


def _iptables_state(system: System, address: str, uid: int) -> State:
    command = _iptables(system)
    missing = []
    for name, rule in iptables_rules(address, uid).items():
        answer = system.run(*command, "-C", *rule, reads=True, ok=None)
        if answer.status == 1:
            missing.append(name)
        elif answer.status != 0:
            raise FirewallError(f"cannot read the firewall rules: {answer.stderr.strip() or answer.status}")
    present = ALL if not missing else NONE if len(missing) == 3 else SOME
    return State("iptables", present, tuple(missing))


def _iptables_remove(system: System, address: str, uid: int) -> bool:
    """Delete our rules as often as they are there, and the one of an old agent that would let everybody pass."""
    command = _iptables(system)
    rules = iptables_rules(address, uid)
    legacy = (*rules["drop others"][:-1], "ACCEPT")
    removed = False
    for rule in (*rules.values(), legacy):
        for _ in range(MOST_COPIES):
            if system.run(*command, "-C", *rule, reads=True, ok=None).status != 0:
                break
            removed = True
            if system.run(*command, "-D", *rule, ok=(0, 1)).status == 1 or system.planning:
                break
    return removed


def _iptables(system: System) -> tuple[str, ...]:
    """The command with its table, waiting for the lock where it can."""
    told = system.run("iptables", "--version", reads=True, ok=None).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", told)
    old = found is not None and tuple(map(int, found.groups())) < XTABLES_WAIT
    return ("iptables", "-t", "security") if old else ("iptables", "-w", "-t", "security")


def firewalld_runs(system: System) -> bool:
    if system.which("firewall-cmd") is None:
        return False
    answer = system.run("firewall-cmd", "--state", reads=True, ok=None)
    return answer.status == 0 and answer.stdout.strip() == "running"


def _append(rule: tuple[str, ...]) -> tuple[str, ...]:
    return ("-t", "security", "-A", *rule)


def _firewalld(system: System, verb: str, rule: tuple[str, ...], ok: tuple[int, ...] | None = None) -> Result:
    argv = ("firewall-cmd", "--permanent", "--direct", verb, "ipv4", *rule)
    return system.run(*argv, reads=verb.startswith("--query"), ok=ok)


def _firewalld_remove(system: System, address: str, uid: int) -> bool:
    removed = False
    for rule in iptables_rules(address, uid).values():
        if _firewalld(system, "--query-passthrough", _append(rule)).status == 0:
            removed = _firewalld(system, "--remove-passthrough", _append(rule)).status == 0 or removed
    return removed
