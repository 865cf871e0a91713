"""Delete the SSH host keys: machines of one image must not share them.

Reads     Provisioning.RegenerateSshHostKeyPair, OS.SshDir
Changes   <OS.SshDir>/ssh_host_*key*
Skips     when RegenerateSshHostKeyPair=n: whoever made these keys looks after them

Source: provisioning 5.2 row 2.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Delete the SSH host keys",
    frequency="always",
    reads=("Provisioning.RegenerateSshHostKeyPair", "OS.SshDir"),
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Provisioning.RegenerateSshHostKeyPair"):
        return skipped("Provisioning.RegenerateSshHostKeyPair=n")
    ssh_dir = ctx.config.text("OS.SshDir") or "/etc/ssh"
    gone = cleaning.remove(ctx.system, [f"{ssh_dir}/ssh_host_*key*"])
    return changed(f"deleted {len(gone)} files of host keys") if gone else unchanged("there are no host keys")
