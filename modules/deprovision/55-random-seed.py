"""Delete seeds of random generators and keys made from them: machines of one image would start from the same.

Changes   the files of the profile's paths.random-seed

Source: provisioning 5.2 row 12.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(summary="Delete seeds of random generators", frequency="always")


def run(ctx: Context) -> Outcome:
    gone = cleaning.remove(ctx.system, ctx.profile.texts("paths.random-seed"))
    return changed(f"deleted {', '.join(gone)}") if gone else unchanged("there are no seeds")
