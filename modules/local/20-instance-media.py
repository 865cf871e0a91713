"""Read what the owner asked for: the provisioning document on the disc that the platform attached.

Without a disc, <Lib.Dir>/ovf-env.xml is used if an image builder put it there. A document that was read for
another VM is never used: a disk that is attached to a new VM as it is, without a disc, stays as it was
provisioned.

The password is in the document. It goes to the secret facts, where the step password takes it away again; the
copy that is kept is redacted. The disc is ejected later (release-media), when what it says is safe on disk.

Reads     DVD.MountPoint; the medium; <Lib.Dir>/ovf-env.xml
Changes   <Lib.Dir>/ovf-env.xml (redacted, 0600)
Publishes ovf.* (waagent/instance/ovf.py lists them), media.device, media.from
Skips     on a machine that is no Azure VM and has no medium: provisioning.by=nobody; on one that was provisioned as
          another VM and has none: provisioning.by=already
Fails     MediaMissing, OvfInvalid: the machine is not provisioned, the next boot tries again
"""

from __future__ import annotations

from waagent.errors import MediaMissing
from waagent.instance.ovf import ProvisioningDocument
from waagent.module import Context, Module, Outcome, changed, skipped
from waagent.provisioning import media

MODULE = Module(
    summary="Read the provisioning document",
    frequency="per-instance",
    reads=("DVD.MountPoint",),
    when=("provisioning.by=waagent",),
    limit=120.0,
    essential=True,
)

# How long a disc is waited for where there need not be one.
SHORT_PATIENCE = 5.0


def run(ctx: Context) -> Outcome:
    system, vm_id = ctx.system, str(ctx.fact("vm.id", ""))
    mount_point = ctx.config.text("DVD.MountPoint") or "/mnt/cdrom/secure"
    disc, copy = _disc(ctx, mount_point, 0.0), None
    if disc is None:
        copy = media.from_copy(system, ctx.lib, vm_id)
    if copy is not None and not copy.left_over:
        _publish(ctx, copy.document, None)
        return changed(f"read {media.path_of(ctx.lib)}, which was there before")
    if disc is None:
        former = copy.left_over if copy is not None else ctx.fact("provisioning.previous")
        if former:
            disc = _disc(ctx, mount_point, SHORT_PATIENCE)
            if disc is None:
                ctx.publish("provisioning.by", "already")
                return skipped(f"no medium, and this disk was provisioned before ({former}); it stays as it is")
        elif not ctx.fact("vm.azure", False):
            ctx.publish("provisioning.by", "nobody")
            return skipped(f"this is no Azure VM, and there is neither a medium nor {media.path_of(ctx.lib)}")
        else:
            disc = media.from_disc(system, ctx.profile, mount_point, media.PATIENCE)
    for trouble in disc.trouble:
        ctx.note(trouble)
    media.save(system, ctx.lib, disc.raw, vm_id)
    _publish(ctx, disc.document, disc.device)
    return changed(f"read {media.NAME} from {disc.device}")


def _disc(ctx: Context, mount_point: str, patience: float) -> media.Disc | None:
    try:
        return media.from_disc(ctx.system, ctx.profile, mount_point, patience)
    except MediaMissing:
        return None


def _publish(ctx: Context, document: ProvisioningDocument, device: str | None) -> None:
    if document.newer_than_known:
        ctx.note(
            f"the provisioning document has version {document.version}, newer than 1.0; reading it all the same"
        )
    ctx.publish("ovf", document.facts(), secret=document.secrets())
    ctx.publish("media", {"device": device, "from": "disc" if device else "copy"})
