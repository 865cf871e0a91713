"""Read what the owner asked for: the provisioning document on the disc that the platform attached.

Without a disc, <Lib.Dir>/ovf-env.xml is used if an image builder put it there. A document that was read for
another VM is never used: a disk that is attached to a new VM as it is, without a disc, stays as it was
provisioned. Whether there is a disc is known only after the time that one may take to become readable; no
left-over file makes that shorter. A copy of this VM without its password is what remains when the disc is gone.

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

from waagent.errors import InstanceError, MediaMissing, OvfInvalid
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


def run(ctx: Context) -> Outcome:
    disc = _disc(ctx)
    if disc is None:
        copy, trouble = _copy(ctx)
        if copy is not None and copy.complete:
            return _from_copy(ctx, copy)
        former = copy.left_over if copy is not None else ctx.fact("provisioning.previous")
        if not (copy or trouble or former or ctx.fact("vm.azure", False)):
            ctx.publish("provisioning.by", "nobody")
            return skipped(f"this is no Azure VM, and there is neither a medium nor {media.path_of(ctx.lib)}")
        try:
            disc = media.from_disc(ctx.system, ctx.profile, _mount_point(ctx), media.PATIENCE)
        except MediaMissing as missing:
            if former and trouble is None:
                ctx.publish("provisioning.by", "already")
                return skipped(f"no medium, and this disk was provisioned before ({former}); it stays as it is")
            if copy is None:
                raise trouble or missing from None
            ctx.note("the medium is gone, and the copy of what it said has no password: none is set")
            return _from_copy(ctx, copy)
    for each in disc.trouble:
        ctx.note(each)
    media.save(ctx.system, ctx.lib, disc.raw, _vm_id(ctx))
    _publish(ctx, disc.document, disc.device)
    return changed(f"read {media.NAME} from {disc.device}")


def _mount_point(ctx: Context) -> str:
    return ctx.config.text("DVD.MountPoint") or "/mnt/cdrom/secure"


def _vm_id(ctx: Context) -> str:
    return str(ctx.fact("vm.id", ""))


def _disc(ctx: Context) -> media.Disc | None:
    """What can be read at once."""
    try:
        return media.from_disc(ctx.system, ctx.profile, _mount_point(ctx), 0.0)
    except MediaMissing:
        return None


def _copy(ctx: Context) -> tuple[media.Copy | None, InstanceError | None]:
    """One that is damaged counts only when no disc comes."""
    try:
        return media.from_copy(ctx.system, ctx.lib, _vm_id(ctx)), None
    except (MediaMissing, OvfInvalid) as error:
        return None, error


def _from_copy(ctx: Context, copy: media.Copy) -> Outcome:
    _publish(ctx, copy.document, None)
    return changed(f"read {media.path_of(ctx.lib)}, which was there before")


def _publish(ctx: Context, document: ProvisioningDocument, device: str | None) -> None:
    if document.newer_than_known:
        ctx.note(
            f"the provisioning document has version {document.version}, newer than 1.0; reading it all the same"
        )
    ctx.publish("ovf", document.facts(), secret=document.secrets())
    ctx.publish("media", {"device": device, "from": "disc" if device else "copy"})
