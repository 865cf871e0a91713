"""Wait for cloud-init where that provisions, and take its data over.

It is waited for the document that cloud-init copies, and for the SSH host key: with both there the owner can log
in, and the machine is reported ready. Nothing else of the boot waits: logins are possible as soon as cloud-init
allows them. What cloud-init does later, packages and scripts of the owner, is not waited for; extensions do that
where Extensions.WaitForCloudInit=y.

Reads     <Lib.Dir>/ovf-env.xml; Provisioning.SshHostKeyPairType, OS.SshDir
Changes   the mode of <Lib.Dir>, which cloud-init closes to users who may read the public facts
Publishes ovf.* without the password, ssh.host_keys, ssh.host_keys_of
Fails     ProvisioningError after half an hour without the document, or another half without the key; OvfInvalid

Source: provisioning 4.10.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from waagent.errors import ProvisioningError
from waagent.machine import host_keys
from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.provisioning import cloud_init

MODULE = Module(
    summary="Wait for cloud-init",
    frequency="per-instance",
    reads=("Provisioning.SshHostKeyPairType", "OS.SshDir"),
    when=("provisioning.by=cloud-init",),
    limit=3700.0,
    essential=True,
)

Found = TypeVar("Found")
PATIENCE = 1800
# Seconds after which it is said that we still wait.
SAID = (20, 40, 80, 160, 320, 640, 960, 1280, 1600)


def run(ctx: Context) -> Outcome:
    if ctx.system.planning:
        return unchanged("would wait for cloud-init")
    vm_id = str(ctx.fact("vm.id", ""))
    found = _wait(ctx, "the provisioning document", lambda: cloud_init.document(ctx.system, ctx.lib, vm_id))
    ctx.publish("ovf", {**found.facts(), "has_custom_data": False}, secret={})
    ctx.system.set_mode(ctx.lib, 0o711)
    told = f"cloud-init has read the document for {found.user_name} on {found.host_name or 'this machine'}"

    ssh_dir = ctx.config.text("OS.SshDir") or "/etc/ssh"
    if not ctx.system.is_directory(ssh_dir):
        return changed(f"{told}; no SSH server is installed")
    kind = ctx.config.text("Provisioning.SshHostKeyPairType") or "rsa"
    keys = _wait(ctx, f"the SSH host key ({kind})", lambda: _host_keys(ctx, ssh_dir, kind))
    ctx.publish("ssh", {"host_keys": keys, "host_keys_of": vm_id})
    for key in keys:
        ctx.note(f"SSH host key {key['type']} {key['fingerprint']}")
    return changed(told)


def _host_keys(ctx: Context, ssh_dir: str, kind: str) -> list[dict[str, str]] | None:
    found = host_keys.found(ctx.system, ssh_dir)
    if not any(kind in ("auto", key.kind) for key in found):
        return None
    return [{"type": key.kind, "fingerprint": key.fingerprint} for key in found]


def _wait(ctx: Context, what: str, look: Callable[[], Found | None]) -> Found:
    """Look once a second. Raises ProvisioningError when it did not come."""
    clock = ctx.system.clock
    began = clock.monotonic()
    said = list(SAID)
    while True:
        found = look()
        if found is not None:
            return found
        waited = clock.monotonic() - began
        if waited >= PATIENCE:
            break
        if said and waited >= said[0]:
            ctx.note(f"waiting for cloud-init: {what} is not there after {said.pop(0)} s{_doubt(ctx)}")
        clock.sleep(1.0)
    why = "; ".join(cloud_init.errors(ctx.system)) or "it tells no errors"
    raise ProvisioningError(
        f"cannot report ready: {what} did not come from cloud-init in {PATIENCE} s ({why}){_doubt(ctx)}; see "
        "cloud-init status --long and /var/log/cloud-init.log, the next boot tries again"
    )


def _doubt(ctx: Context) -> str:
    return "" if cloud_init.enabled(ctx.system) else "; cloud-init is not enabled on this machine"
