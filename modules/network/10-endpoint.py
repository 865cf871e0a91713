"""Find the wire server and make sure that it speaks our version of its protocol.

The endpoint that worked last is tried first, then option 245 of the DHCP leases, then 168.63.129.16. A new machine
waits some minutes for its network; a machine that the platform knows as ready does not let a boot wait for it: the
watcher goes on looking.

Reads     Protocol.EndpointDiscovery (static: leases do not count); the DHCP client's leases; <Lib.Dir>/provisioned
Changes   <Lib.Dir>/WireServerEndpoint, <Lib.Dir>/Protocol (other software reads them)
Publishes fabric.endpoint
Skips     where nobody provisions: this is no Azure VM
Fails     FabricUnreachable, when nothing answers in time
"""

from __future__ import annotations

from waagent.fabric import discovery
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


def _lease_files(ctx: Context) -> list[str]:
    """All globs of the profile; the files say themselves whose they are."""
    return [glob for globs in ctx.profile.get("network.leases").values() for glob in globs]
