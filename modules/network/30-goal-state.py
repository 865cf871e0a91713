"""Fetch the goal state with all its documents, and open the certificates that came with it.

At boot everything is fetched, whatever was known: a machine that was resumed or made from an image can have new
certificates under an old number.

Reads     OS.OpensslPath, Debug.EnableFastTrack, Extensions.GoalStatePeriod, HttpProxy.*
Changes   <Lib.Dir>/goal-state.json, TransportPrivate.pem and TransportCert.pem, <thumbprint>.crt and .prv (all
          0600), SharedConfig.xml, GoalState.1.xml (a placeholder), history/ (what was new, without secrets)
Publishes fabric.container_id, .role_instance_id, .role_config_name, .incarnation, .thumbprints
Skips     when the wire server was not found in this boot: the watcher fetches the goal state once it is there
Fails     FabricUnreachable, FabricRejected, GoalStateInvalid; the last good goal state stays in force
"""

from __future__ import annotations

from waagent.fabric import session
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Fetch the goal state and the certificates",
    frequency="per-boot",
    reads=("OS.OpensslPath", "Debug.EnableFastTrack", "Extensions.GoalStatePeriod", "HttpProxy.*"),
    limit=300.0,
)


def run(ctx: Context) -> Outcome:
    endpoint = ctx.fact("fabric.endpoint")  # kept from boot to boot
    lost = any((result.stage, result.step, result.kind) == ("network", "endpoint", "failed") for result in ctx.boot)
    if endpoint is None or lost:
        return skipped("the wire server was not found")
    before, now = session.open_session(ctx.system, ctx.config, endpoint, ctx.lib, ctx.note).update(force=True)
    for name, value in session.facts(now).items():
        ctx.publish(f"fabric.{name}", value)
    told = f"goal state {now.goal.incarnation}, {len(now.thumbprints)} certificates"
    if before is not None and (before.goal, before.thumbprints) == (now.goal, now.thumbprints):
        return unchanged(told)
    return changed(told)
