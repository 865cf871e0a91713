"""Find the wire server and make sure that it speaks our version of its protocol.

The endpoint that worked last is tried first, then option 245 of the DHCP leases, then 168.63.129.16. Where no lease
tells it and no route leads to 168.63.129.16 alone (the platform's DHCP gives one), a DHCP DISCOVER is sent on the
primary interface. A new machine waits some minutes for its network; a machine that the platform knows as ready does
not let a boot wait for it: the watcher goes on looking.

Reads     Protocol.EndpointDiscovery (static: DHCP does not count); the DHCP client's leases; <Lib.Dir>/provisioned
Changes   <Lib.Dir>/WireServerEndpoint, <Lib.Dir>/Protocol (other software reads them); a route to the wire server
          where there is none and the DHCP server names a gateway
Publishes fabric.endpoint
Skips     where nobody provisions: this is no Azure VM
Fails     FabricUnreachable, when nothing answers in time
"""

from __future__ import annotations

from collections.abc import Callable

from waagent.errors import NetworkError
from waagent.fabric import discovery
from waagent.fabric.dhcp import Asker
from waagent.fabric.endpoint import WIRE_SERVER
from waagent.machine import network
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report
from waagent.system.http import Http

MODULE = Module(
    summary="Find the wire server",
    frequency="per-boot",
    reads=("Protocol.EndpointDiscovery",),
    limit=420.0,
)

PATIENCE_NEW, PATIENCE_KNOWN = 300.0, 20.0


def run(ctx: Context) -> Outcome:
    if ctx.fact("provisioning.by") == report.NOBODY:
        return skipped("this is no Azure VM")
    known = ctx.fact("fabric.endpoint") or _saved(ctx)
    dhcp = ctx.config.text("Protocol.EndpointDiscovery") == "dhcp" and ctx.profile.switch("network.dhcp-available")
    is_ready = report.is_reported(report.read_marker(ctx.system, ctx.lib), str(ctx.fact("vm.id", "")))
    found = discovery.find(
        ctx.system,
        Http(ctx.system.clock),
        patience=PATIENCE_KNOWN if is_ready else PATIENCE_NEW,
        globs=_lease_files(ctx),
        known=known,
        dhcp=dhcp,
        ask=_asker(ctx),
        note=ctx.note,
    )
    # Without a line's end: that is how readers of these two files know them.
    ctx.system.write(f"{ctx.lib}/WireServerEndpoint", found.text, mode=0o600)
    ctx.system.write(f"{ctx.lib}/Protocol", "WireProtocol", mode=0o600)
    if ctx.fact("fabric.endpoint") == found.text:
        return unchanged(f"the wire server is at {found.text}")
    ctx.publish("fabric.endpoint", found.text)
    return changed(f"found the wire server at {found.text}")


def _saved(ctx: Context) -> str | None:
    try:
        return ctx.system.read_text(f"{ctx.lib}/WireServerEndpoint").strip()
    except OSError:
        return None


def _asker(ctx: Context) -> Callable[[], str | None] | None:
    """What asks the network itself, where that can bring something."""
    route = network.route_to(ctx.system, WIRE_SERVER)
    interface = network.primary_interface(ctx.system)
    if interface is None or (route is not None and route.network.prefixlen == 32):
        return None
    asker = Asker(ctx.system, interface, network.mac(ctx.system, interface), ctx.note)

    def ask() -> str | None:
        address = asker.wire_server()
        if address is not None and asker.offer is not None:
            _have_a_way(ctx, address, asker.offer.gateway_to(address))
        return address

    return ask


def _have_a_way(ctx: Context, address: str, gateway: str | None) -> None:
    """Over the gateway that the offer names, where no route at all leads to the address."""
    if gateway is None or network.route_to(ctx.system, address) is not None:
        return
    try:
        network.add_route(ctx.system, ctx.profile, f"{address}/32", gateway)
    except NetworkError as error:
        ctx.note(str(error))


def _lease_files(ctx: Context) -> list[str]:
    """All globs of the profile; the files say themselves whose they are."""
    return [glob for globs in ctx.profile.get("network.leases").values() for glob in globs]
