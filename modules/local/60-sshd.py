"""Settings of sshd: whether passwords may log in, and how often clients are asked whether they live.

Password logins are what the document says; where it does not say, they are allowed if it has a password, and
otherwise left as the image has them: nobody asked for passwords there.

Reads     ovf.disable_ssh_password, ovf.has_password; OS.SshDir, OS.SshClientAliveInterval
Changes   a drop-in of ours, or sshd_config where it includes none; checked with sshd -t before it is put in place
Skips     when there is no sshd_config
Fails     SshError when sshd refuses the settings; its files stay as they were
"""

from __future__ import annotations

from waagent.machine import services, sshd
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Set up sshd",
    frequency="per-instance",
    reads=("OS.SshDir", "OS.SshClientAliveInterval"),
    when=("provisioning.by=waagent", "ovf.user_name"),
    essential=True,
)

LOGINS = ("PasswordAuthentication", "ChallengeResponseAuthentication")


def run(ctx: Context) -> Outcome:
    ssh_dir = ctx.config.text("OS.SshDir") or "/etc/ssh"
    if not ctx.system.exists(f"{ssh_dir}/sshd_config"):
        return skipped(f"there is no {ssh_dir}/sshd_config")
    wanted = {}
    disabled = ctx.fact("ovf.disable_ssh_password")
    if disabled is not None or ctx.fact("ovf.has_password"):
        wanted = dict.fromkeys(LOGINS, "no" if disabled else "yes")
    wanted["ClientAliveInterval"] = str(ctx.config.integer("OS.SshClientAliveInterval"))
    done = sshd.configure(ctx.system, ctx.profile, ssh_dir, wanted, must=LOGINS)
    for note in done.notes:
        ctx.note(note)
    told = f"password logins: {wanted.get(LOGINS[0], 'as the image has them')}"
    if not done.changed:
        return unchanged(told)
    services.reload_ssh(ctx.system, ctx.profile)
    return changed(told)
