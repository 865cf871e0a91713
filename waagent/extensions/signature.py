"""Is a package signed by who it should be: a detached CMS signature over the zip file, byte for byte.

    check(...)        before unpacking: does the signature of the goal state fit the file
    names_agree(...)  after unpacking: signingInfo in the manifest names the same publisher, type and version

Certificates' dates are ignored on purpose: packages outlive them. Without a policy that requires a signature, a bad
one is noted and the package is used; with one it is refused (1009) and deleted before anything of it is unpacked.

What signatures lead up to is the first of these files that is there (PEM, one certificate or several).

    Extensions.SignatureRoot                  the file that the option names; then only that one counts
    /etc/waagent/extension-root.pem           the administrator's
    /usr/lib/waagent/data/extension-root.pem  shipped: Microsoft's root of 2011
    LIB/microsoft_root_certificate.pem        left by another agent, where a packager has left ours out

Source: extensions 9.5.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions import codes
from waagent.extensions.handler import HandlerManifest
from waagent.fabric.desired import Handler
from waagent.system import System, vendor


def roots(lib: str, option: str | None = None) -> tuple[str, ...]:
    """Where the root may lie; the first file that is there counts."""
    if option:
        return (option,)
    return (
        "/etc/waagent/extension-root.pem",
        f"{vendor.VENDOR}/data/extension-root.pem",
        f"{lib}/microsoft_root_certificate.pem",
    )


def check(
    system: System,
    zip_path: str,
    handler: Handler,
    *,
    openssl: str,
    roots: Sequence[str],
    wanted: bool,
    required: bool,
    notes: list[str],
) -> bool:
    """Whether the package has a good signature. Raises ExtensionError(1009) if one is required and it has none."""
    if not wanted and not required:
        return False
    why = _objection(system, zip_path, handler, openssl, roots)
    if not why:
        return True
    if required:
        raise ExtensionError(
            f"will not run {handler.name}: the policy requires a signed package, and {why}; it was deleted",
            handler=handler.name,
            code=codes.ENABLE_FAILED,
            denied=True,
        )
    if handler.signature:
        notes.append(f"{handler.name}: {why}; it is used all the same, because no policy requires a signature")
    return False


def _objection(system: System, zip_path: str, handler: Handler, openssl: str, roots: Sequence[str]) -> str:
    """What is wrong with the signature; "" when it is good."""
    if not handler.signature:
        return "this one is not signed"
    try:
        signature = base64.b64decode("".join(handler.signature.split()), validate=True)
    except (binascii.Error, ValueError):
        return "its signature is not base64"
    root = next((file for file in roots if system.exists(file)), None)
    if root is None:
        return f"there is no root certificate to check its signature with ({' or '.join(roots)})"
    temporary = f"{zip_path}_signature.pem"
    try:
        system.write(temporary, signature, mode=0o600)
        result = system.run(
            openssl, "cms", "-verify", "-binary", "-inform", "der", "-in", temporary, "-content", zip_path,
            "-purpose", "any", "-CAfile", root, "-no_check_time", "-out", "/dev/null",
            ok=None, reads=True, limit=120,
        )  # fmt: skip
    except SystemRefused as error:
        return f"its signature cannot be checked: {error}"
    finally:
        system.remove(temporary)
    if result.status != 0:
        last = (result.stderr.strip() or "no reason given").splitlines()[-1][:300]
        return f"its signature is not good (openssl cms: status {result.status}, {last})"
    return ""


def names_agree(manifest: HandlerManifest, name: str, version: str, notes: list[str]) -> bool:
    """Whether the signed manifest is the one of this handler and version; differences are noted."""
    publisher, _, kind = name.rpartition(".")
    for key, wanted in (("type", kind), ("publisher", publisher), ("version", version)):
        named = manifest.signing.get(key, "")
        if named.lower() != wanted.lower():
            notes.append(
                f"{name}: signingInfo names {key} {named!r} instead of {wanted!r}; it is used all the same"
            )
            return False
    return True
