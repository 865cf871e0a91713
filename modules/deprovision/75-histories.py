"""Delete what root typed, and other small memories of this machine.

The shell that is open now writes its history when it ends: unset HISTFILE in it before.

Changes   the files of the profile's deprovision.remove

Source: provisioning 5.2 row 11.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(summary="Delete histories", frequency="always")


def run(ctx: Context) -> Outcome:
    gone = cleaning.remove(ctx.system, ctx.profile.texts("deprovision.remove"))
    return changed(f"deleted {', '.join(gone)}") if gone else unchanged("there are none")
