"""Give the machine SSH host keys of its own: clones of one image must not share them.

Reads     Provisioning.RegenerateSshHostKeyPair, Provisioning.SshHostKeyPairType, OS.SshDir
Changes   <OS.SshDir>/ssh_host_*_key and .pub; with RegenerateSshHostKeyPair=n only where there is none
Publishes ssh.host_keys (list of {type, fingerprint}), ssh.host_keys_of (the VM they were made for)
Fails     SshError; the keys that were there stay
"""

from __future__ import annotations

from waagent.machine import host_keys, services
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Make the SSH host keys",
    frequency="per-instance",
    reads=("Provisioning.RegenerateSshHostKeyPair", "Provisioning.SshHostKeyPairType", "OS.SshDir"),
    when=("provisioning.by=waagent", "ovf.user_name"),
    limit=300.0,
    essential=True,
)


def run(ctx: Context) -> Outcome:
    ssh_dir = ctx.config.text("OS.SshDir") or "/etc/ssh"
    if not ctx.system.is_directory(ssh_dir):
        return skipped(f"there is no {ssh_dir}: no SSH server is installed")
    kind = ctx.config.text("Provisioning.SshHostKeyPairType") or "rsa"
    vm_id = ctx.fact("vm.id", "")
    present = _told(host_keys.found(ctx.system, ssh_dir))
    if present and ctx.fact("ssh.host_keys_of") == vm_id and ctx.fact("ssh.host_keys") == present:
        return unchanged("the host keys were made for this VM")
    if ctx.config.switch("Provisioning.RegenerateSshHostKeyPair"):
        made = True
        host_keys.regenerate(ctx.system, ssh_dir, kind)
    else:
        made = host_keys.complete(ctx.system, ssh_dir, kind)
    present = _told(host_keys.found(ctx.system, ssh_dir))
    ctx.publish("ssh", {"host_keys": present, "host_keys_of": vm_id})
    for key in present:
        ctx.note(f"SSH host key {key['type']} {key['fingerprint']}")
    if not made:
        return unchanged("the host keys of the image stay (Provisioning.RegenerateSshHostKeyPair=n)")
    services.reload_ssh(ctx.system, ctx.profile)
    return changed(f"made {len(present)} host keys ({kind})")


def _told(keys: list[host_keys.HostKey]) -> list[dict[str, str]]:
    return [{"type": key.kind, "fingerprint": key.fingerprint} for key in keys]
