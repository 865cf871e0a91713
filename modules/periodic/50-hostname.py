"""Publish the host name to the platform's DNS when somebody has changed it.

The kernel's host name is compared with the one that was published last, so that a change that was made while the
agent did not run is seen as well. A changed name is kept for the next boot; a DHCP client is asked to request its
lease again, no service is restarted, but NetworkManager on releases whose link may stay down. What fails is tried
again, less and less often.

Reads     Provisioning.MonitorHostName, .MonitorHostNamePeriod, Network.Manage; <Lib.Dir>/published_hostname, or the
          name that cloud-init has set
Changes   /etc/hostname (or what this distribution has instead), <Lib.Dir>/published_hostname; /etc/hosts and the
          DHCP client's configuration, where they name the machine; the lease
Skips     when Provisioning.MonitorHostName=n or Network.Manage=n
Events    hostname-changed
Fails     HostNameError for a name that is none, or when the DHCP client would not do it; the old one
          stays published. NetworkError when the link stays down
"""

from __future__ import annotations

from waagent.machine import hostname, link_recovery, network, publish
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Publish a changed host name",
    frequency="always",
    every="Provisioning.MonitorHostNamePeriod",
    watching=("/proc/sys/kernel/hostname",),
    reads=("Provisioning.MonitorHostName", "Provisioning.MonitorHostNamePeriod", "Network.Manage"),
    limit=180.0,
)


def run(ctx: Context) -> Outcome:
    for option in ("Provisioning.MonitorHostName", "Network.Manage"):
        if not ctx.config.switch(option):
            return skipped(f"{option}=n")
    name = hostname.current(ctx.system)
    if not name:
        return skipped("the machine has no host name")
    before = publish.recorded(ctx.system, ctx.lib)
    if before is None:
        # Published by whoever provisioned the machine, before anybody wrote it down.
        before = publish.of_cloud_init(ctx.system) or name
        publish.record(ctx.system, ctx.lib, before)
    if name == before:
        return unchanged(f"{name} is published")
    hostname.set_name(ctx.system, ctx.profile, name)
    interface = network.primary_interface(ctx.system)
    published = publish.publish(ctx.system, ctx.profile, name, ctx.note)
    if interface is not None:
        recovered = link_recovery.recover(ctx.system, ctx.profile, interface)
        if recovered:
            ctx.note(recovered)
    publish.record(ctx.system, ctx.lib, name)
    ctx.emit("hostname-changed", name=name, before=before)
    return changed(f"{name}, which was {before}: {published.how}")
