"""Give the machine the host name that its owner chose.

In the first stage, so that no DHCP client announces the image's name: the platform's DNS takes it from the lease.

Reads     ovf.host_name
Changes   /etc/hostname (or what this distribution has instead), the kernel's host name; /etc/hosts, where that has
          the machine's name
Publishes hostname.late: whether the network was up already, so that the DHCP client announced another name
Fails     HostNameError for a name that is none; the machine keeps the one it has
"""

from __future__ import annotations

from waagent.machine import hostname, network
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Set the host name",
    frequency="per-instance",
    when=("provisioning.by=waagent", "ovf.host_name"),
)


def run(ctx: Context) -> Outcome:
    name = str(ctx.fact("ovf.host_name", ""))
    before = hostname.current(ctx.system)
    late = before != name and network.default_route(ctx.system) is not None
    if late or ctx.fact("hostname") is None:
        ctx.publish("hostname", {"late": late})
    if not hostname.set_name(ctx.system, ctx.profile, name):
        return unchanged(f"the host name is {name}")
    ctx.emit("hostname-changed", name=name, before=before)
    return changed(f"the host name is {name}, it was {before or 'not set'}")
