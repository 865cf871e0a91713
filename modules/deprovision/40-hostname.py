"""Take the host name away: on disk, in the kernel, and where the DHCP client is told it.

No name is published, and no network service restarted: the new name is nobody's.

Changes   the host name; /etc/hosts and the profile's hostname.dhcp-files, where it is written out in them
Fails     HostNameError

Source: provisioning 5.2 rows 7 and 8.
"""

from __future__ import annotations

from waagent.machine import dhcp_reset, hostname
from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.provisioning import deprovision

MODULE = Module(summary="Take the host name away", frequency="always")


def run(ctx: Context) -> Outcome:
    system, profile, name = ctx.system, ctx.profile, deprovision.HOST_NAME
    if deprovision.requested(ctx.event_data).offline:
        done = hostname.keep_name(system, profile, name)
    else:
        done = hostname.set_name(system, profile, name)
    files = dhcp_reset.reset(system, profile, profile.text("deprovision.dhcp-hostname") or "")
    if not done and not files:
        return unchanged(f"the host name is {name}")
    return changed(f"the host name is {name}" + (f", also in {', '.join(files)}" if files else ""))
