"""Let the user become root: with the password where one was given, without asking otherwise.

Reads     user.name, ovf.has_password; OS.SudoersDir
Changes   <OS.SudoersDir>/waagent (0440), checked with visudo before it is put in place
Fails     UserError when visudo refuses the rules; sudo works on with those it had
"""

from __future__ import annotations

from waagent.machine import sudoers
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Let the user become root",
    frequency="per-instance",
    reads=("OS.SudoersDir",),
    when=("provisioning.by=waagent", "ovf.user_name"),
    essential=True,
)


def run(ctx: Context) -> Outcome:
    if ctx.profile.text("sudo.method") == "none":
        return skipped("this system has no sudo")
    name = str(ctx.fact("user.name") or ctx.fact("ovf.user_name"))
    ask = bool(ctx.fact("ovf.has_password", False))
    directory = ctx.config.text("OS.SudoersDir") or "/etc/sudoers.d"
    done = sudoers.allow(ctx.system, ctx.profile, directory, name, ask=ask)
    told = f"{name} may become root" + ("" if ask else " without a password")
    return changed(told) if done else unchanged(told)
