"""Tell the platform whether its host plugin and its metadata service work, as seen from this VM.

One request to each, one report. A service that fails for minutes on end is called unhealthy; the platform's people
look at the node then. Nothing of this VM depends on it.

Changes   the platform's view of its node; /run/waagent/host-health.json while something fails
Skips     when the wire server was not found, or does not take the report
"""

from __future__ import annotations

from waagent.errors import FabricError
from waagent.fabric import endpoint, health, host_health, imds, session
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Tell the platform whether its host services work",
    frequency="always",
    every=60,
    reads=("HttpProxy.*",),
    limit=60.0,
)

SERVICE = endpoint.METADATA_SERVICE


def run(ctx: Context) -> Outcome:
    where = ctx.fact("fabric.endpoint")
    if where is None:
        return skipped("the wire server was not found")
    talk = session.open_session(ctx.system, ctx.config, where, ctx.lib, ctx.note)
    metadata = imds.probe(talk.http, service=SERVICE)
    answered = {host_health.PLUGIN: talk.plugin.healthy(), host_health.METADATA: metadata.healthy}
    before = host_health.read(ctx.system)
    healthy, troubles = host_health.judge(before, answered, ctx.system.clock.boot())
    host_health.write(ctx.system, troubles)
    told = {host_health.METADATA: metadata.description}
    seen = [
        health.observation(name, healthy=good, value="" if good else told.get(name, ""))
        for name, good in healthy.items()
    ]
    try:
        talk.wire.host_observations(health.observations(seen))
    except FabricError as error:
        return skipped(f"the health service did not take the report: {error}")
    failing = ", ".join(sorted(troubles)) or "none"
    if sorted(troubles) != sorted(before):
        return changed(f"failing services of the host: {failing}")
    return unchanged(f"failing services of the host: {failing}")
