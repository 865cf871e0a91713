"""Is a package signed by who it should be: a detached CMS signature over the zip file, byte for byte.

    Signatures.good(...)         before unpacking: does the signature of the goal state fit the file
    Signatures.names_agree(...)  after unpacking: does signingInfo in the manifest name the same handler and version
    Signatures.refused(...)      the error for a package that a policy does not let run

Certificates' dates are ignored on purpose: packages outlive them. Without a policy that requires a signature, a bad
one is noted and the package is used; with one it is refused (1009) and deleted before anything of it has run.

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
from waagent.extensions.policy import Policy
from waagent.fabric.desired import Handler
from waagent.system import System, vendor

_UNSIGNED = "the goal state has no signature of this one"
DELETED = "it was deleted"


def roots(lib: str, option: str | None = None) -> tuple[str, ...]:
    """Where the root may lie; the first file that is there counts."""
    if option:
        return (option,)
    return (
        "/etc/waagent/extension-root.pem",
        f"{vendor.VENDOR}/data/extension-root.pem",
        f"{lib}/microsoft_root_certificate.pem",
    )


class Signatures:
    """What an engine asks of signatures. policy: which handlers have to be signed.

    wanted: whether others are looked at. notes: what is amiss with these, and tolerated, goes there.
    """

    def __init__(
        self,
        system: System,
        *,
        openssl: str,
        roots: Sequence[str],
        wanted: bool,
        policy: Policy | None,
        notes: list[str],
    ) -> None:
        self._system, self._openssl, self._roots, self._wanted = system, openssl, roots, wanted
        self._policy, self._notes = policy, notes

    def requires(self, name: str) -> bool:
        """Whether the handler of this name has to be signed."""
        return self._policy is not None and self._policy.requires_signature(name)

    def refuses(self, handler: Handler) -> bool:
        """Whether its package need not be fetched: it has to be signed, and the goal state has no signature."""
        return self.requires(handler.name) and not handler.signature

    def demand(self, handler: Handler, then: str = "nothing was fetched") -> None:
        """Raises ExtensionError(1009) where `refuses` says so."""
        if self.refuses(handler):
            raise self.refused(handler, _UNSIGNED, then)

    def good(self, handler: Handler, zip_path: str, then: str = DELETED) -> bool:
        """Whether the package has a good signature. Raises ExtensionError(1009) if it has to be and is not.

        then: what becomes of it.
        """
        if not self._wanted and not self.requires(handler.name):
            return False
        return self._judge(handler, _objection(self._system, zip_path, handler, self._openssl, self._roots), then)

    def names_agree(self, handler: Handler, version: str, manifest: HandlerManifest, then: str = DELETED) -> bool:
        """Whether the signed manifest is the one of this handler and version. Raises as `good` does.

        A good signature of another package would do otherwise.
        """
        publisher, _, kind = handler.name.rpartition(".")
        for key, wanted in (("type", kind), ("publisher", publisher), ("version", version)):
            named = manifest.signing.get(key, "")
            if named.lower() != wanted.lower():
                why = f"its signingInfo names {key} {named!r:.80} instead of {wanted!r}"
                return self._judge(handler, why, then)
        return True

    def _judge(self, handler: Handler, why: str, then: str) -> bool:
        if why and self.requires(handler.name):
            raise self.refused(handler, why, then)
        if why and handler.signature:
            self._notes.append(
                f"{handler.name}: {why}; it is used all the same, because no policy requires a signature"
            )
        return not why

    def refused(self, handler: Handler, why: str, then: str) -> ExtensionError:
        """A denial: both levels are told."""
        name = handler.name
        rule = self._policy.signature_rule(name) if self._policy is not None else ""
        return ExtensionError(
            f"will not run {name}: {rule} requires a signed package, and {why}; {then}",
            handler=name,
            code=codes.ENABLE_FAILED,
            denied=True,
        )


def _objection(system: System, zip_path: str, handler: Handler, openssl: str, roots: Sequence[str]) -> str:
    """What is wrong with the signature; "" when it is good."""
    if not handler.signature:
        return _UNSIGNED
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
