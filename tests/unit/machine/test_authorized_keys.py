"""What a public key is, and adding one."""

from __future__ import annotations

import subprocess

import pytest

from tests.unit.instance.documents import ECDSA, KEY
from tests.unit.machine.conftest import real
from waagent.errors import SshError
from waagent.machine import authorized_keys as keys
from waagent.machine.users import Account
from waagent.system import System

RELATIVE = ".ssh/authorized_keys"
SK = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIEXAMPLEEXAMPLEEXAMPLE token"


def content(system: System) -> str:
    return (system.path("/home/ada") / RELATIVE).read_text()


@pytest.mark.row("provisioning", 47)
@pytest.mark.parametrize("line", [KEY, ECDSA, SK])
def test_row_47_every_kind_of_key_is_one(line: str) -> None:
    assert str(keys.key(line)) == line


def test_options_before_the_key_are_kept() -> None:
    line = f'command="echo \\"a b\\"",no-pty,from="10.0.0.0/8" {KEY}'
    found = keys.key(line)
    assert found.options == 'command="echo \\"a b\\"",no-pty,from="10.0.0.0/8"'
    assert str(found) == line


@pytest.mark.row("provisioning", 48)
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("hello", "not of the form"),
        ("ssh-rsa", "not of the form"),
        ("ssh-rsa not!base64", "no Base64 of a key"),
        ("ssh-rsa AAAAB3NzaC1yc2E=", "no Base64 of a key"),
        (KEY.replace("ssh-ed25519 ", "ssh-rsa "), "it says ssh-rsa but holds a key of kind ssh-ed25519"),
        ("-----BEGIN PUBLIC KEY-----", "not of the form"),
        (KEY + "\x07", "control character"),
        ("ssh-ed25519 " + "AAAA" * 4, "no Base64 of a key"),
    ],
)
def test_row_48_what_is_no_key_is_refused_with_a_reason(line: str, why: str) -> None:
    with pytest.raises(SshError, match=why):
        keys.key(line)


def test_several_lines_and_windows_line_ends_are_several_keys() -> None:
    assert len(keys.parse(f"{KEY}\r\n\r\n# comment\r\n{ECDSA}\r\n")) == 2


def test_no_key_at_all_is_refused() -> None:
    with pytest.raises(SshError, match="the text is empty"):
        keys.parse("\n# nothing\n")


@pytest.mark.row("provisioning", 52)
def test_row_52_a_key_that_is_there_is_not_repeated(system: System, account: Account) -> None:
    assert keys.add(system, account, RELATIVE, keys.parse(KEY)) == 1
    assert keys.add(system, account, RELATIVE, keys.parse(KEY.replace("laptop", "other comment"))) == 0
    assert keys.add(system, account, RELATIVE, keys.parse(f"no-pty {KEY}\n{ECDSA}")) == 1
    assert content(system) == f"{KEY}\n{ECDSA}\n"


def test_lines_of_others_stay_byte_for_byte(system: System, account: Account) -> None:
    before = "# mine\n\nssh-odd thing \xe9\nno newline"
    path = system.path("/home/ada") / RELATIVE
    path.parent.mkdir()
    path.write_bytes(before.encode("latin-1"))
    keys.add(system, account, RELATIVE, keys.parse(KEY))
    assert path.read_bytes() == before.encode("latin-1") + b"\n" + KEY.encode() + b"\n"


@pytest.mark.row("provisioning", 49, 53)
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_rows_49_53_keys_come_from_certificates_and_private_keys(tmp_path, kind: str) -> None:
    real("openssl", "ssh-keygen")
    new = (
        ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    )
    subprocess.run(
        ["openssl", "req", "-x509", *new, "-nodes", "-keyout", "k", "-out", "c", "-subj", "/CN=x", "-days", "2"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    from_certificate = keys.of_certificate((tmp_path / "c").read_bytes())
    assert from_certificate == keys.of_private_key((tmp_path / "k").read_bytes())
    (tmp_path / "k").chmod(0o600)
    told = subprocess.run(["ssh-keygen", "-y", "-f", "k"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout.split()[:2] == [from_certificate.kind, from_certificate.blob]


def test_rubbish_is_no_certificate_and_no_private_key() -> None:
    with pytest.raises(SshError, match="cannot make an SSH key of the certificate"):
        keys.of_certificate(b"rubbish")
    with pytest.raises(SshError, match="cannot read the private key"):
        keys.of_private_key(b"rubbish")
