"""Keep what is needed to find out why provisioning failed, before anybody restarts the machine.

Reads     the event's description
Changes   /var/lib/site/provisioning-failed.txt
Fails     SystemRefused when the file cannot be written
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed

MODULE = Module(summary="Keep evidence of a failed provisioning", frequency="always", limit=60)

FOLDER = "/var/lib/site"


def run(ctx: Context) -> Outcome:
    lines = [str(ctx.event_data.get("description", "provisioning failed")), ""]
    lines += [f"{step.stage}/{step.step}: {step.kind}: {step.message}" for step in ctx.boot]
    journal = ctx.system.run("journalctl", "--boot", "--no-pager", "--lines=500", reads=True, ok=None)
    lines += ["", journal.stdout]
    ctx.system.make_directory(FOLDER, 0o700)
    ctx.system.write(f"{FOLDER}/provisioning-failed.txt", "\n".join(lines) + "\n", mode=0o600)
    return changed(f"kept the outcomes of {len(ctx.boot)} steps in {FOLDER}")
