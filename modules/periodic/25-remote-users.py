"""Let in the users whom the platform grants access for a while ("just in time"), and see them out again.

An account that this step makes carries the comment JIT_Account and expires, for the system, on the day after the
moment that the platform names; at that moment it is deleted with its home. An account without that comment is never
touched: where a granted name is taken, access is refused. What is granted is not changed later: a new password or a
later moment counts for the next account only. sudo asks for the password. Its rule comes before the password, so
that an account whose making was cut off is known by having none, and is completed.

One user's trouble is his alone. An entry that cannot be used is noted once; what else fails is tried again.

Reads     LIB/goal-state.json, Policy.DenyUserChanges, Provisioning.PasswordCryptId,
          Provisioning.PasswordCryptSaltLength, Provisioning.AllowResetSysUser, OS.OpensslPath, OS.PasswordPath,
          OS.SudoersDir, OS.HomeDir
Changes   the accounts marked JIT_Account, their homes and passwords; OS.SudoersDir/waagent
Skips     where the distribution does not take part; without a goal state. With Policy.DenyUserChanges=y nobody is
          let in any more, and who was is seen out in time
Fails     UserError, with every user who could not be let in or out
"""

from __future__ import annotations

from datetime import datetime, timedelta

from waagent.errors import UserError, WaagentError
from waagent.fabric import cache, remote_access
from waagent.fabric.remote_access import RemoteUser
from waagent.machine import passwords, sudoers, users
from waagent.machine.users import Account
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Let in the users whom the platform grants access for a while",
    frequency="always",
    on=("goal-state",),
    every=300,
    reads=(
        "Policy.DenyUserChanges", "Provisioning.PasswordCryptId", "Provisioning.PasswordCryptSaltLength",
        "Provisioning.AllowResetSysUser", "OS.OpensslPath", "OS.PasswordPath", "OS.SudoersDir", "OS.HomeDir",
    ),
    limit=900.0,
)  # fmt: skip

MARK = "JIT_Account"


def run(ctx: Context) -> Outcome:
    if not ctx.profile.switch("remote-users.supported"):
        return skipped("this distribution does not take part")
    state = cache.read(ctx.system, ctx.lib)
    if state is None:
        return skipped("no goal state is known yet")
    granted = _granted(ctx, state.remote_users or ())
    done: list[str] = []
    failed: list[str] = []
    for account in users.every(ctx.system):
        if account.comment == MARK and account.name not in granted:
            try:
                _see_out(ctx, account.name)
                done.append(f"{account.name} is out")
            except WaagentError as error:
                failed.append(error.message)
    for user, expires in granted.values():
        try:
            if _let_in(ctx, user, expires):
                done.append(f"{user.name} is in until {expires:%Y-%m-%d %H:%M} UTC")
        except WaagentError as error:
            failed.append(error.message)
    if failed:
        raise UserError("; ".join([*failed, *done]))
    return changed(", ".join(done)) if done else unchanged(f"{len(granted)} users have access for a while")


def _granted(ctx: Context, listed: tuple[RemoteUser, ...]) -> dict[str, tuple[RemoteUser, datetime]]:
    """Those who have access now, by name, and until when."""
    now = ctx.system.clock.now()
    granted = {}
    for user in listed:
        if user.invalid and ctx.event is not None:
            ctx.note(f"cannot let a user in: {user.invalid}; the others are not affected")
        if not user.invalid and user.expires is not None and user.expires > now:
            granted[user.name] = (user, user.expires)
    return granted


def _let_in(ctx: Context, user: RemoteUser, expires: datetime) -> bool:
    """Have the account; false if it is there already, or is not wanted here. Raises WaagentError."""
    config, name = ctx.config, user.name
    users.check_name(name)
    present = users.find(ctx.system, name)
    if present is not None:
        _require_ours(ctx, present)
        shadow = config.text("OS.PasswordPath") or users.SHADOW
        if not _unfinished(passwords.current_hash(ctx.system, name, shadow)):
            return False
    if config.switch("Policy.DenyUserChanges"):
        if ctx.event is not None:
            ctx.note(f"{name} is not let in: Policy.DenyUserChanges=y")
        return False
    openssl = config.text("OS.OpensslPath") or "/usr/bin/openssl"
    # Opened before anything is made: a password that cannot be had leaves nothing to undo.
    secret = "" if ctx.system.planning else remote_access.password(ctx.system, user, ctx.lib, openssl)
    try:
        last = f"{expires + timedelta(days=1):%Y-%m-%d}"
        users.create(ctx.system, ctx.profile, name, expires=last, comment=MARK)
        sudoers.allow(ctx.system, ctx.profile, config.text("OS.SudoersDir") or "/etc/sudoers.d", name, ask=True)
        if not ctx.system.planning:
            passwords.set_password(
                ctx.system, ctx.profile, name, secret,
                crypt_id=config.text("Provisioning.PasswordCryptId") or "6",
                salt_length=config.integer("Provisioning.PasswordCryptSaltLength"),
                openssl=openssl,
            )  # fmt: skip
    except WaagentError as error:
        try:
            _see_out(ctx, name)
        except WaagentError as left:
            raise UserError(f"{error.message}; what was made stays: {left.message}", user=name) from error
        raise
    return True


def _require_ours(ctx: Context, account: Account) -> None:
    if account.comment != MARK:
        raise UserError(
            f"cannot let {account.name} in: an account of this name that is not the platform's is there; it stays "
            "as it is",
            user=account.name,
        )
    allowed = ctx.config.switch("Provisioning.AllowResetSysUser")
    if not allowed and users.is_system(ctx.system, ctx.profile, account):
        raise UserError(
            f"cannot let {account.name} in: uid {account.uid} is an account of the system", user=account.name
        )


def _unfinished(hashed: str | None) -> bool:
    """Whether there has been no password yet: what an account is born with is a lock with nothing behind it."""
    return bool(hashed) and not str(hashed).strip("!*")


def _see_out(ctx: Context, name: str) -> None:
    """Rules first: an account that is half gone must not be root any more."""
    sudoers.withdraw(ctx.system, ctx.profile, ctx.config.text("OS.SudoersDir") or "/etc/sudoers.d", name)
    users.delete(ctx.system, ctx.profile, name, ctx.config.text("OS.HomeDir") or "/home")
