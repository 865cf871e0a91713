"""Keys and certificates of the simulated fabric, and what is encrypted with them.

    Certificate          certificate PEM, private key PEM or None, thumbprint (SHA-1, upper-case hex), friendly name
    make_certificate()   a new RSA 2048 key with a self-signed certificate that has a subject key identifier
    pfx_bundle()         PKCS#12 with the empty password and the old algorithms that the platform uses
    encrypt_to_presented()   CMS for the certificate that an agent presents; recipient by key identifier
    encrypt_settings()   CMS for the tenant certificate; recipient by issuer and serial, 3DES

CMS is made by the `openssl` program: recipients by key identifier and 3DES content are beyond `cryptography`.
All functions raise SimulatorError with openssl's own words when it fails.

Source: wire-protocol 2.6 (recipe), 2.8.
"""
from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import os
import subprocess
import tempfile
from typing import NamedTuple, Optional

from .errors import SimulatorError

OPENSSL = "openssl"
CIPHERS = {"AES128_CBC": "-aes-128-cbc", "DES_EDE3_CBC": "-des3"}


class Certificate(NamedTuple):
    """A certificate of the bundle, with its private key if the machine is to get that too."""

    certificate: str
    key: Optional[str]
    thumbprint: str
    name: str

    def public_ssh_key(self) -> str:
        """The public key as one OpenSSH line, as it ends up in authorized_keys."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        key = x509.load_pem_x509_certificate(self.certificate.encode()).public_key()
        return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def thumbprint_of(certificate_pem: str) -> str:
    return hashlib.sha1(pem_to_der(certificate_pem)).hexdigest().upper()  # noqa: S324 - names, protects nothing


def pem_to_der(pem: str) -> bytes:
    lines = [line for line in pem.splitlines() if line and "-----" not in line]
    return base64.b64decode("".join(lines))


def der_to_pem(der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[start:start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def make_certificate(common_name: str, name: str = "", domain: bool = False, with_key: bool = True) -> Certificate:
    """A fresh self-signed certificate; `domain` writes the subject as DC, as the tenant certificate has it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = NameOID.DOMAIN_COMPONENT if domain else NameOID.COMMON_NAME
    subject = x509.Name([x509.NameAttribute(kind, common_name)])
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256()))
    pem = certificate.public_bytes(Encoding.PEM).decode()
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Certificate(pem, key_pem if with_key else None, thumbprint_of(pem), name or common_name)


def read_certificate(certificate_pem: str, key_pem: Optional[str] = None, name: str = "") -> Certificate:
    """A certificate that the caller brings; SimulatorError if it is none."""
    from cryptography import x509
    try:
        x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError as error:
        raise SimulatorError(f"cannot read certificate: {error}; a PEM certificate was expected") from None
    return Certificate(certificate_pem, key_pem, thumbprint_of(certificate_pem), name)


def check_presented(header: str) -> str:
    """The PEM of a presented certificate (base64 DER); ValueError when the fabric could not encrypt to it."""
    from cryptography import x509
    try:
        der = base64.b64decode(header, validate=True)
        certificate = x509.load_der_x509_certificate(der)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not the base64 of a DER certificate on one line: {error}") from None
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        raise ValueError("it has no SubjectKeyIdentifier extension, which names the recipient") from None
    return der_to_pem(der)


def openssl(arguments: list[str], stdin: bytes = b"") -> bytes:
    try:
        done = subprocess.run([OPENSSL, *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        raise SimulatorError(f"cannot run {OPENSSL}: not found; install openssl") from None
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise SimulatorError(f"openssl {arguments[0]} failed with status {done.returncode}: {why}")
    return done.stdout


def encrypt_to_presented(content: bytes, certificate_pem: str, cipher: str) -> bytes:
    """DER of CMS EnvelopedData v2 for the presented certificate; `cipher` is a name of x-ms-cipher-name."""
    return _cms(content, certificate_pem, ["-keyid", CIPHERS[cipher]])


def encrypt_settings(content: bytes, certificate_pem: str) -> str:
    """Protected settings as they stand in a goal state: base64 on one line."""
    return base64.b64encode(_cms(content, certificate_pem, ["-des3"])).decode()


def _cms(content: bytes, certificate_pem: str, options: list[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="waagent-simulator-") as directory:
        path = os.path.join(directory, "recipient.pem")
        with open(path, "w", encoding="ascii") as file:
            file.write(certificate_pem)
        return openssl(["cms", "-encrypt", "-binary", *options, "-outform", "DER", path], stdin=content)


def pfx_bundle(certificates: list[Certificate]) -> bytes:
    """The PFX of the Certificates document: any number of certificates, each with or without its key."""
    from .pfx import merge
    with_keys = [one for one in certificates if one.key is not None]
    without = [one for one in certificates if one.key is None]
    parts = []
    for index, one in enumerate(with_keys):
        parts.append(_pfx(one, without if index == 0 else []))
    if not with_keys:
        parts.append(_pfx(None, without))
    return parts[0] if len(parts) == 1 else merge(parts)


def _pfx(with_key: Optional[Certificate], without: list[Certificate]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="waagent-simulator-") as directory:
        def put(name: str, text: str) -> str:
            path = os.path.join(directory, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
                file.write(text)
            return path
        others = "".join(one.certificate for one in without)
        arguments = ["pkcs12", "-export", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES",
                     "-macalg", "sha1", "-iter", "2000", "-passout", "pass:"]
        if with_key is None:
            return openssl([*arguments, "-nokeys", "-in", put("others.pem", others)])
        arguments += ["-inkey", put("key.pem", with_key.key or ""), "-in", put("cert.pem", with_key.certificate),
                      "-name", with_key.name or "certificate"]
        if others:
            arguments += ["-certfile", put("others.pem", others)]
        return openssl(arguments)


def sign(content: bytes, certificate: Certificate) -> bytes:
    """DER of a CMS signature with the content inside, as the attested document of the metadata service has it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.serialization import pkcs7
    key = serialization.load_pem_private_key((certificate.key or "").encode(), None)
    signer = x509.load_pem_x509_certificate(certificate.certificate.encode())
    return pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(
        signer, key, hashes.SHA256()).sign(  # type: ignore[arg-type]  # our own keys are RSA
            serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary])
