"""Delete the last provisioned account with its home, its sudo rules and what it left elsewhere.

Before the state of the agent goes: a run that was cut off knows from there whom it was about to delete. Names are
matched whole: bobby keeps what is his when bob goes.

Reads     user.name, else the saved document; OS.SudoersDir, OS.HomeDir
Changes   the account, its home; lines of sudoers drop-ins; the files of deprovision.user-files
Skips     unless +user (--user) was asked for; when the account is not known
Fails     UserError: an account of the system stays, and what is its own with it

Source: provisioning 5.4, 4.4; field demand 131.
"""

from __future__ import annotations

from waagent.machine import cleaning, sudoers, users
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning.deprovision import requested

MODULE = Module(
    summary="Delete the last provisioned account",
    frequency="always",
    reads=("OS.SudoersDir", "OS.HomeDir"),
    limit=600.0,
)


def run(ctx: Context) -> Outcome:
    request = requested(ctx.event_data)
    if not request.delete_user:
        return skipped("no account was to be deleted (+user)")
    name = request.user
    if not name:
        return skipped(f"no account is known: {request.unknown}")
    deleted = users.delete(ctx.system, ctx.profile, name, ctx.config.text("OS.HomeDir") or "/home")
    directory = ctx.config.text("OS.SudoersDir") or "/etc/sudoers.d"
    rules = sudoers.withdraw_all(ctx.system, ctx.profile, directory, name)
    patterns = [each.format_map({"name": name}) for each in ctx.profile.texts("deprovision.user-files")]
    files = cleaning.remove(ctx.system, patterns)
    gone = [*rules, *files]
    if not deleted and not gone:
        return unchanged(f"there is no account {name}")
    told = f"deleted the account {name} and its home" if deleted else f"there is no account {name}"
    return changed(told + (f"; removed its part of {', '.join(gone)}" if gone else ""))
