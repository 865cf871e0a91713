"""Lock the password of root, so that the one in the image opens nothing.

Reads     Provisioning.DeleteRootPassword, OS.PasswordPath
Changes   root's line in the shadow file
Skips     when Provisioning.DeleteRootPassword=n
Fails     UserError when the shadow file is missing
"""

from __future__ import annotations

from waagent.machine import passwords, users
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Lock the password of root",
    frequency="per-instance",
    reads=("Provisioning.DeleteRootPassword", "OS.PasswordPath"),
    when=("provisioning.by=waagent", "ovf.user_name"),
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Provisioning.DeleteRootPassword"):
        return skipped("Provisioning.DeleteRootPassword=n")
    shadow = ctx.config.text("OS.PasswordPath") or users.SHADOW
    if ctx.fact("ovf.user_name") == "root" and ctx.fact("ovf.has_password"):
        return skipped("root is the user whose password was just set")
    if not passwords.lock_root(ctx.system, ctx.profile, shadow):
        return unchanged("the password of root is locked")
    return changed("locked the password of root")
