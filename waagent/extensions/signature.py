"""Is a package signed by who it should be: a detached CMS signature over the zip file, byte for byte.

    Signatures.good(...)         before unpacking: does the signature of the goal state fit the file
    Signatures.names_agree(...)  after unpacking: does signingInfo in the manifest name the same handler and version
    Signatures.refused(...)      the error for a package that a policy does not let run

Certificates' dates are ignored on purpose: packages outlive them. The certificates between the signer's and the
root come with the signature; those that this machine trusts for other things do not count. A signer's certificate
may say nothing about its use, or name one that is not known here, but not only TLS, mail, time stamps or OCSP.

Without a policy that requires a signature, a bad one is noted and the package is used; with one it is refused
(1009) and deleted before anything of it has run.

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
import re
from collections.abc import Sequence

from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions import codes
from waagent.extensions.handler import HandlerManifest
from waagent.extensions.policy import Policy
from waagent.fabric.desired import Handler
from waagent.system import System, vendor

# A directory of authorities that has none. Beside -CAfile, OpenSSL looks into its own directory (-no-CApath ends
# that) and from 3.0 on into a store at the same place (-no-CAstore would end that, but 1.1 does not know it).
NO_AUTHORITIES = {"SSL_CERT_DIR": "/dev/null", "SSL_CERT_FILE": "/dev/null"}
# Extended key usages: serverAuth, clientAuth, emailProtection, timeStamping, OCSPSigning.
OTHER_USES = frozenset(f"1.3.6.1.5.5.7.3.{last}" for last in (1, 2, 4, 8, 9))

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
    try:
        result = system.run(
            openssl, "cms", "-verify", "-binary", "-inform", "der", "-content", zip_path, "-purpose", "any",
            "-CAfile", root, "-no-CApath", "-no_check_time", "-signer", "/dev/stdout", "-out", "/dev/null",
            stdin=signature, env=NO_AUTHORITIES, ok=None, reads=True, limit=120,
        )  # fmt: skip
    except SystemRefused as error:
        return f"its signature cannot be checked: {error}"
    if result.status != 0:
        last = (result.stderr.strip() or "no reason given").splitlines()[-1][:300]
        return f"its signature is not good (openssl cms: status {result.status}, {last})"
    return _no_signer(result.stdout)


def _no_signer(certificates: str) -> str:
    """Why one of these (PEM) is no signer's; "" when all are."""
    from cryptography import x509

    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", certificates, re.DOTALL)
    if not blocks:
        return "openssl does not tell who has signed it"
    for block in blocks:
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            continue
        except ValueError as error:
            return f"the certificate of its signer cannot be read: {error}"
        if {one.dotted_string for one in usage} <= OTHER_USES:
            return "the certificate of its signer is only for something else (its extended key usage)"
    return ""
