"""Log what changes in the network: links, addresses, routes.

For support of machines whose connection comes and goes. The first time says what there is.

Reads     Monitor.NetworkConfigurationChanges
Changes   /run/waagent/network.json
Skips     when Monitor.NetworkConfigurationChanges=n
"""

from __future__ import annotations

import json

from waagent.machine import links
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Log changes of the network",
    frequency="always",
    every=60,
    watching=(
        "/proc/net/route", "/proc/net/if_inet6", "/sys/class/net/*/operstate", "/sys/class/net/*/address",
    ),
    reads=("Monitor.NetworkConfigurationChanges",),
)  # fmt: skip

FOLDER, MEMORY = "/run/waagent", "/run/waagent/network.json"
MOST_LINES = 100


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Monitor.NetworkConfigurationChanges"):
        return skipped("Monitor.NetworkConfigurationChanges=n")
    now = links.snapshot(ctx.system)
    lines = links.changes(_before(ctx), now)
    if not lines:
        return unchanged("the network is as it was")
    for line in lines[:MOST_LINES]:
        ctx.note(line)
    quiet = ctx.system.quietly()
    quiet.make_directory(FOLDER)
    quiet.write(MEMORY, json.dumps(now))
    return changed(f"{len(lines)} changes in the network")


def _before(ctx: Context) -> dict[str, str]:
    try:
        found = json.loads(ctx.system.read_text(MEMORY))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
