"""Make the account that the owner asked for.

An account of that name that is in the image is used as it is; password, keys and sudo are given to it by the
steps that follow. One that was half made when the power failed is completed.

Reads     ovf.user_name
Changes   the account with its group and home
Publishes user.name
Fails     UserError: nobody could enter the machine, so it is not reported ready
"""

from __future__ import annotations

from waagent.machine import users
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Make the user's account",
    frequency="per-instance",
    when=("provisioning.by=waagent", "ovf.user_name"),
    limit=180.0,
    essential=True,
)


def run(ctx: Context) -> Outcome:
    wanted = str(ctx.fact("ovf.user_name", ""))
    name = ctx.profile.text("ssh.only-user") or wanted
    if name != wanted:
        ctx.note(f"this system gives access to {name} only; it gets what {wanted} was to have")
    ctx.publish("user", {"name": name})
    if ctx.profile.text("users.method") == "none":
        return unchanged(f"accounts cannot be made on this system; {name} is used")
    existed = users.find(ctx.system, name) is not None
    if not users.create(ctx.system, ctx.profile, name):
        return unchanged(f"account {name} exists")
    return changed(f"completed account {name}" if existed else f"made account {name}")
