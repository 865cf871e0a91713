"""Have cloud-init forget this instance: its data and logs, in which the owner's custom data are.

It knows best what is its own, so it is asked to do it. To keep its state, mask this step:
ln -s /dev/null /etc/waagent/hooks.d/deprovision/70-cloud-init.py

Changes   what `cloud-init clean --logs` removes
Skips     where cloud-init is not installed
Fails     CommandFailed

Source: field demand 133.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, skipped

MODULE = Module(summary="Have cloud-init forget this instance", frequency="always", limit=180.0)


def run(ctx: Context) -> Outcome:
    if ctx.system.which("cloud-init") is None:
        return skipped("cloud-init is not installed")
    known = cleaning.found(ctx.system, ["/var/lib/cloud/instances/*"])
    ctx.system.run("cloud-init", "clean", "--logs", limit=150)
    return changed(f"cloud-init has forgotten {len(known)} instances")
