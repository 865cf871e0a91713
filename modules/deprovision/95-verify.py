"""Look for what must not be in an image, while the names of this instance are still known.

What is found is told, one line each; it changes nothing, and a trace is no failure of this step: an image may keep
an account on purpose. `waagent deprovision --verify` looks again, and ends with a status that says so.

Reads     everything that `deprovision --verify` reads (waagent/provisioning/traces.py)
Skips     when it is only foreseen
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, skipped, unchanged
from waagent.provisioning import deprovision, traces

MODULE = Module(
    summary="Look for what must not be in an image",
    frequency="always",
    reads=("OS.SshDir", "OS.SudoersDir", "OS.PasswordPath", "Lib.Dir", "Extension.LogDir"),
    limit=300.0,
)


def run(ctx: Context) -> Outcome:
    if ctx.system.planning:
        return skipped("nothing is gone yet")
    request = deprovision.requested(ctx.event_data)
    keep = (request.user,) if request.user and not request.delete_user else ()
    names = deprovision.names_of(ctx.facts, request)
    found = traces.find(ctx.system, ctx.profile, ctx.config, names, keep)
    for trace in found:
        ctx.note(f"still there: {trace}")
    return unchanged(f"{len(found)} traces are left" if found else "no trace of this instance was found")
