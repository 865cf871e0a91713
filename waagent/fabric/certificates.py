"""Certificates: the transport key pair that the host encrypts to, and what it sends encrypted.

ensure_transport(system, lib) -> Transport       the pair, made when it is missing, damaged or about to expire
parse(content) -> bytes or None                  the Certificates document: CMS blob, None for "no certificates"
open_bundle(system, cms, lib, openssl) -> Bundle decrypt and take apart (openssl program)
store(system, bundle, lib) -> tuple of Certificate     write <thumbprint>.crt and .prv, mode 0600
decrypt(system, cms, lib, openssl) -> bytes      what one CMS blob to the transport key holds

Transport: header (base64 of the certificate's DER on one line, for x-ms-guest-agent-public-x509-cert), made (bool).
Certificate: thumbprint (SHA-1 of the DER, 40 upper-case hex digits), has_private_key.

That the pair works is found out once in a boot: looking into keys takes a library that is slow to load. The digest
of what was looked at is kept in /run, with the second at which the pair has to be made anew.

A valid pair is never replaced: another process may be waiting for an answer to the old one. The certificate needs
a subject key identifier, by which the host names the recipient. Keys are matched to certificates by public key,
unless all of them are known as pairs from an earlier time; a key without a certificate is passed over; two
certificates of one key both get it.

Nothing secret is on disk besides the private keys: what openssl decrypts goes into memory that is read as a file
(memfd; where a system has none, a file of mode 0600 that is removed at once).

Raises GoalStateInvalid (document or bundle cannot be used); CommandFailed stays inside.

Source: wire-protocol 2.6.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, FabricRejected, FabricUnreachable, GoalStateInvalid, SystemRefused
from waagent.fabric import origin, xml
from waagent.fabric.wire import AES, TRIPLE_DES

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.fabric.wire import WireServer
    from waagent.system import System

DOCUMENT = "the certificates document"
PRIVATE, CERTIFICATE = "TransportPrivate.pem", "TransportCert.pem"
FORMAT = "Pkcs7BlobWithPfxContents"

VALID_DAYS = 730
RENEW_DAYS = 30  # before its end a pair is made anew
CHECKED = "/run/waagent/transport-checked"

OPENSSL_LIMIT = 30.0

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n(.+?)-----END \1-----", re.DOTALL)


class Transport(NamedTuple):
    header: str
    made: bool


class Certificate(NamedTuple):
    thumbprint: str
    has_private_key: bool


class Bundle(NamedTuple):
    """certificates: (thumbprint, PEM, PEM of its key or ""); orphans: number of keys that fit no certificate."""

    certificates: tuple[tuple[str, str, str], ...]
    orphans: int


# -- the transport pair ----------------------------------------------------------------------------------------


def ensure_transport(system: System, lib: str) -> Transport:
    """The key pair in `lib`, made when there is none that works. Raises SystemRefused when it cannot be written."""
    header = _seen_to_work(system, lib) or _usable(system, lib)
    if header is not None:
        return Transport(header, made=False)
    key, certificate = _generate(system)
    # The key first: a certificate without its key would be presented and could not be answered to.
    system.write(f"{lib}/{PRIVATE}", key, secret=True)
    system.write(f"{lib}/{CERTIFICATE}", certificate, secret=True)
    return Transport(one_line(certificate.decode("ascii")), made=True)


def one_line(pem: str) -> str:
    return "".join(line.strip() for line in pem.splitlines() if "----" not in line)


def _seen_to_work(system: System, lib: str) -> str | None:
    """The header of the pair on disk when it is the one that was found good in this boot; else None."""
    try:
        digest, _, until = system.read_text(CHECKED).strip().partition(" ")
        pem, key = system.read(f"{lib}/{CERTIFICATE}"), system.read(f"{lib}/{PRIVATE}")
        good = digest == _digest(pem, key) and system.clock.now().timestamp() < int(until)
    except (OSError, ValueError):
        return None
    return one_line(pem.decode("ascii", "replace")) if good else None


def _digest(pem: bytes, key: bytes) -> str:
    return hashlib.sha256(pem + b"\0" + key).hexdigest()


def _usable(system: System, lib: str) -> str | None:
    """The header of the pair on disk; None when it cannot serve (any more)."""
    from datetime import timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        pem = system.read(f"{lib}/{CERTIFICATE}")
        certificate = x509.load_pem_x509_certificate(pem, default_backend())
        private = system.read(f"{lib}/{PRIVATE}")
        key = load_pem_private_key(private, None, default_backend())
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        same = certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
        ends = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound):
        return None
    renewed = ends.replace(tzinfo=timezone.utc) - timedelta(days=RENEW_DAYS)
    if not same or renewed < system.clock.now():
        return None
    quiet = system.quietly()
    try:
        quiet.make_directory(os.path.dirname(CHECKED))
        quiet.write(CHECKED, f"{_digest(pem, private)} {renewed.timestamp():.0f}\n", mode=0o600, durable=False)
    except SystemRefused:  # then it is looked into again the next time
        pass
    return one_line(pem.decode("ascii", "replace"))


def _generate(system: System) -> tuple[bytes, bytes]:
    """A new RSA key and its self-signed certificate, both PEM."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.backends import default_backend
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 2048, default_backend())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LinuxTransport")])
    now = system.clock.now().replace(tzinfo=None, microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the host's clock need not agree with ours
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256(), default_backend())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


