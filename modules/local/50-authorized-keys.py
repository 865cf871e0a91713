"""Let the owner's SSH keys log in: those that the document has by value.

Keys that it names by the thumbprint of a certificate come with the goal state: the step certificate-keys of the
stage config puts them in place.

Reads     ovf.public_keys, user.name; OS.HomeDir
Changes   authorized_keys of the user (0600, its directory 0700, both the user's); no key twice
Fails     SshError: a text that is no key, a path outside of the user's home, a link where a directory should be
"""

from __future__ import annotations

from waagent.machine import authorized_keys, homes, selinux, users
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Authorize the owner's SSH keys",
    frequency="per-instance",
    reads=("OS.HomeDir",),
    when=("provisioning.by=waagent", "ovf.user_name"),
    essential=True,
)


def run(ctx: Context) -> Outcome:
    wanted = [key for key in ctx.fact("ovf.public_keys", []) if key["value"]]
    if not wanted:
        return skipped("the document has no keys by value")
    account = users.require(ctx.system, str(ctx.fact("user.name") or ctx.fact("ovf.user_name")))
    by_path: dict[str, list[authorized_keys.Key]] = {}
    for key in wanted:
        place = homes.place(account, key["path"], ctx.config.text("OS.HomeDir") or "/home")
        by_path.setdefault(place, []).extend(authorized_keys.parse(key["value"]))
    added = sum(authorized_keys.add(ctx.system, account, place, keys) for place, keys in by_path.items())
    if not ctx.system.effects:
        return unchanged(f"{len(wanted)} keys of {account.name} are in place")
    selinux.restore(ctx.system, *(f"{account.home}/{place}" for place in by_path))
    return changed(f"authorized {added} keys for {account.name}")
