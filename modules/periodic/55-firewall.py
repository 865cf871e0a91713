"""Look whether the rules that guard the wire server are still there and work; set them again if not.

Something that loads its own rules may have flushed ours. What was missing is said once in a boot; who removes rules
again and again finds three lines about it in twelve hours, and the rules set again every time. Once in a boot, and
after each repair, it is tried whether the rules do what they say.

Reads     OS.EnableFirewall, OS.EnableFirewallPeriod, Debug.FirewallRulesLogPeriod
Changes   what the step firewall of the stage network changes; /run/waagent/firewall.json
Skips     as that step does
Fails     FirewallError, also when any account gets through to the wire server although the rules are there
"""

from __future__ import annotations

from waagent.machine import firewall
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import wire_guard

MODULE = Module(
    summary="Keep the rules that guard the wire server",
    frequency="always",
    every="OS.EnableFirewallPeriod",
    reads=("OS.EnableFirewall", "OS.EnableFirewallPeriod", "Debug.FirewallRulesLogPeriod"),
    limit=60.0,
)

MOST_SAID, SILENCE = 3, 12 * 3600.0


def run(ctx: Context) -> Outcome:
    address, why = wire_guard.whom(ctx.config, ctx.fact("provisioning.by"), ctx.fact("fabric.endpoint"))
    if not address:
        return skipped(why)
    guarded = wire_guard.have(ctx.system, ctx.profile, address)
    if not guarded.tool:
        return skipped(wire_guard.no_tool(ctx.profile))
    memory = wire_guard.remembered(ctx.system)
    now = ctx.system.clock.boot()
    repairs = [at for at in memory.get("repairs", []) if now - at < SILENCE]
    if guarded.missing:
        repairs.append(now)
        memory.update(repairs=repairs[-MOST_SAID - 1 :])
        memory.pop("works", None)
        if not memory.get("said"):
            ctx.note(
                f"of the rules that guard {address} were missing: {', '.join(guarded.missing)}; who loads rules of "
                "his own may have flushed ours, OS.EnableFirewall=n leaves it at that"
            )
            memory["said"] = True
    if now - memory.get("listed", -1e9) >= ctx.config.integer("Debug.FirewallRulesLogPeriod"):
        ctx.note(firewall.listing(ctx.system, ctx.profile))
        memory["listed"] = now
    try:
        if memory.get("works") != address and wire_guard.works(ctx.system, ctx.profile, address):
            memory["works"] = address
    finally:
        wire_guard.remember(ctx.system, memory)
    told = f"only root may talk to {address} ({guarded.tool})"
    if guarded.missing and len(repairs) <= MOST_SAID:
        return changed(f"set the missing rules again: {told}")
    # The effects journal has every repair; the log need not.
    return unchanged(told)
