"""Who may sign a package: chains, authorities that the machine trusts for other things, odd forms of CMS.

With the openssl of this machine, and with those of the guests' trees as far as they were made (1.1.1, 3.5).
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed
from tests.unit.extensions.test_mounts import apart
from waagent.errors import ExtensionError
from waagent.extensions.policy import Policy
from waagent.extensions.signature import Signatures
from waagent.fabric.desired import Handler

NAME = "Contoso.Test.Probe"
TREES = Path(os.environ.get("WAAGENT_CACHE") or "/var/cache/waagent-tests", "trees")
CONTENT = b"PK\x05\x06" + bytes(18) + b"\r\nnot read by this test\n" * 3000

CONFIG = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:TRUE
subjectKeyIdentifier = hash
[code]
basicConstraints = CA:FALSE
extendedKeyUsage = codeSigning
[tls]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth,clientAuth
[mail]
basicConstraints = CA:FALSE
extendedKeyUsage = emailProtection
[private]
extendedKeyUsage = 1.3.6.1.4.1.311.76.8.1
[bare]
basicConstraints = CA:FALSE
"""


class Authorities:
    """Keys and certificates by name, made with the machine's openssl; signatures as the platform has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "config").write_text(CONFIG)
        (folder / "zip").write_bytes(CONTENT)

    def openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def make(self, name: str, kind: str, issuer: str = "") -> str:
        """A certificate in the file `name`; without an issuer it is a root."""
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        request = (
            "req",
            "-new",
            "-key",
            f"{name}.key",
            "-subj",
            f"/CN={name}",
            "-config",
            "config",
            "-out",
            f"{name}.csr",
        )
        self.openssl(*request)
        by = (
            ("-CA", issuer, "-CAkey", f"{issuer}.key", "-CAcreateserial") if issuer else ("-signkey", f"{name}.key")
        )
        self.openssl(
            "x509", "-req", "-in", f"{name}.csr", *by, "-extfile", "config", "-extensions", kind, "-out", name
        )  # fmt: skip
        return name

    def sign(self, signer: str, *between: str, content: str = "zip", more: tuple[str, ...] = ()) -> str:
        chain = [word for name in between for word in ("-certfile", name)]
        self.openssl(
            "cms", "-sign", "-binary", "-in", content, "-signer", signer, "-inkey", f"{signer}.key", *chain,
            "-outform", "DER", "-out", "signature", *more,
        )  # fmt: skip
        return self.signature()

    def signature(self) -> str:
        return base64.b64encode((self.folder / "signature").read_bytes()).decode()


@pytest.fixture(params=["machine", "bullseye", "trixie"])
def openssl(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The openssl of this machine, or one of a guest's tree with the libraries of that tree."""
    if request.param == "machine":
        found = shutil.which("openssl")
        if found is None:
            pytest.skip("needs the openssl program")
        return found
    tree = next((tree for tree in TREES.glob(f"{request.param}-*") if (tree / "usr/bin/openssl").exists()), None)
    libraries = [] if tree is None else [*tree.glob("lib/*-linux-gnu*"), *tree.glob("usr/lib/*-linux-gnu*")]
    loader = next((file for folder in libraries for file in folder.glob("ld-*.so*")), None)
    if loader is None:
        pytest.skip(f"the guest tree of {request.param} was not made yet")
    program = tmp_path / f"openssl-{request.param}"
    path = ":".join(map(str, libraries))
    program.write_text(f'#!/bin/sh\nexec "{loader}" --library-path "{path}" "{tree}/usr/bin/openssl" "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def authorities(bed: Bed) -> Authorities:
    found = Authorities(bed.folder / "keys")
    found.make("root", "ca")
    found.make("between", "ca", "root")
    found.make("signer", "code", "between")
    return found


def verdict(bed: Bed, openssl: str, authorities: Authorities, signature: str, content: bytes = CONTENT) -> str:
    """ "" when the signature is good, else why the package is refused."""
    package = bed.folder / "package.zip"
    package.write_bytes(content)
    signatures = Signatures(
        bed.system,
        openssl=openssl,
        roots=(str(authorities.folder / "root"),),
        wanted=True,
        policy=Policy("/policy", signature_required=True),
        notes=[],
    )
    before = sorted(os.listdir(bed.folder))
    try:
        return "" if signatures.good(Handler(NAME, "1.0.0", signature=signature), str(package)) else "not good"
    except ExtensionError as error:
        return error.message
    finally:
        assert sorted(os.listdir(bed.folder)) == before  # nothing that a kill could leave behind


def test_a_chain_that_comes_with_the_signature_is_good(bed: Bed, openssl: str, authorities: Authorities) -> None:
    signed = authorities.sign("signer", "between")
    assert verdict(bed, openssl, authorities, signed) == ""
    for content in (CONTENT + b"x", b"x" + CONTENT, CONTENT[:-1], CONTENT.replace(b"\r\n", b"\n"), b""):
        assert "its signature is not good" in verdict(bed, openssl, authorities, signed, content)


# Checks one signature as the agent does, and prints what is wrong with it.
JUDGE = """
import sys
from pathlib import Path
from tests.unit.extensions.conftest import Bed
from tests.unit.extensions.test_signer import Authorities, verdict
bed, authorities = Bed(Path(sys.argv[1])), Authorities(Path(sys.argv[1], "keys"))
print(verdict(bed, sys.argv[2], authorities, sys.argv[3]))
"""


# Where the machine's authorities are looked for: where the program was built to look, and what the environment names.
PLACES = {"built in": "/etc/ssl/certs", "environment": ""}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("place", PLACES)
def test_authorities_of_the_machine_do_not_count(
    bed: Bed, openssl: str, authorities: Authorities, place: str
) -> None:
    """Neither as roots nor between a signer and the root."""
    store = bed.folder / "store"
    store.mkdir()
    authorities.make("public", "ca")
    authorities.make("stranger", "code", "public")
    for name in ("public", "between"):
        shutil.copy(authorities.folder / name, store / f"{name}.pem")
    subprocess.run(["openssl", "rehash", str(store)], check=True, capture_output=True)
    mount = f"mount --bind {store} {PLACES[place]}" if PLACES[place] else ":"
    environment = {} if PLACES[place] else {"SSL_CERT_DIR": str(store), "SSL_CERT_FILE": str(store / "public.pem")}

    def told(signature: str) -> str:
        ran = apart(mount, sys.executable, "-c", JUDGE, str(bed.folder), openssl, signature, **environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    assert told(authorities.sign("signer", "between")) == ""
    assert "its signature is not good" in told(authorities.sign("signer"))
    assert "its signature is not good" in told(authorities.sign("stranger"))


@pytest.mark.parametrize(
    ("kind", "good"), [("code", True), ("bare", True), ("private", True), ("tls", False), ("mail", False)]
)
def test_a_certificate_that_is_only_for_something_else_signs_no_package(
    bed: Bed, openssl: str, authorities: Authorities, kind: str, good: bool
) -> None:
    authorities.make("other", kind, "between")
    told = verdict(bed, openssl, authorities, authorities.sign("other", "between"))
    assert told == "" if good else "the certificate of its signer is only for something else" in told


def test_every_signer_counts(bed: Bed, openssl: str, authorities: Authorities) -> None:
    authorities.make("stranger", "code", authorities.make("public", "ca"))
    authorities.make("server", "tls", "between")
    for second, why in (("stranger", "is not good"), ("server", "only for something else")):
        more = ("-signer", second, "-inkey", f"{second}.key")
        assert why in verdict(bed, openssl, authorities, authorities.sign("signer", "between", more=more))


def test_a_signer_is_no_authority(bed: Bed, openssl: str, authorities: Authorities) -> None:
    for kind in ("code", "bare", "private"):
        authorities.make(f"leaf-{kind}", kind, "between")
        authorities.make(f"below-{kind}", "code", f"leaf-{kind}")
        signed = authorities.sign(f"below-{kind}", f"leaf-{kind}", "between")
        assert "is not good" in verdict(bed, openssl, authorities, signed)


def test_what_a_signature_brings_along_is_not_what_it_is_checked_with(
    bed: Bed, openssl: str, authorities: Authorities
) -> None:
    """A signature that holds its content is one of that content; one without signers, or of another kind, is none."""
    (authorities.folder / "other").write_bytes(b"something else that was signed")
    held = authorities.sign("signer", "between", content="other", more=("-nodetach",))
    assert "is not good" in verdict(bed, openssl, authorities, held)
    authorities.openssl(
        "crl2pkcs7", "-nocrl", "-certfile", "signer", "-certfile", "between", "-outform", "DER", "-out", "signature"
    )
    assert "is not good" in verdict(bed, openssl, authorities, authorities.signature())
    for kind in ("-digest_create", "-data_create"):
        authorities.openssl("cms", kind, "-binary", "-in", "zip", "-outform", "DER", "-out", "signature")
        assert "is not good" in verdict(bed, openssl, authorities, authorities.signature())
    assert "is not good" in verdict(bed, openssl, authorities, base64.b64encode(b"PK").decode())
