"""Have the hooks of on-deprovision run, while all that will go is still there.

Events    deprovision, with delete_user, user and offline
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, unchanged
from waagent.provisioning import deprovision

MODULE = Module(summary="Run the hooks of on-deprovision", frequency="always")


def run(ctx: Context) -> Outcome:
    ctx.emit(deprovision.EVENT, **deprovision.requested(ctx.event_data).data())
    return unchanged("the hooks of on-deprovision run now")
