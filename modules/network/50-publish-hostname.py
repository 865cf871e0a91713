"""Have the platform's DNS know this machine by its name, and remember which name it knows.

The name is set before the network starts, so most DHCP clients announce it with their first request and there is
nothing to do. The lease is requested again where the network was up when the name was set (a lease from the initial
RAM disk, an image without the order of units), and where the client does not send names unless it is told. Changes
that come later are seen by the periodic step hostname.

Reads     Network.Manage; hostname.late; what cloud-init set; <Lib.Dir>/published_hostname
Changes   <Lib.Dir>/published_hostname: the bare name, without a line end, as other software reads it; the DHCP
          client's configuration where that names the host; the lease
Skips     when Network.Manage=n
Fails     HostNameError; the periodic step hostname tries again
"""

from __future__ import annotations

from waagent.machine import hostname, publish
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Publish the host name",
    frequency="per-boot",
    reads=("Network.Manage",),
    limit=120.0,
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("Network.Manage"):
        return skipped("Network.Manage=n")
    name = hostname.current(ctx.system)
    if not name:
        return skipped("the machine has no host name")
    known = publish.recorded(ctx.system, ctx.lib)
    published = publish.publish(
        ctx.system, ctx.profile, name, ctx.note, fresh=not ctx.fact("hostname.late", False)
    )
    publish.record(ctx.system, ctx.lib, name)
    told = f"{name}: {published.how}"
    return unchanged(told) if known == name and not published.told else changed(told)