# -- the document and the bundle -------------------------------------------------------------------------------


def parse(content: bytes | str) -> bytes | None:
    """The CMS blob; None when the document holds no certificates (or a package of another format)."""
    root = xml.parse(content, DOCUMENT, "CertificateFile")
    if (xml.text(root, "Format") or FORMAT) != FORMAT:
        return None
    data = xml.text(root, "Data")
    if data is None:
        return None
    return from_base64(data, DOCUMENT, "Data")


def from_base64(text: str, document: str, element: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise xml.invalid(document, element, f"<{element}> is not base64: {error}") from error


def decrypt(system: System, cms: bytes, lib: str, openssl: str, what: str = DOCUMENT) -> bytes:
    """What the CMS blob holds that was encrypted to our transport certificate."""
    system.unforeseeable(f"decryption of {what}")
    with _Scratch(system.quietly(), lib) as scratch:
        try:
            system.run(
                *(openssl, "cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", f"{lib}/{PRIVATE}"),
                *("-recip", f"{lib}/{CERTIFICATE}", "-out", scratch.path),
                stdin=cms,
                limit=OPENSSL_LIMIT,
                reads=True,
            )
        except CommandFailed as error:
            raise xml.invalid(what, "Data", f"it cannot be decrypted: {error}") from error
        return scratch.content()


def open_bundle(system: System, cms: bytes, lib: str, openssl: str) -> Bundle:
    """Decrypt the blob and take the PKCS#12 file in it apart."""
    pkcs12 = decrypt(system, cms, lib, openssl)
    reading = (openssl, "pkcs12", "-nodes", "-password", "pass:")
    try:
        opened = system.run(*reading, "-nomacver", stdin=pkcs12, limit=OPENSSL_LIMIT, ok=None, reads=True)
        if opened.status != 0:  # some builds lack -nomacver
            opened = system.run(*reading, stdin=pkcs12, limit=OPENSSL_LIMIT, reads=True)
    except CommandFailed as error:
        raise xml.invalid(DOCUMENT, "Data", f"the bundle in it cannot be opened: {error}") from error
    known = _kept_pairs(system, lib, opened.stdout)
    if known is not None:
        return take_apart(opened.stdout, lambda kind, pem: known.get(pem))
    return take_apart(opened.stdout, lambda kind, pem: _public_key(system, openssl, kind, pem))


def _kept_pairs(system: System, lib: str, pem: str) -> dict[str, str] | None:
    """Which blocks belong together when each of them lies in `lib` already as one of a pair; else None."""
    blocks = [(match[1], f"{match[0]}\n") for match in _BLOCK.finditer(pem)]
    keys = {block for label, block in blocks if label.endswith("PRIVATE KEY")}
    certificates = [block for label, block in blocks if label == "CERTIFICATE"]
    pairs: dict[str, str] = {}
    for block in certificates:
        try:
            der = base64.b64decode("".join(block.splitlines()[1:-1]), validate=True)
            thumbprint = hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - the platform's name for it
            kept, key = (system.read_text(f"{lib}/{thumbprint}.{kind}") for kind in ("crt", "prv"))
        except (OSError, ValueError):
            return None
        if kept != block or key not in keys or pairs.setdefault(key, thumbprint) != thumbprint:
            return None
        pairs[block] = thumbprint
    return pairs if keys <= pairs.keys() else None


class _Scratch:
    """A place for one program's output: memory with a path, gone with this process at the latest."""

    def __init__(self, system: System, lib: str) -> None:
        self._system, self._memory = system, -1
        if hasattr(os, "memfd_create"):
            self._memory = os.memfd_create("waagent")
            self.path = f"/proc/{os.getpid()}/fd/{self._memory}"
        else:
            self.path = f"{lib}/Transport.{os.getpid()}.opened"

    def __enter__(self) -> _Scratch:
        if self._memory < 0:
            self._system.write(self.path, b"", secret=True)  # there with mode 0600 before a program opens it
        return self

    def __exit__(self, *_: object) -> None:
        if self._memory < 0:
            self._system.remove(self.path)
        else:
            os.close(self._memory)

    def content(self) -> bytes:
        if self._memory < 0:
            return self._system.read(self.path)
        return os.pread(self._memory, os.fstat(self._memory).st_size, 0)


def take_apart(pem: str, public_key: Callable[[str, str], str | None]) -> Bundle:
    """Certificates and keys of a PEM text, joined by public key.

    public_key("KEY" or "CERTIFICATE", block) gives its public key in a form to compare, None when it cannot.
    """
    keys: dict[str, str] = {}
    certificates: list[tuple[str, str, str | None]] = []
    unreadable = 0
    for match in _BLOCK.finditer(pem):
        label, block = match[1], f"{match[0]}\n"
        if label.endswith("PRIVATE KEY"):
            public = public_key("KEY", block)
            if public is None:
                unreadable += 1
            else:
                keys[public] = block
        elif label == "CERTIFICATE":
            try:
                der = base64.b64decode("".join(match[2].split()), validate=True)
            except (binascii.Error, ValueError):
                continue
            thumbprint = hashlib.sha1(der).hexdigest().upper()  # noqa: S324 - the platform's name for it
            certificates.append((thumbprint, block, public_key("CERTIFICATE", block)))
    owned = {public for _, _, public in certificates}
    return Bundle(
        tuple((thumbprint, block, keys.get(public or "", "")) for thumbprint, block, public in certificates),
        unreadable + sum(public not in owned for public in keys),
    )


def _public_key(system: System, openssl: str, kind: str, pem: str) -> str | None:
    asking = ("pkey", "-pubout") if kind == "KEY" else ("x509", "-noout", "-pubkey")
    told = system.run(openssl, *asking, stdin=pem, limit=OPENSSL_LIMIT, ok=None, reads=True)
    return told.stdout if told.status == 0 and "PUBLIC KEY" in told.stdout else None


def store(system: System, bundle: Bundle, lib: str) -> tuple[Certificate, ...]:
    """Write what is new or different; files of certificates that were delivered earlier stay."""
    stored: dict[str, Certificate] = {}
    for thumbprint, certificate, key in bundle.certificates:
        if key:
            system.write(f"{lib}/{thumbprint}.prv", key, secret=True)
        system.write(f"{lib}/{thumbprint}.crt", certificate, secret=True)
        stored[thumbprint] = Certificate(thumbprint, bool(key) or stored.get(thumbprint, ("", False))[1])
    return tuple(stored.values())


def fetch(
    wire: WireServer, url: str, lib: str, openssl: str, note: Callable[[str], None]
) -> tuple[Certificate, ...] | None:
    """All of it: ask, decrypt, store. None when it did not work out (told to note): the goal state goes on without.

    AES is asked for first, as FIPS systems lack triple DES; triple DES when AES is refused or cannot be opened.
    """
    transport = ensure_transport(wire.system, lib)
    failures: list[str] = []
    for cipher in (AES, TRIPLE_DES):
        try:
            document = wire.encrypted_document(url, "the certificates", transport.header, cipher)
            with origin.told(url):
                cms = parse(document)
            if cms is None:
                note("the certificates document holds no certificates in a format that can be read")
                return ()
            bundle = open_bundle(wire.system, cms, lib, openssl)
        except (FabricUnreachable, FabricRejected, GoalStateInvalid) as error:
            failures.append(f"{cipher}: {error}")
            continue
        if bundle.orphans:
            note(f"{bundle.orphans} private keys came without a certificate; they are passed over")
        return store(wire.system, bundle, lib)
    note(f"no certificates could be had, continuing without: {'; '.join(failures)}")
    return None
