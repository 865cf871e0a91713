"""Public keys that may log in: what a line of authorized_keys is, and adding some to a file.

parse(text) -> [Key(options, kind, blob, comment)]   one key a line; SshError for a line that is no key
add(system, account, relative, keys)                 number of keys that were not there yet

A key is its kind and blob: the blob is Base64, and what it decodes to begins with the kind again, so a line that
was cut or is something else is told from a key without a list of kinds. Options before the kind are allowed. A
key that the file has already, with whatever comment and options, is not added again. Other lines stay byte for
byte.

of_certificate(pem) and of_private_key(pem) give the OpenSSH line for a certificate and for a key pair of the
platform.

Source: provisioning 4.5; sshd(8) for the file; RFC 4253 6.6 for the blob.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from waagent.errors import SshError
from waagent.machine import homes
from waagent.machine.users import Account
from waagent.system import System

_KIND = re.compile(r"(?:ssh|ecdsa|sk|webauthn|rsa|ed25519)[a-z0-9@.-]+", re.ASCII)
_OPTION = re.compile(r'(?:[^ \t"]|"(?:[^"\\]|\\.)*")+')


class Key(NamedTuple):
    options: str
    kind: str
    blob: str
    comment: str

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


def parse(text: str) -> list[Key]:
    """The keys in a text, one a line; blank lines and comments do not count. Raises SshError."""
    keys = []
    for line in text.replace("\r", "\n").split("\n"):
        plain = line.strip()
        if plain and not plain.startswith("#"):
            keys.append(key(plain))
    if not keys:
        raise SshError("cannot use the public key: the text is empty")
    return keys


def key(line: str) -> Key:
    """The key on one line. Raises SshError that shows the beginning of the line and says what is wrong with it."""
    words = line.split(None, 2)
    options = ""
    if words and not _KIND.fullmatch(words[0]):
        found = _OPTION.match(line)
        options = found.group() if found else ""
        words = line[len(options) :].split(None, 2)
    if any(ord(character) < 32 and character != "\t" for character in line):
        raise _no_key(line, "it contains a control character")
    if len(words) < 2 or not _KIND.fullmatch(words[0]):
        raise _no_key(line, "it is not of the form: [options] kind base64 [comment]")
    kind, blob = words[0], words[1]
    named = _named(blob)
    if named is None:
        raise _no_key(line, "its second word is no Base64 of a key; was it cut?")
    if named != kind:
        raise _no_key(line, f"it says {kind} but holds a key of kind {named[:40]}")
    return Key(options, kind, blob, words[2].strip() if len(words) > 2 else "")


def add(system: System, account: Account, relative: str, keys: Iterable[Key]) -> int:
    """Have the keys in the file `relative` below the account's home; returns how many were added.

    Mode 0600, directory 0700, both the account's, as sshd's StrictModes wants them. Raises SshError.
    """
    before = homes.read(system, account, relative) or b""
    lines = before.decode("utf-8", "surrogateescape").splitlines()
    present = {identity for identity in map(_identity, lines) if identity is not None}
    added = []
    for wanted in keys:
        if (wanted.kind, wanted.blob.rstrip("=")) not in present:
            present.add((wanted.kind, wanted.blob.rstrip("=")))
            added.append(str(wanted))
    content = before
    if added:
        if content and not content.endswith(b"\n"):
            content += b"\n"
        content += "".join(f"{line}\n" for line in added).encode("utf-8")
    homes.write(system, account, relative, content, mode=0o600)
    return len(added)


def of_certificate(pem: bytes) -> Key:
    """The public key of a certificate, as a line of authorized_keys. Raises SshError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        public = x509.load_pem_x509_certificate(pem).public_key()
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, TypeError, AttributeError) as error:
        raise SshError(f"cannot make an SSH key of the certificate: {error}") from error
    return key(line.decode("ascii"))


def of_private_key(pem: bytes) -> Key:
    """The public half of a private key, as a line of authorized_keys. Raises SshError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        public = load_pem_private_key(pem, None).public_key()
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, TypeError, AttributeError) as error:
        # What the library says about a key it cannot read does not quote the key.
        raise SshError(f"cannot read the private key: {error}") from error
    return key(line.decode("ascii"))


def _identity(line: str) -> tuple[str, str] | None:
    plain = line.strip()
    if not plain or plain.startswith("#"):
        return None
    try:
        found = key(plain)
    except SshError:
        return None  # a line that sshd will not understand either; not ours to judge
    return found.kind, found.blob.rstrip("=")


def _named(blob: str) -> str | None:
    """The kind inside the blob: its first field, a length and a text."""
    import base64
    import binascii

    try:
        raw = base64.b64decode(blob + "=" * (-len(blob) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    length = int.from_bytes(raw[:4], "big")
    if len(raw) < 4 or not 0 < length <= len(raw) - 4 or len(raw) < 4 + length + 4:
        return None
    return raw[4 : 4 + length].decode("ascii", "replace")


def _no_key(line: str, why: str) -> SshError:
    shown = line[:40] + ("…" if len(line) > 40 else "")
    return SshError(f"cannot use the public key {shown!r}: {why}")
