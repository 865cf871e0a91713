"""Delete logs: the agent's, those of extensions, the journal, and those that name people.

The journal goes to memory from here on, so that what is logged until the machine stops is not in the image. Other
logs that are written by name are emptied, what logrotate made of them is removed.

Reads     Extension.LogDir
Changes   the profile's paths.log and deprovision.logs with their rotated forms, /var/log/journal, Extension.LogDir

Source: provisioning 5.2 rows 10 and 11.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.provisioning import traces
from waagent.provisioning.deprovision import requested

MODULE = Module(summary="Delete logs", frequency="always", reads=("Extension.LogDir",), limit=300.0)


def run(ctx: Context) -> Outcome:
    system = ctx.system
    journals = system.listing(traces.JOURNAL)
    if journals and not requested(ctx.event_data).offline and system.which("journalctl") is not None:
        system.run("journalctl", "--relinquish-var", ok=None)
    gone = cleaning.empty(system, traces.JOURNAL)
    gone += cleaning.empty(system, ctx.config.text("Extension.LogDir") or "/var/log/azure")
    for path in ctx.profile.texts("deprovision.logs"):
        gone += cleaning.remove(system, traces.rotated(path))
        if cleaning.clear(system, path):
            gone.append(path)
    gone += cleaning.remove(system, traces.agent_logs(ctx.profile))
    return changed(f"deleted {len(gone)} logs") if gone else unchanged("there are none")
