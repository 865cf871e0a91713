"""Remove the udev rules that pin interface names to hardware addresses.

A machine made of this disk's image, or this one on another host, has another address and must still call its
interface eth0. The rules are moved into the state directory, where an admin finds them. A link to /dev/null or an
empty file in the place of one says that there shall be none: it stays.

Reads     OS.RemovePersistentNetRulesPeriod, Network.Manage
Changes   /etc/udev/rules.d/70-persistent-net.rules, /lib/udev/rules.d/75-persistent-net-generator.rules
Skips     where the distribution keeps none, or Network.Manage=n
"""

from __future__ import annotations

import posixpath

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Remove rules that pin interface names",
    frequency="always",
    every="OS.RemovePersistentNetRulesPeriod",
    watching=("/lib/udev/rules.d/75-persistent-net-generator.rules", "/etc/udev/rules.d/70-persistent-net.rules"),
    reads=("OS.RemovePersistentNetRulesPeriod", "Network.Manage"),
)

LARGEST = 1024 * 1024
RULES = ("/lib/udev/rules.d/75-persistent-net-generator.rules", "/etc/udev/rules.d/70-persistent-net.rules")


def run(ctx: Context) -> Outcome:
    way = ctx.profile.text("network.persistent-rules")
    if way == "leave":
        return skipped("this distribution does not pin interface names this way")
    if not ctx.config.switch("Network.Manage"):
        return skipped("Network.Manage=n")
    gone = []
    for path in RULES:
        content = _content(ctx, path)
        if not content:
            continue
        if way == "move":
            ctx.system.write(f"{ctx.lib}/{posixpath.basename(path)}", content, mode=0o600)
        if ctx.system.remove(path):
            gone.append(path)
    if not gone:
        return unchanged("no rules pin interface names")
    return changed(f"removed {', '.join(gone)}")


def _content(ctx: Context, path: str) -> bytes:
    """Of the rules; nothing where there are none, or where something else has their name."""
    try:
        content = ctx.system.read_foreign(path, LARGEST + 1)
    except OSError:
        return b""
    return content if len(content) <= LARGEST else b""
