"""What the network looks like, as text to compare and to log: links, addresses, routes.

snapshot(system) -> {"link eth0": "up 00:0d:3a:01:02:03", "addresses of eth0": "10.0.0.4/24 fe80::1/64",
                     "route to 0.0.0.0/0 by eth0": "over 10.0.0.1, metric 100"}
changes(before, now) -> one line for each entry that came, went or differs

Source: guest-operations 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.machine import network
from waagent.system import System

if TYPE_CHECKING:
    from collections.abc import Mapping


def snapshot(system: System) -> dict[str, str]:
    found = {}
    for name in system.listing(network.INTERFACES):
        try:
            state = system.read_text(f"{network.INTERFACES}/{name}/operstate").strip()
        except OSError:
            continue  # not a link, or gone again
        found[f"link {name}"] = f"{state} {network.mac(system, name)}".strip()
    if system.which("ip") is not None:
        for line in system.run("ip", "-o", "addr", "show", reads=True, ok=None).stdout.splitlines():
            words = line.split()  # 2: eth0 inet 10.0.0.4/24 brd …
            if len(words) > 3 and words[2] in ("inet", "inet6"):
                key = f"addresses of {words[1]}"
                found[key] = " ".join(sorted([*found.get(key, "").split(), words[3]]))
    for route in network.routes(system):
        over = f"over {route.gateway}" if route.gateway is not None else "on the link"
        found[f"route to {route.network} by {route.interface}"] = f"{over}, metric {route.metric}"
    return found


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    lines = []
    for key in sorted({*before, *now}):
        if before.get(key) == now.get(key):
            continue
        if key not in before:
            lines.append(f"{key}: {now[key]}")
        elif key not in now:
            lines.append(f"{key} is gone: {before[key]}")
        else:
            lines.append(f"{key}: {now[key]}, was {before[key]}")
    return lines
