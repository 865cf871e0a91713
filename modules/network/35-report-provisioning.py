"""Tell the platform that provisioning has begun.

Only for an instance that this agent provisions and that was not reported ready yet. It is a courtesy: the boot does
not wait long for it, and the report at the end counts.

Reads     <Lib.Dir>/provisioned
Changes   the platform's view of this VM: NotReady, Provisioning
Skips     when the goal state was not fetched; when the VM was reported ready
Fails     FabricUnreachable, FabricRejected; nothing depends on it
"""

from __future__ import annotations

from waagent.fabric import health, session
from waagent.fabric.retry import Policy
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report

MODULE = Module(
    summary="Tell the platform that provisioning has begun",
    frequency="per-instance",
    when=("provisioning.by=waagent",),
    limit=60.0,
)

BRIEFLY = Policy(attempts=4, base=2.0, fixed=True, total=30.0, throttled_attempts=4)


def run(ctx: Context) -> Outcome:
    if report.is_reported(report.read_marker(ctx.system, ctx.lib), str(ctx.fact("vm.id", ""))):
        return unchanged("the platform knows this VM as ready")
    if ctx.fact("fabric.container_id") is None:
        return skipped("the goal state was not fetched")
    wire = session.open_session(ctx.system, ctx.config, ctx.fact("fabric.endpoint"), ctx.lib, ctx.note).wire
    wire.report_not_ready(wire.goal_state(BRIEFLY), health.PROVISIONING, "Starting", BRIEFLY)
    return changed("told the platform that provisioning has begun")
