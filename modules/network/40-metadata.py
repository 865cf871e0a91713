"""Ask the metadata service what the platform says about this VM: size, place, image, network.

Facts for steps and hooks; nothing of the boot depends on them. What an earlier boot found stays when the service
does not answer, and then the boot does not wait for it long.

Reads     Network.Metadata
Changes   nothing
Publishes imds.* (location, name, vmId, vmSize, zone, tags, interfaces, public_keys, …); secret imds.user_data
Skips     when Network.Metadata=n; where nobody provisions: this is no Azure VM
Fails     FabricUnreachable, FabricRejected, GoalStateInvalid
"""

from __future__ import annotations

from waagent.fabric import endpoint, imds
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report
from waagent.system.http import Http

MODULE = Module(
    summary="Ask the metadata service about this VM", frequency="per-boot", reads=("Network.Metadata",), limit=90.0
)

SERVICE = endpoint.METADATA_SERVICE
PATIENCE_NEW, PATIENCE_KNOWN = 60.0, 10.0


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Network.Metadata"):
        return skipped("Network.Metadata=n")
    if ctx.fact("provisioning.by") == report.NOBODY:
        return skipped("this is no Azure VM")
    patience = PATIENCE_KNOWN if ctx.fact("imds") else PATIENCE_NEW
    metadata = imds.fetch_instance(
        ctx.system, Http(ctx.system.clock), service=SERVICE, total=patience, note=ctx.note
    )
    public, secret = imds.facts(metadata)
    missing = imds.is_valid(metadata)
    if missing:
        ctx.note(f"the instance metadata has no {missing}")
    told = f"{public.get('vmSize') or 'a VM of unknown size'} in {public.get('location') or 'an unknown region'}"
    if public == ctx.fact("imds") and secret == ctx.secret("imds", {}):
        return unchanged(told)
    ctx.publish("imds", public, secret=secret)
    return changed(told)
