"""Certificates end to end with the openssl program: the pair, envelope, bundle, files."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.fabric.samples import FakeClock, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import certificates, remote_access
from waagent.system import Result, System
from waagent.system.command import execute

LIB = "/var/lib/waagent"
OPENSSL = "/usr/bin/openssl"


def openssl(*arguments: str, data: bytes | None = None) -> bytes:
    return subprocess.run([OPENSSL, *arguments], input=data, capture_output=True, check=True).stdout


@pytest.fixture
def machine(tmp_path: Path) -> System:
    """A fake root whose openssl is the real one, given the paths as they lie below the root."""
    root = tmp_path / "root"
    (root / "var/lib/waagent").mkdir(parents=True)

    def run(argv: tuple[str, ...], stdin: bytes | None, limit: float, env: Mapping[str, str] | None) -> Result:
        assert argv[0] == OPENSSL
        real = tuple(str(root) + word if word.startswith(LIB) else word for word in argv)
        return execute(real, stdin, limit, env)

    return System(root, execute=run, clock=FakeClock(), journalling=False)


class Keys:
    """Self-signed certificates with their keys, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *, kind: str = "rsa:2048", key: str = "") -> str:
        """Returns the thumbprint; with `key`, for the key of that name."""
        made = ("-key", f"{self.folder}/{key}.key") if key else ("-newkey", kind, "-keyout", f"{self.folder}/{name}.key")
        options = ("-pkeyopt", "ec_paramgen_curve:prime256v1") if kind == "ec" else ()
        openssl(
            *("req", "-x509", "-nodes", *made, *options, "-days", "10", "-subj", f"/CN={name}"),
            *("-out", f"{self.folder}/{name}.crt"),
        )
        der = openssl("x509", "-in", f"{self.folder}/{name}.crt", "-outform", "DER")
        return hashlib.sha1(der).hexdigest().upper()

    def bundle(self, first: str, *more: str) -> bytes:
        """A PKCS#12 file as the platform makes it: empty password, triple DES; `more` are certificates only."""
        chain = self.folder / "more.pem"
        chain.write_bytes(b"".join((self.folder / f"{name}.crt").read_bytes() for name in more))
        return openssl(
            *("pkcs12", "-export", "-inkey", f"{self.folder}/{first}.key", "-in", f"{self.folder}/{first}.crt"),
            *(("-certfile", str(chain)) if more else ()),
            *("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1", "-passout", "pass:"),
        )


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "keys").mkdir()
    return Keys(tmp_path / "keys")


def envelope(machine: System, content: bytes, cipher: str = "-aes-128-cbc") -> bytes:
    """Encrypted to the transport certificate, the recipient named by key identifier."""
    certificate = machine.path(f"{LIB}/TransportCert.pem")
    return openssl("cms", "-encrypt", "-binary", "-keyid", cipher, "-outform", "DER", str(certificate), data=content)


def names(machine: System) -> list[str]:
    return machine.listing(LIB)


@pytest.mark.wire("2.6/key", "2.6/subject", "2.6/files", "2.6/made-by", "8.1/Transport")
def test_the_pair_is_made_once_and_is_what_the_host_needs(machine: System) -> None:
    first = certificates.ensure_transport(machine, LIB)
    assert first.made
    second = certificates.ensure_transport(machine, LIB)
    assert second == (first.header, False)
    for name in ("TransportPrivate.pem", "TransportCert.pem"):
        assert stat.S_IMODE(os.stat(machine.path(f"{LIB}/{name}")).st_mode) == 0o600
    assert "\n" not in first.header
    text = openssl("x509", "-inform", "DER", "-noout", "-text", data=base64.b64decode(first.header)).decode()
    assert "Subject Key Identifier" in text
    assert "CN = LinuxTransport" in text
    assert "Public-Key: (2048 bit)" in text


