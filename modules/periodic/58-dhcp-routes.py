"""Bring back the routes that a restart of the DHCP client has lost: the way out, and to the platform's services.

The routes are remembered as long as the client lives; only after it was started anew, or has a new lease, is one
that is missing put back. One that disappears while the client goes on is somebody's decision and stays away. A link
without an address holds up no other: its routes wait until it has one, and are forgotten when it is gone.

Reads     OS.MonitorDhcpClientRestartPeriod, Network.Manage; the DHCP client's process ids and leases
Changes   the default route and those to 168.63.129.16 and 169.254.169.254; /run/waagent/routes.json
Skips     when Network.Manage=n; while there are no such routes
Fails     NetworkError, after the others were restored; tried again at the next period
"""

from __future__ import annotations

import json
from typing import Any

from waagent.errors import NetworkError
from waagent.fabric import endpoint
from waagent.machine import dhcp_routes
from waagent.machine.dhcp_routes import Kept, Remembered
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
    lost, waiting = dhcp_routes.compare(ctx.system, _read(ctx), client)
    restored: list[Kept] = []
    failed: dict[Kept, NetworkError] = {}
    for entry in lost:
        try:
            dhcp_routes.restore(ctx.system, ctx.profile, entry.route)
            restored.append(entry.route)
        except NetworkError as error:
            failed[entry.route] = error
    kept = dhcp_routes.worth_keeping(ctx.system, ctx.profile, ADDRESSES)
    now = [Remembered(route, client) for route in kept]
    _write(ctx, now + waiting + [entry for entry in lost if entry.route in failed])
    told = f"restored the routes to {', '.join(f'{route.destination} over {route.gateway}' for route in restored)}"
    if failed:
        if restored:
            ctx.note(told)
        raise next(iter(failed.values()))
    if restored:
        return changed(told)
    if now:
        return unchanged(f"{len(now)} routes of the DHCP client")
    return skipped(f"{waiting[0].route.interface} has no address yet" if waiting else "there are no routes yet")


def _read(ctx: Context) -> list[Remembered]:
    try:
        found: dict[str, Any] = json.loads(ctx.system.read_text(MEMORY))
        return [Remembered(Kept(*each["route"]), each["client"]) for each in found["routes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write(ctx: Context, routes: list[Remembered]) -> None:
    quiet = ctx.system.quietly()
    if not routes and not quiet.exists(MEMORY):
        return
    quiet.make_directory(FOLDER)
    quiet.write(MEMORY, json.dumps({"routes": [each._asdict() for each in routes]}))
