"""Put the keys in place that the document names by a certificate's thumbprint.

The certificates came with the goal state: <Lib.Dir>/<thumbprint>.crt and .prv.

Reads     ovf.public_keys, ovf.key_pairs, user.name; OS.HomeDir
Changes   authorized_keys of the user (0600); private keys (0600) with their public halves beside them (.pub, 0644)
Skips     when the document has none
Fails     SshError naming a thumbprint that has no certificate, a file that is none, a path outside of the home
"""

from __future__ import annotations

from waagent.errors import SshError
from waagent.machine import authorized_keys, homes, selinux, users
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Put keys of certificates in place",
    frequency="per-instance",
    reads=("OS.HomeDir",),
    when=("provisioning.by=waagent", "ovf.user_name"),
    essential=True,
)


def run(ctx: Context) -> Outcome:
    public = [key for key in ctx.fact("ovf.public_keys", []) if not key["value"]]
    pairs = ctx.fact("ovf.key_pairs", [])
    if not public and not pairs:
        return skipped("the document names no certificates")
    account = users.require(ctx.system, str(ctx.fact("user.name") or ctx.fact("ovf.user_name")))
    home = ctx.config.text("OS.HomeDir") or "/home"
    written = []
    for key in public:
        place = homes.place(account, key["path"], home)
        line = authorized_keys.of_certificate(_file(ctx, key["fingerprint"], "crt"))
        authorized_keys.add(ctx.system, account, place, [line])
        written.append(place)
    for pair in pairs:
        place = homes.place(account, pair["path"], home)
        private = _file(ctx, pair["fingerprint"], "prv")
        line = authorized_keys.of_private_key(private)
        homes.write(ctx.system, account, place, private, mode=0o600)
        homes.write(ctx.system, account, f"{place}.pub", f"{line}\n".encode(), mode=0o644)
        written += [place, f"{place}.pub"]
    told = f"{len(public)} public keys and {len(pairs)} key pairs for {account.name}"
    if not ctx.system.effects:
        return unchanged(told)
    selinux.restore(ctx.system, *(f"{account.home}/{place}" for place in written))
    return changed(told)


def _file(ctx: Context, thumbprint: str, kind: str) -> bytes:
    path = f"{ctx.lib}/{thumbprint}.{kind}"
    try:
        return ctx.system.read(path)
    except FileNotFoundError:
        what = "certificate" if kind == "crt" else "private key"
        raise SshError(
            f"cannot put the key {thumbprint} in place: the platform sent no {what} of that thumbprint ({path} is "
            "missing); the next boot tries again",
            thumbprint=thumbprint,
        ) from None
