"""Fetch the goal state that the watcher saw coming, with its certificates, for the steps that act on it.

Also delivers the report of provisioning that the final stage could not: the wire server answers now.

Reads     OS.OpensslPath, Debug.EnableFastTrack, Extensions.GoalStatePeriod, HttpProxy.*; how final.report ended
Changes   <Lib.Dir>/goal-state.json, <thumbprint>.crt and .prv, SharedConfig.xml, GoalState.1.xml, history/;
          <Lib.Dir>/provisioned
Publishes fabric.*
Skips     where nobody provisions: this is no Azure VM
Fails     FabricUnreachable, FabricRejected, GoalStateInvalid; the last good goal state stays in force, the watcher
          asks again
"""

from __future__ import annotations

from waagent.errors import FabricError
from waagent.fabric import session
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report

MODULE = Module(
    summary="Fetch the new goal state",
    frequency="always",
    on=("goal-state",),
    reads=("OS.OpensslPath", "Debug.EnableFastTrack", "Extensions.GoalStatePeriod", "HttpProxy.*"),
    limit=900.0,
)


def run(ctx: Context) -> Outcome:
    if ctx.fact("provisioning.by") == report.NOBODY:
        return skipped("this is no Azure VM")
    talk = session.open_session(ctx.system, ctx.config, ctx.fact("fabric.endpoint"), ctx.lib, ctx.note)
    before, now = talk.update()
    for name, value in session.facts(now).items():
        if ctx.fact(f"fabric.{name}") != value:
            ctx.publish(f"fabric.{name}", value)
    _deliver_late(ctx, talk)
    desired = now.desired.identity if now.desired is not None else "no extensions"
    told = f"goal state {now.goal.incarnation} ({desired}), {len(now.thumbprints)} certificates"
    if before is not None and (before.goal, before.desired) == (now.goal, now.desired):
        return unchanged(told)
    return changed(told)


def _deliver_late(ctx: Context, talk: session.Session) -> None:
    """The report that final.report owes, if it ran in this boot and failed."""
    owed = any((result.stage, result.step, result.kind) == ("final", "report", "failed") for result in ctx.boot)
    vm_id = str(ctx.fact("vm.id", ""))
    marker = report.read_marker(ctx.system, ctx.lib)
    if not owed or report.is_reported(marker, vm_id):
        return
    by = str(ctx.fact("provisioning.by", "waagent"))
    told = report.decide(by, marker, vm_id, ctx.boot, ctx.system.clock.stamp())
    if told is None:
        return
    try:
        report.settle(ctx.system, lambda: talk.wire, told, ctx.lib, vm_id, ctx.note)
    except FabricError as error:
        ctx.note(str(error))
        return
    ctx.note(f"told the platform late: {told.summary}")
    if told.ready:
        ctx.forget_secret("ovf.password")
        ctx.emit("ready", vm_id=vm_id)
