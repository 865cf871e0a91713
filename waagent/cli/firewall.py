"""waagent firewall: whether only root can talk to the wire server; set the rules, or take them away.

    waagent firewall              the rules as they are, and whether they work
    waagent firewall --set        have them, now and at the next boot, whatever OS.EnableFirewall says
    waagent firewall --remove     take away ours, of every tool, and what would bring them back

With OS.EnableFirewall=y rules that were removed come back within OS.EnableFirewallPeriod. Needs root. Exit status:
0; 1 when the wire server is not guarded, or nothing here can filter.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from waagent.errors import WaagentError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

SUMMARY = "show, set or remove the rules that guard the wire server"


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--set", action="store_true", help="have the rules, now and at the next boot")
    what.add_argument("--remove", action="store_true", help="remove our rules and what brings them back")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.fabric import endpoint
    from waagent.provisioning import wire_guard
    from waagent.runner.situation import situation

    if os.geteuid() != 0:
        print("waagent firewall: needs root", file=sys.stderr)
        return 1
    profile, config = situation(system)
    address = wire_guard.address(_known(system, config.text("Lib.Dir") or "")) or endpoint.WIRE_SERVER
    try:
        if args.remove:
            return _remove(system, profile, address, comes_back=config.switch("OS.EnableFirewall"))
        if args.set:
            return _set(system, profile, address)
        return _show(system, profile, address)
    except WaagentError as error:
        print(f"waagent firewall: {error.message}", file=sys.stderr)
        return 1


def _known(system: System, lib: str) -> str | None:
    try:
        found = json.loads(system.read(f"{lib}/instance/public.json"))["facts"]["fabric"]["endpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _show(system: System, profile: DistroProfile, address: str) -> int:
    from waagent.machine import firewall
    from waagent.provisioning import wire_guard

    state = firewall.state(system, profile, address)
    if not state.tool:
        print(f"every account can talk to {address}: {wire_guard.no_tool(profile)}")
        return 1
    if state.present != firewall.ALL:
        lacks = ", ".join(state.missing) if state.present == firewall.SOME else "all rules"
        print(f"every account can talk to {address}: {lacks} missing ({state.tool})")
        return 1
    tried = "" if wire_guard.works(system, profile, address) else "; it does not answer, so that was not tried"
    print(f"only root can talk to {address} ({state.tool}){tried}")
    print(firewall.listing(system, profile))
    return 0


def _set(system: System, profile: DistroProfile, address: str) -> int:
    from waagent.provisioning import wire_guard

    guarded = wire_guard.have(system, profile, address)
    if not guarded.tool:
        print(f"waagent firewall: cannot protect {address}: {wire_guard.no_tool(profile)}", file=sys.stderr)
        return 1
    print(f"only root may talk to {address}" + ("" if guarded.changed else "; that was so already"))
    return 0


def _remove(system: System, profile: DistroProfile, address: str, *, comes_back: bool) -> int:
    from waagent.machine import firewall, firewall_boot

    removed = any([firewall.remove(system, profile, address), firewall_boot.forget(system)])
    print(f"our rules for {address} are removed" if removed else f"there are no rules of ours for {address}")
    if comes_back:
        print("OS.EnableFirewall=y: they will be set again; say n in waagent.conf to be rid of them")
    return 0


__all__ = ["SUMMARY", "arguments", "main"]
