"""Tell the platform how provisioning ended: ready, or which essential step failed first and why.

A VM that was reported ready tells nothing on later boots. A report that could not be delivered is delivered as soon
as the wire server answers (periodic.goal-state), else by the next boot.

Reads     how the steps of this boot ended; <Lib.Dir>/provisioned
Changes   the platform's view of this VM; <Lib.Dir>/provisioned; the host's key-value pool, where there is one
Forgets   ovf.password, when the VM is ready
Events    ready, failed
Skips     where nobody provisions: this is no Azure VM
Fails     FabricUnreachable, FabricRejected, when the platform could not be told
"""

from __future__ import annotations

from waagent.fabric import session
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report

MODULE = Module(summary="Report to the platform", frequency="per-boot", limit=480.0)


def run(ctx: Context) -> Outcome:
    by, vm_id = str(ctx.fact("provisioning.by", "waagent")), str(ctx.fact("vm.id", ""))
    if by == report.NOBODY:
        return skipped("this is no Azure VM")
    marker = report.read_marker(ctx.system, ctx.lib)
    told = report.decide(by, marker, vm_id, ctx.boot, ctx.system.clock.stamp())
    if told is None:
        return unchanged("the platform knows this VM as ready")

    talk = session.open_session(ctx.system, ctx.config, ctx.fact("fabric.endpoint"), ctx.lib, ctx.note)
    report.settle(ctx.system, lambda: talk.wire, told, ctx.lib, vm_id, ctx.note)
    if not told.ready:
        ctx.emit("failed", description=told.description, summary=told.summary)
        return changed(f"reported to the platform that {told.summary}")
    ctx.forget_secret("ovf.password")
    ctx.emit("ready", vm_id=vm_id)
    return changed("reported ready to the platform")
