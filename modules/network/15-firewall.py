"""Let only root talk to the wire server: it hands out the machine's secrets to whoever asks.

With nft the rules are one table of our own, with iptables three rules in a table that nobody else uses; whatever
rules the administrator has are neither read nor changed, connections that exist are not cut. DNS is for everybody,
and what the platform's load balancer asks this machine is answered. At the next boot the rules are there before the
network.

Reads     OS.EnableFirewall
Changes   the table walinuxagent of nft, or three rules in the table security of iptables;
          /var/lib/waagent/firewall.*, or the permanent rules of a running firewalld
Skips     when OS.EnableFirewall=n (what is there stays: waagent firewall --remove), where nothing on this system
          can filter, where nobody provisions
Fails     FirewallError; the periodic step firewall tries again
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import wire_guard

MODULE = Module(
    summary="Let only root talk to the wire server",
    frequency="always",
    reads=("OS.EnableFirewall",),
    limit=60.0,
)


def run(ctx: Context) -> Outcome:
    address, why = wire_guard.whom(ctx.config, ctx.fact("provisioning.by"), ctx.fact("fabric.endpoint"))
    if not address:
        return skipped(why)
    guarded = wire_guard.have(ctx.system, ctx.profile, address)
    if not guarded.tool:
        why = wire_guard.no_tool(ctx.profile)
        ctx.note(f"every account of this machine can talk to {address}: {why}")
        return skipped(why)
    told = f"only root may talk to {address} ({guarded.tool})"
    return changed(told) if guarded.changed else unchanged(told)
