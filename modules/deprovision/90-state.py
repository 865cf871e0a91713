"""Delete the state of the agent: instances with their secrets, certificates, extensions, custom data.

Last of what goes, because a run that is cut off before starts again from what is written there.

Reads     Lib.Dir
Changes   the contents of Lib.Dir
Fails     SystemRefused when something is mounted in it

Source: provisioning 5.2 rows 10 and 15.
"""

from __future__ import annotations

from waagent.machine import cleaning, swap
from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.system.effects import JOURNAL

MODULE = Module(summary="Delete the state of the agent", frequency="always", reads=("Lib.Dir",), limit=300.0)


def run(ctx: Context) -> Outcome:
    for path in swap.active(ctx.system):
        if path.startswith(f"{ctx.lib}/"):
            ctx.system.run("swapoff", path, limit=240)
    gone = cleaning.empty(ctx.system, ctx.lib)
    if not JOURNAL.startswith(f"{ctx.lib}/"):
        gone += cleaning.remove(ctx.system, [JOURNAL])
    return changed(f"emptied {ctx.lib} ({len(gone)} entries)") if gone else unchanged(f"{ctx.lib} is empty")