@pytest.mark.wire("2.6/files")
@pytest.mark.parametrize(
    "damage",
    [
        lambda lib: (lib / "TransportCert.pem").unlink(),
        lambda lib: (lib / "TransportPrivate.pem").unlink(),
        lambda lib: (lib / "TransportCert.pem").write_bytes(b""),
        lambda lib: (lib / "TransportPrivate.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        lambda lib: (lib / "TransportPrivate.pem").write_bytes(openssl("genrsa", "2048")),
    ],
)
def test_a_damaged_pair_is_made_anew(machine: System, damage: object) -> None:
    first = certificates.ensure_transport(machine, LIB)
    assert callable(damage)
    damage(machine.path(LIB))
    second = certificates.ensure_transport(machine, LIB)
    assert second.made
    assert second.header != first.header
    assert not certificates.ensure_transport(machine, LIB).made


def test_a_pair_is_looked_into_once_in_a_boot(machine: System, monkeypatch: pytest.MonkeyPatch) -> None:
    first = certificates.ensure_transport(machine, LIB)
    certificates.ensure_transport(machine, LIB)
    with monkeypatch.context() as no_library:
        no_library.setitem(sys.modules, "cryptography", None)
        assert certificates.ensure_transport(machine, LIB) == (first.header, False)
        machine.path(certificates.CHECKED).write_text("nonsense")
        with pytest.raises(ImportError):
            certificates.ensure_transport(machine, LIB)


@pytest.mark.wire("2.6/made-by")
def test_a_pair_without_key_identifier_is_made_anew(machine: System) -> None:
    lib = machine.path(LIB)
    openssl(
        *("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "900", "-subj", "/CN=LinuxTransport"),
        *("-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"),
        *("-keyout", f"{lib}/TransportPrivate.pem", "-out", f"{lib}/TransportCert.pem"),
    )
    if b"Subject Key Identifier" in openssl("x509", "-in", f"{lib}/TransportCert.pem", "-noout", "-text"):
        pytest.skip("this openssl always adds a subject key identifier")
    assert certificates.ensure_transport(machine, LIB).made


@pytest.mark.wire("2.6/validity")
def test_a_pair_near_its_end_is_made_anew(machine: System) -> None:
    certificates.ensure_transport(machine, LIB)
    clock = machine.clock
    assert isinstance(clock, FakeClock)
    clock.passed = timedelta(days=699).total_seconds()
    assert not certificates.ensure_transport(machine, LIB).made
    clock.passed = timedelta(days=701).total_seconds()
    assert certificates.ensure_transport(machine, LIB).made


@pytest.mark.wire("2.6/made-by")
def test_a_pair_that_openssl_made_is_kept(machine: System) -> None:
    lib = machine.path(LIB)
    openssl(
        *("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "730", "-subj", "/CN=LinuxTransport"),
        *("-keyout", f"{lib}/TransportPrivate.pem", "-out", f"{lib}/TransportCert.pem"),
    )
    machine.clock.passed = -timedelta(days=400).total_seconds()  # type: ignore[attr-defined]
    assert not certificates.ensure_transport(machine, LIB).made


@pytest.mark.wire("2.6/decryption", "8.1/THUMBPRINT", "2.6/protectedSettings-thumbprint")
@pytest.mark.parametrize("cipher", ["-aes-128-cbc", "-des3"])
def test_a_bundle_becomes_files(machine: System, keys: Keys, cipher: str) -> None:
    certificates.ensure_transport(machine, LIB)
    tenant, ssh = keys.make("tenant"), keys.make("ssh")
    cms = envelope(machine, keys.bundle("tenant", "ssh"), cipher)
    bundle = certificates.open_bundle(machine, cms, LIB, OPENSSL)
    assert bundle.orphans == 0
    stored = certificates.store(machine, bundle, LIB)
    assert sorted(stored) == sorted([(tenant, True), (ssh, False)])
    assert names(machine) == sorted(
        ["TransportCert.pem", "TransportPrivate.pem", f"{tenant}.crt", f"{tenant}.prv", f"{ssh}.crt"]
    )
    for name in names(machine):
        assert stat.S_IMODE(os.stat(machine.path(f"{LIB}/{name}")).st_mode) == 0o600
    # What an extension does with these files.
    secret = openssl("cms", "-encrypt", "-binary", "-des3", "-outform", "DER", f"{keys.folder}/tenant.crt", data=b"{}")
    private = machine.path(f"{LIB}/{tenant}.prv")
    assert openssl("cms", "-decrypt", "-inform", "DER", "-inkey", str(private), data=secret) == b"{}"
    before = len(machine.effects)
    assert certificates.store(machine, bundle, LIB) == stored
    assert len(machine.effects) == before


@pytest.mark.wire("2.6/decryption")
def test_keys_find_their_certificates_by_public_key_in_any_order(machine: System, keys: Keys) -> None:
    prints = {name: keys.make(name, kind=kind) for name, kind in (("a", "rsa:2048"), ("b", "ec"), ("c", "rsa:2048"))}
    twin = keys.make("twin", key="a")
    pem = {name: (keys.folder / name).read_text() for name in ("a.key", "b.key", "c.key", "a.crt", "b.crt", "twin.crt")}
    text = "Bag Attributes\n    localKeyID: 01\n".join(
        [pem["c.key"], pem["b.key"], pem["twin.crt"], pem["a.crt"], "subject=DC = x\n", pem["b.crt"], pem["a.key"]]
    )
    bundle = certificates.take_apart(text, lambda kind, block: certificates._public_key(machine, OPENSSL, kind, block))
    assert bundle.orphans == 1  # c has no certificate
    owned = {thumbprint: key for thumbprint, _, key in bundle.certificates}
    assert set(owned) == {prints["a"], prints["b"], twin}
    assert owned[prints["a"]] == owned[twin] == pem["a.key"]
    assert owned[prints["b"]] == pem["b.key"]


@pytest.mark.wire("2.6/decryption", "8.1/Certificates.pfx")
def test_a_blob_to_somebody_else_cannot_be_opened_and_leaves_nothing(machine: System, keys: Keys) -> None:
    certificates.ensure_transport(machine, LIB)
    keys.make("other")
    alien = openssl("cms", "-encrypt", "-binary", "-keyid", "-outform", "DER", f"{keys.folder}/other.crt", data=b"x")
    for cms in (alien, b"", b"garbage"):
        with pytest.raises(GoalStateInvalid, match="cannot be decrypted"):
            certificates.open_bundle(machine, cms, LIB, OPENSSL)
    with pytest.raises(GoalStateInvalid, match="cannot be opened"):
        certificates.open_bundle(machine, envelope(machine, b"no bundle"), LIB, OPENSSL)
    assert names(machine) == ["TransportCert.pem", "TransportPrivate.pem"]


CMS = b"\0\0\0"
OTHER = "<Format>CertificatesNonPfxPackage</Format><Data>AAAA</Data>"
# What is in a CertificateFile, and the CMS that comes out of it; None is no certificates, which is no error.
ELEMENTS: dict[str, list[tuple[str, bytes | None]]] = {
    "2.6/Incarnation": [(f"<Incarnation>{text}</Incarnation><Data>AAAA</Data>", CMS) for text in ("1", "99", "x", "")],
    "2.6/Format": [
        ("<Format>Pkcs7BlobWithPfxContents</Format><Data>AAAA</Data>", CMS),
        ("<Format/><Data>AAAA</Data>", CMS),
        ("<Data>AAAA</Data>", CMS),
        (OTHER, None),
    ],
    "2.6/Data": [("<Data>\nAA\nAA\n</Data>", CMS), ("<Data/>", None), ("", None)],
}


@pytest.mark.parametrize("row", ELEMENTS)
def test_elements(row: str) -> None:
    for text, expected in ELEMENTS[row]:
        assert certificates.parse(f"<CertificateFile>{text}</CertificateFile>") == expected, text


@pytest.mark.wire("2.6/Data")
def test_the_document() -> None:
    cms = certificates.parse(sample("certificates.xml"))
    assert cms is not None
    assert cms.startswith(b"\x30\x82")
    with pytest.raises(GoalStateInvalid, match="not base64"):
        certificates.parse("<CertificateFile><Data>A*</Data></CertificateFile>")


@pytest.mark.wire("2.8/password")
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16"])
def test_the_password_of_a_remote_user(machine: System, encoding: str) -> None:
    certificates.ensure_transport(machine, LIB)
    cms = envelope(machine, "gëheim|€".encode(encoding))
    user = remote_access.RemoteUser("jit", base64.b64encode(cms).decode())
    assert remote_access.password(machine, user, LIB, OPENSSL) == "gëheim|€"
    assert names(machine) == ["TransportCert.pem", "TransportPrivate.pem"]


@pytest.mark.wire("2.8/password")
def test_a_password_that_is_none(machine: System) -> None:
    certificates.ensure_transport(machine, LIB)
    odd = base64.b64encode(envelope(machine, b"odd")).decode()
    for password, message in (("%", "not base64"), ("AAAA", "cannot be decrypted"), (odd, "not UTF-16")):
        with pytest.raises(GoalStateInvalid, match=message):
            remote_access.password(machine, remote_access.RemoteUser("jit", password), LIB, OPENSSL)


@pytest.mark.wire("2.6/decryption", "8.1/Certificates.pfx")
def test_systems_without_memory_files(machine: System, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    certificates.ensure_transport(machine, LIB)
    tenant = keys.make("tenant")
    bundle = certificates.open_bundle(machine, envelope(machine, keys.bundle("tenant")), LIB, OPENSSL)
    assert [thumbprint for thumbprint, _, _ in bundle.certificates] == [tenant]
    assert names(machine) == ["TransportCert.pem", "TransportPrivate.pem"]


def test_pairs_that_are_known_are_not_computed_again(machine: System, keys: Keys) -> None:
    certificates.ensure_transport(machine, LIB)
    first, other = keys.make("first"), keys.make("other")
    for bundle, programs in (("first", 4), ("first", 2), ("other", 4), ("first", 2)):
        asked: list[str] = []
        execute = machine._execute

        def counted(argv: tuple[str, ...], *rest: Any, real: Any = execute, asked: list[str] = asked) -> Result:
            asked.append(argv[1])
            result: Result = real(argv, *rest)
            return result

        machine._execute = counted
        opened = certificates.open_bundle(machine, envelope(machine, keys.bundle(bundle)), LIB, OPENSSL)
        machine._execute = execute
        certificates.store(machine, opened, LIB)
        assert [(one[0], bool(one[2])) for one in opened.certificates] == [(first if bundle == "first" else other, True)]
        assert len(asked) == programs, asked


def test_a_known_key_under_a_new_certificate_is_matched_all_the_same(machine: System, keys: Keys) -> None:
    certificates.ensure_transport(machine, LIB)
    keys.make("first")
    for names in (("first",), ("first", "renewed")):
        renewed = keys.make("renewed", key="first")
        opened = certificates.open_bundle(machine, envelope(machine, keys.bundle(*names)), LIB, OPENSSL)
        stored = certificates.store(machine, opened, LIB)
    assert certificates.Certificate(renewed, True) in stored
