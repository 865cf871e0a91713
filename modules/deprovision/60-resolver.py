"""Delete the resolver configuration of this machine's network.

A link into /run is kept: what it leads to is in memory, and the service that writes it needs the link. Any other
link goes with the file it names. Where resolvconf looks after the file, its own sources go instead.

Changes   the files of the profile's deprovision.resolver or deprovision.resolvconf
Skips     where the distribution keeps the file

Source: provisioning 5.3; field demand 135.
"""

from __future__ import annotations

import os
import posixpath

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(summary="Delete the resolver configuration", frequency="always")

USUAL = "/etc/resolv.conf"


def run(ctx: Context) -> Outcome:
    files = ctx.profile.texts("deprovision.resolver")
    if not files:
        return skipped(ctx.profile.text("deprovision.resolver-note") or "this distribution keeps it")
    instead = ctx.profile.texts("deprovision.resolvconf")
    if instead and _target(ctx, USUAL).startswith("/run/resolvconf/"):
        files = instead
    gone, kept = [], []
    for path in files:
        target = _target(ctx, path)
        if target.startswith("/run/"):
            kept.append(f"{path} leads to {target}")
            continue
        gone += [each for each in (target, path) if each and ctx.system.remove(each)]
    if not gone:
        return unchanged("; ".join(kept) or "there is none")
    return changed(f"deleted {', '.join(dict.fromkeys(gone))}")


def _target(ctx: Context, path: str) -> str:
    """Where a link leads, as a path of the machine; "" when it is no link. /var/run is /run."""
    try:
        here = ctx.system.path(posixpath.dirname(path)) / posixpath.basename(path)
        target = os.readlink(here)
    except OSError:
        return ""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return target[len("/var") :] if target.startswith("/var/run/") else target
