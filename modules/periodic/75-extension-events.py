"""Collect the events that handlers of extensions have written for the platform's people.

Looks only where a handler has a folder of events, and only when something came into one. What is valid waits in the
agent's own spool until it is sent; the handlers' folders are empty afterwards. With telemetry switched off they are
emptied and nothing is kept: nobody else would ever do it.

Reads     Telemetry.Enabled, Extension.LogDir
Changes   Extension.LogDir/NAME/events/, LIB/events/
Skips     when no handler has a folder of events
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.telemetry import extension_events

MODULE = Module(
    summary="Collect the events of extensions",
    frequency="always",
    every="Debug.EtpCollectionPeriod",
    watching=("/var/log/azure/*/events",),
    reads=("Telemetry.Enabled", "Extension.LogDir"),
    limit=120.0,
)

LOGS = "/var/log/azure"


def run(ctx: Context) -> Outcome:
    logs = ctx.config.text("Extension.LogDir") or LOGS
    if not extension_events.folders(ctx.system, logs):
        return skipped("no extension has a folder of events")
    if ctx.system.planning:
        return unchanged("events would be collected")
    told = extension_events.collect(ctx.system, logs, ctx.lib, wanted=ctx.config.switch("Telemetry.Enabled"))
    for handler, collected in told.items():
        if collected.dropped or collected.troubles:
            ctx.note(f"events of {handler}: {collected}")
    if not told:
        return unchanged("no new events")
    return changed(f"events collected: {', '.join(f'{one.taken} of {handler}' for handler, one in told.items())}")
