"""Delete what DHCP clients remember: leases lead a new machine to the address and the host of the old one.

Changes   the contents of the profile's deprovision.empty, the files of deprovision.leases

Source: provisioning 5.2 rows 3 to 6.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(summary="Delete cached DHCP leases", frequency="always")


def run(ctx: Context) -> Outcome:
    gone = cleaning.remove(ctx.system, ctx.profile.texts("deprovision.leases"))
    for folder in ctx.profile.texts("deprovision.empty"):
        gone += cleaning.empty(ctx.system, folder)
    return changed(f"deleted {len(gone)} leases") if gone else unchanged("there are no leases")
