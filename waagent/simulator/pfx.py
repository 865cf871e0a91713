"""Join several PKCS#12 files (empty password, SHA-1 MAC) into one.

The platform's bundle can hold several private keys; `openssl pkcs12 -export` writes one key per file. A PFX is a
list of independently encrypted safes under one MAC, so the safes of several files can stand side by side once the
MAC over them is computed anew.

Source: RFC 7292 (structure, key derivation of appendix B); wire-protocol 2.6 for the parameters.
"""
from __future__ import annotations

import hashlib
import hmac
import os

from .errors import SimulatorError

MAC_ITERATIONS = 2000
OID_DATA = bytes.fromhex("06092a864886f70d010701")
SHA1_ALGORITHM = bytes.fromhex("300906052b0e03021a0500")


def merge(files: list[bytes]) -> bytes:
    """One PFX with the content of all; each must be DER as openssl writes it."""
    safes = b"".join(_children(_authenticated_safe(one))[2] for one in files)
    content = _der(0x30, safes)
    info = _der(0x30, OID_DATA + _der(0xA0, _der(0x04, content)))
    salt = os.urandom(8)
    digest = hmac.new(_mac_key(salt, MAC_ITERATIONS), content, hashlib.sha1).digest()
    mac = _der(0x30, _der(0x30, SHA1_ALGORITHM + _der(0x04, digest)) + _der(0x04, salt) +
               _der(0x02, MAC_ITERATIONS.to_bytes(2, "big")))
    return _der(0x30, _der(0x02, b"\x03") + info + mac)


def _authenticated_safe(pfx: bytes) -> bytes:
    """The DER of AuthenticatedSafe; a PFX is SEQUENCE { version, ContentInfo { OID, [0] { it } }, mac }."""
    _, _, outer = _children(pfx)
    _, after_version, _ = _children(outer)
    _, _, info = _children(outer[after_version:])
    if not info.startswith(OID_DATA):
        raise SimulatorError("cannot join PFX files: one is not protected by a password")
    _, _, explicit = _children(info[len(OID_DATA):])
    tag, _, content = _children(explicit)
    if tag != 0x04:
        raise SimulatorError(f"cannot join PFX files: expected an octet string, found tag {tag:#x}")
    return content


def _children(data: bytes) -> tuple[int, int, bytes]:
    """Tag, total length and content of the DER value that `data` starts with."""
    length = data[1]
    start = 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[2:2 + count], "big")
        start = 2 + count
    return data[0], start + length, data[start:start + length]


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _mac_key(salt: bytes, iterations: int) -> bytes:
    """RFC 7292 appendix B.2 for the empty password (two zero bytes as BMP string), SHA-1, purpose 3 (MAC)."""
    block = 64
    diversifier = b"\x03" * block
    salted = (salt * block)[:block]
    password = (b"\x00\x00" * block)[:block]
    digest = hashlib.sha1(diversifier + salted + password).digest()  # noqa: S324 - the algorithm of the format
    for _ in range(iterations - 1):
        digest = hashlib.sha1(digest).digest()  # noqa: S324
    return digest
