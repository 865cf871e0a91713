"""Take the machine id away: it is in DHCP requests and in the names of logs, and every machine makes its own.

Emptied, it is made anew at the next boot. Removed, the next boot counts as the first one as well; that is for
distributions whose first boot does more.

Changes   /etc/machine-id; a copy of it at /var/lib/dbus/machine-id
Skips     where the profile says deprovision.machine-id: keep

Source: provisioning 5.2 row 17, 5.5.
"""

from __future__ import annotations

import stat

from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(summary="Take the machine id away", frequency="always")

ID, COPY = "/etc/machine-id", "/var/lib/dbus/machine-id"


def run(ctx: Context) -> Outcome:
    way = ctx.profile.text("deprovision.machine-id")
    if way == "keep":
        return skipped("this distribution keeps it")
    copied = _is_plain(ctx, COPY) and ctx.system.remove(COPY)
    done = ctx.system.remove(ID) if way == "remove" else cleaning.clear(ctx.system, ID)
    if not done and not copied:
        return unchanged("there is none")
    return changed("removed the machine id" if way == "remove" else "emptied the machine id")


def _is_plain(ctx: Context, path: str) -> bool:
    try:
        return stat.S_ISREG(ctx.system.status(path).st_mode)
    except OSError:
        return False
