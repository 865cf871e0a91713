"""Remove the units that agents made on this machine: the firewall's at boot, and limits of control groups.

They name paths of this instance's agent, and are made again where they are wanted.

Changes   <service>-network-setup.service with the links that enable it, drop-ins of <service>.service.d, the slice
          of the log collector
Skips     without systemd

Source: provisioning 5.2 rows 15 and 16.
"""

from __future__ import annotations

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(summary="Remove units made on this machine", frequency="always")

DROP_INS = ("10-Slice.conf", "11-CPUAccounting.conf", "12-CPUQuota.conf", "13-MemoryAccounting.conf")
SLICE = "azure-walinuxagent-logcollector.slice"


def run(ctx: Context) -> Outcome:
    profile = ctx.profile
    folders = [folder for folder in map(profile.text, ("paths.runtime-units", "paths.units")) if folder]
    if not folders:
        return skipped("this system has no units")
    names = {profile.text("services.incumbent") or "waagent", profile.text("services.agent") or "waagent"}
    patterns = []
    for folder in dict.fromkeys(folders):
        patterns.append(f"{folder}/{SLICE}")
        for name in sorted(names):
            setup = f"{name}-network-setup.service"
            patterns += [f"{folder}/*.wants/{setup}", f"{folder}/{setup}"]
            patterns += [f"{folder}/{name}.service.d/{each}" for each in DROP_INS]
    gone = cleaning.remove(ctx.system, patterns)
    return changed(f"removed {', '.join(gone)}") if gone else unchanged("there are none")
