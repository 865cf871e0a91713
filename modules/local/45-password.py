"""Give the user the password that the owner chose.

The clear text comes from the secret facts, is hashed in memory, goes to chpasswd by standard input, and is
removed from the secret facts when that has worked.

Reads     ovf.password (secret), user.name; Provisioning.PasswordCryptId, .PasswordCryptSaltLength,
          .AllowResetSysUser, OS.OpensslPath, OS.PasswordPath
Changes   the hash in the shadow file
Publishes password.set
Skips     when the document has no password: login is by key only
Fails     UserError: also for an account of the system, unless Provisioning.AllowResetSysUser=y
"""

from __future__ import annotations

from waagent.errors import UserError
from waagent.machine import passwords, users
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Set the user's password",
    frequency="per-instance",
    reads=("Provisioning.PasswordCryptId", "Provisioning.PasswordCryptSaltLength", "Provisioning.AllowResetSysUser",
           "OS.OpensslPath", "OS.PasswordPath"),
    when=("provisioning.by=waagent", "ovf.has_password"),
    essential=True,
)  # fmt: skip


def run(ctx: Context) -> Outcome:
    name = str(ctx.fact("user.name") or ctx.fact("ovf.user_name"))
    password = ctx.secret("ovf.password")
    if not password:
        if ctx.fact("password.set"):
            return unchanged(f"the password of {name} is set")
        raise UserError(
            f"cannot set the password of {name}: the document was read from a copy that has it no more; log in by "
            "key, or reset the password from the portal",
            user=name,
        )
    config, account = ctx.config, users.find(ctx.system, name)
    if account is None and ctx.profile.text("users.method") in ("useradd", "pw") and not ctx.system.planning:
        account = users.require(ctx.system, name)
    allowed = config.switch("Provisioning.AllowResetSysUser")
    if account is not None and not allowed and users.is_system(ctx.system, ctx.profile, account):
        raise UserError(
            f"cannot set the password of {name}: uid {account.uid} is an account of the system; choose another "
            "user name, or set Provisioning.AllowResetSysUser=y in the image",
            user=name,
        )
    ctx.publish("password", {"set": True})
    shadow = config.text("OS.PasswordPath") or users.SHADOW
    if passwords.matches(password, passwords.current_hash(ctx.system, name, shadow) or ""):
        ctx.forget_secret("ovf.password")
        return unchanged(f"the password of {name} is set")
    passwords.set_password(
        ctx.system,
        ctx.profile,
        name,
        password,
        crypt_id=config.text("Provisioning.PasswordCryptId") or "6",
        salt_length=config.integer("Provisioning.PasswordCryptSaltLength"),
        openssl=config.text("OS.OpensslPath") or "openssl",
    )
    ctx.forget_secret("ovf.password")
    return changed(f"set the password of {name}")
