"""Send the events that wait to the platform: how the stages went, what extensions did, what failed.

`waagent telemetry` shows what waits, as it would be sent. What the platform did not take stays for the next run,
within bounds; what it refused is dropped and counted. With telemetry switched off nothing is written down, nothing
is sent, and what still waits is removed.

Reads     Telemetry.Enabled, HttpProxy.*
Changes   LIB/events/; the platform's view of this VM
Skips     when telemetry is switched off, or the wire server was not found
Fails     FabricUnreachable, when the platform does not take events now; they are kept
"""

from __future__ import annotations

from waagent import events
from waagent.fabric import cache, session
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.telemetry.columns import Columns
from waagent.telemetry.send import send

MODULE = Module(
    summary="Send events to the platform",
    frequency="always",
    every=60,
    watching=("/var/lib/waagent/events",),
    reads=("Telemetry.Enabled", "HttpProxy.*"),
    limit=180.0,
)


def run(ctx: Context) -> Outcome:
    waiting = events.waiting(ctx.system, ctx.lib)
    if not ctx.config.switch("Telemetry.Enabled"):
        events.forget(ctx.system, ctx.lib, () if ctx.system.planning else waiting)
        return skipped("telemetry is switched off")
    if not waiting:
        return unchanged("no event waits")
    where = ctx.fact("fabric.endpoint")
    if where is None:
        return skipped("the wire server was not found")
    if ctx.system.planning:
        return unchanged(f"{len(waiting)} files of events would be sent")
    state = cache.read(ctx.system, ctx.lib)
    known = Columns.of(ctx.system, ctx.fact, state.names if state is not None else None)
    wire = session.open_session(ctx.system, ctx.config, where, ctx.lib, ctx.note).wire
    sent = send(ctx.system, ctx.lib, wire.telemetry, known)
    for name, why in sent.unusable.items():
        ctx.note(f"{name} is no event, removed: {why}")
    if sent.refused or sent.oversize:
        ctx.note(f"{sent.refused} events were refused, {sent.oversize} too big; they are lost. {sent.why_refused}")
    if sent.failed is not None:
        raise sent.failed
    left = f"; {sent.left} files wait for the next run" if sent.left else ""
    return changed(f"sent {sent.sent} event{'s' if sent.sent != 1 else ''}{left}")
