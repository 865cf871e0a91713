"""Collect the logs of agent, extensions and system for support, and hand them to the host.

The collector is a program of its own, in a scope that limits what it uses, and it takes secrets out. The first
collection waits, so that short-lived machines are spared. A collector that cannot be confined, or uses more than
its share, is not started again before the next boot; nor is one that was put into the wrong place three times
running. What the host does not take is not sent again: the next collection has it too.

Reads     Logs.Collect, Logs.CollectPeriod, Debug.LogCollectorInitialDelay, Debug.EnableCgroupV2ResourceLimiting,
          CGroups.Enabled, Lib.Dir
Changes   LIB/logcollector/; /run/waagent/log-collection.json; the platform's store of logs
Skips     with Logs.Collect=n, without a way to limit the collector (found before or by itself), before its time,
          and without a wire server
Fails     MachineError when the collector fails, FabricError when the host does not take the archive
"""

from __future__ import annotations

import json
from typing import Any

from waagent.errors import MachineError
from waagent.fabric import cache, session
from waagent.logs import scope
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Collect logs for support and upload them",
    frequency="always",
    every=300,
    reads=(
        "Logs.Collect", "Logs.CollectPeriod", "Debug.LogCollectorInitialDelay",
        "Debug.EnableCgroupV2ResourceLimiting", "CGroups.Enabled", "Lib.Dir",
    ),
    limit=3600.0,
)  # fmt: skip

RECORD = "/run/waagent/log-collection.json"
ARCHIVE = "logcollector/logs.zip"
MISPLACED_OFTEN = 3
WHY = {scope.NO_CGROUPS: "it has no control groups", scope.TOO_MUCH: "it used more than its share"}


def run(ctx: Context) -> Outcome:
    config, now = ctx.config, ctx.system.clock.boot()
    if not config.switch("Logs.Collect"):
        return skipped("Logs.Collect=n")
    if not config.switch("CGroups.Enabled") or not ctx.profile.switch("cgroups.supported"):
        return skipped("what a collection uses cannot be limited: control groups are not used here")
    impossible = scope.possible(ctx.system, limiting=config.switch("Debug.EnableCgroupV2ResourceLimiting"))
    if impossible:
        return skipped(f"what a collection uses cannot be limited: {impossible}")
    record = _record(ctx)
    if record.get("off"):
        return skipped(f"no collection any more in this boot: {record['off']}")
    due = float(record.get("next", config.integer("Debug.LogCollectorInitialDelay")))
    if now < due:
        return skipped(f"the next collection is in {due - now:.0f} s")
    state = cache.read(ctx.system, ctx.lib)
    if state is None:
        return skipped("the wire server was not found")
    program = f"{ctx.profile.text('paths.programs') or '/usr/sbin'}/waagent"
    ran = ctx.system.run(*scope.command(ctx.system, program), ok=None, limit=MODULE.limit - 60)
    misplaced = int(record.get("misplaced", 0)) + 1 if ran.status == scope.MISPLACED else 0
    off = WHY.get(ran.status, "")
    if misplaced >= MISPLACED_OFTEN:
        off = f"it was put into the wrong place {misplaced} times running"
    after = ctx.system.clock.boot() + config.integer("Logs.CollectPeriod")
    if not ctx.system.planning:
        text = json.dumps({"next": round(after, 1), "misplaced": misplaced, "off": off})
        quiet = ctx.system.quietly()
        quiet.make_directory("/run/waagent", 0o755)
        quiet.write(RECORD, text, mode=0o600)
    if ran.status != 0:
        told = (ran.stderr.strip() or f"exit status {ran.status}").splitlines()[-1]
        told = f"{told}; " + (f"not tried again in this boot: {off}" if off else "tried again later")
        if ran.status in (scope.NO_CGROUPS, scope.MISPLACED):  # as in a container: the machine has no such limits
            return skipped(told)
        raise MachineError(told)
    if ctx.system.planning:
        return unchanged("would upload what was collected")
    archive = ctx.system.read(f"{ctx.lib}/{ARCHIVE}")
    talk = session.open_session(ctx.system, config, state.endpoint, ctx.lib, ctx.note)
    talk.plugin.goal = state.goal
    talk.plugin.upload_log(archive)
    return changed(f"collected and uploaded {len(archive)} bytes; next in {config.integer('Logs.CollectPeriod')} s")


def _record(ctx: Context) -> dict[str, Any]:
    try:
        return dict(json.loads(ctx.system.read_text(RECORD)))
    except (OSError, ValueError, TypeError):
        return {}
