"""Let go of the medium, now that the store has what it says.

The disc is ejected, and a document that an image builder had put into the state directory is replaced by a
redacted copy. Not earlier: until the facts were on disk, the medium was the only place that had the password.

Reads     media.device, media.from
Changes   <Lib.Dir>/ovf-env.xml (redacted, 0600); ejects the disc
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.provisioning import media

MODULE = Module(
    summary="Let go of the provisioning medium",
    frequency="per-instance",
    when=("provisioning.by=waagent", "media.from"),
)


def run(ctx: Context) -> Outcome:
    device = ctx.fact("media.device")
    if device:
        if ctx.system.exists(device) and media.eject(ctx.system, ctx.profile, device):
            return changed(f"ejected {device}")
        return unchanged(f"{device} stays in")
    path = media.path_of(ctx.lib)
    if ctx.system.exists(path) and media.save(
        ctx.system, ctx.lib, ctx.system.read(path), str(ctx.fact("vm.id", ""))
    ):
        return changed(f"took the password out of {path}")
    return unchanged(f"{path} has no password")
