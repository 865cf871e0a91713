"""Take back the settings of sshd that this instance asked for, so that the next one starts with the image's own.

Only the drop-ins that the agent wrote go. Where it had to edit sshd_config itself, the edit stays: the next
instance edits the same lines.

Reads     OS.SshDir
Changes   <OS.SshDir>/sshd_config.d/00-waagent.conf and 50-waagent.conf
"""

from __future__ import annotations

from waagent.machine import cleaning, sshd
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(summary="Take back the settings of sshd", frequency="always", reads=("OS.SshDir",))


def run(ctx: Context) -> Outcome:
    folder = ctx.profile.text("ssh.drop-ins") or "sshd_config.d"
    folder = f"{ctx.config.text('OS.SshDir') or '/etc/ssh'}/{folder}"
    gone = cleaning.remove(ctx.system, [f"{folder}/{name}" for name in (sshd.FIRST, sshd.USUAL)])
    return changed(f"removed {', '.join(gone)}") if gone else unchanged("sshd has no settings of this instance")
