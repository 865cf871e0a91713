"""Lock the password of root.

Reads     Provisioning.DeleteRootPassword, OS.PasswordPath
Changes   root's line in the shadow file, and in the copy that tools keep of it
Skips     when Provisioning.DeleteRootPassword=n
Fails     UserError when the shadow file is missing

Source: provisioning 5.2 row 9, 4.4.
"""

from __future__ import annotations

from waagent.machine import passwords, users
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Lock the password of root",
    frequency="always",
    reads=("Provisioning.DeleteRootPassword", "OS.PasswordPath"),
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Provisioning.DeleteRootPassword"):
        return skipped("Provisioning.DeleteRootPassword=n")
    shadow = ctx.config.text("OS.PasswordPath") or users.SHADOW
    locked = passwords.lock_root(ctx.system, ctx.profile, shadow)
    copy = f"{shadow}-"
    if ctx.system.exists(copy) and ctx.system.exists(shadow):
        locked = ctx.system.write(copy, ctx.system.read(shadow)) or locked
    return changed("locked the password of root") if locked else unchanged("the password of root is locked")
