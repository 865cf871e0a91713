"""Bring back the routes that a restart of the DHCP client has lost: the way out, and to the platform's services.

The routes are remembered as long as the client lives; only after it was started anew, or has a new lease, is one
that is missing put back. One that disappears while the client goes on is somebody's decision and stays away.

Reads     OS.MonitorDhcpClientRestartPeriod, Network.Manage; the DHCP client's process ids and leases
Changes   the default route and those to 168.63.129.16 and 169.254.169.254; /run/waagent/routes.json
Skips     when Network.Manage=n, before there are any such routes, until the interface has its address again
Fails     NetworkError; tried again at the next period
"""

from __future__ import annotations

import json
from typing import Any

from waagent.fabric import endpoint
from waagent.machine import dhcp_routes
from waagent.machine.dhcp_routes import Kept
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Restore routes after a restart of the DHCP client",
    frequency="always",
    every="OS.MonitorDhcpClientRestartPeriod",
    watching=(
        # A lost route shows in the first; a client that is started anew, or has a new lease, in the others.
        "/proc/net/route", "/run/dhclient*.pid", "/run/dhcpcd*.pid", "/run/dhcpcd/*.pid", "/var/lib/dhcp/dhclient*",
        "/var/lib/dhclient/*", "/var/lib/NetworkManager/*.lease", "/var/lib/dhcpcd*/*.lease",
        "/run/systemd/netif/leases/*", "/run/NetworkManager/devices/*", "/var/db/dhclient.leases.*",
    ),
    reads=("OS.MonitorDhcpClientRestartPeriod", "Network.Manage"),
)  # fmt: skip

FOLDER, MEMORY = "/run/waagent", "/run/waagent/routes.json"
ADDRESSES = (endpoint.WIRE_SERVER, endpoint.METADATA_SERVICE)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Network.Manage"):
        return skipped("Network.Manage=n")
    client = dhcp_routes.client(ctx.system, ctx.profile)
    before, kept = _read(ctx)
    restored = []
    if kept and client != before:
        lost = dhcp_routes.lost(ctx.system, kept)
        waiting = [route.interface for route in lost if not dhcp_routes.reachable(ctx.system, route)]
        if waiting:
            return skipped(f"{waiting[0]} has no address yet")
        for route in lost:
            dhcp_routes.restore(ctx.system, ctx.profile, route)
            restored.append(f"{route.destination} over {route.gateway}")
    now = dhcp_routes.worth_keeping(ctx.system, ctx.profile, ADDRESSES)
    if now:
        _write(ctx, client, now)
    if restored:
        return changed(f"restored the routes to {', '.join(restored)}")
    return unchanged(f"{len(now)} routes of the DHCP client") if now else skipped("there are no routes yet")


def _read(ctx: Context) -> tuple[list[str], list[Kept]]:
    try:
        found: dict[str, Any] = json.loads(ctx.system.read_text(MEMORY))
        return found["client"], [Kept(*route) for route in found["routes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], []


def _write(ctx: Context, client: list[str], routes: list[Kept]) -> None:
    quiet = ctx.system.quietly()
    quiet.make_directory(FOLDER)
    quiet.write(MEMORY, json.dumps({"client": client, "routes": routes}))
