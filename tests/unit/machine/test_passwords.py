"""Passwords: hashed by every method, set by standard input, never quoted."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from tests.unit.machine.conftest import real
from waagent.errors import UserError
from waagent.machine import passwords
from waagent.system import System

SECRET = "Tr1cky&<pass>\"word' äöü"


@pytest.fixture
def host() -> System:
    """The machine of the test itself; nothing is written there."""
    return System("/", journalling=False)


@pytest.mark.parametrize("crypt_id", ["1", "2a", "5", "6", "y"])
def test_every_method_makes_a_hash_of_its_own_form(host: System, crypt_id: str) -> None:
    hashed = passwords.hash_password(host, SECRET, crypt_id, 10)
    assert hashed.startswith(f"${crypt_id}$") and ":" not in hashed
    assert passwords.matches(SECRET, hashed)
    assert not passwords.matches(SECRET + "x", hashed)


@pytest.mark.parametrize(
    ("crypt_id", "wanted", "length"), [("6", 10, 10), ("6", 99, 16), ("5", 1, 1), ("1", 10, 8), ("6", 0, 1)]
)
def test_the_salt_has_the_length_asked_for_as_far_as_the_method_takes_it(
    host: System, crypt_id: str, wanted: int, length: int
) -> None:
    salt = passwords.hash_password(host, SECRET, crypt_id, wanted).split("$")[2]
    assert len(salt) == length and salt.isalnum()


def test_salts_differ(host: System) -> None:
    assert len({passwords.hash_password(host, "x", "1") for _ in range(8)}) == 8


@pytest.mark.row("provisioning", 38)
@pytest.mark.parametrize("crypt_id", ["1", "5", "6"])
def test_row_38_openssl_does_it_where_libcrypt_is_missing(host: System, monkeypatch, crypt_id: str) -> None:
    real("openssl")
    with monkeypatch.context() as patch:
        patch.setattr(passwords, "LIBRARIES", ("libcrypt.so.none",))
        hashed = passwords.hash_password(host, SECRET, crypt_id, 10)
    assert passwords.matches(SECRET, hashed)


@pytest.mark.row("provisioning", 38)
def test_row_38_without_either_the_failure_is_clear(system: System, monkeypatch) -> None:
    monkeypatch.setattr(passwords, "LIBRARIES", ("libcrypt.so.none",))
    with pytest.raises(
        UserError, match=r"neither libcrypt nor openssl of this system can; set Provisioning.PasswordCryptId=6"
    ):
        passwords.hash_password(system, SECRET, "6")
    with pytest.raises(UserError, match="Blowfish"):
        passwords.hash_password(system, SECRET, "2a")


def test_openssl_gets_the_password_by_standard_input(system: System, script: Script, program, monkeypatch) -> None:
    monkeypatch.setattr(passwords, "LIBRARIES", ("libcrypt.so.none",))
    monkeypatch.setattr(passwords.secrets, "choice", lambda letters: "a")
    program("openssl")
    script.on("openssl", "passwd", "-6", "-salt", "aaaa", "-stdin", stdout="$6$aaaa$hash\n")
    assert passwords.hash_password(system, SECRET, "6", 4) == "$6$aaaa$hash"
    assert script.inputs == [SECRET.encode() + b"\n"]
    assert SECRET not in str(script.ran)


@pytest.mark.row("provisioning", 39)
def test_row_39_long_and_foreign_passwords_are_hashed_as_utf_8(host: System) -> None:
    long = "é" * 100
    assert passwords.matches(long, passwords.hash_password(host, long, "6"))
    with pytest.raises(UserError, match="it has 513 bytes"):
        passwords.hash_password(host, "x" * 513, "6")


@pytest.mark.parametrize("bad", ["", "a\0b"])
def test_what_cannot_be_hashed_is_refused_without_being_quoted(host: System, bad: str) -> None:
    with pytest.raises(UserError, match="1 to 512 without a zero") as caught:
        passwords.hash_password(host, bad, "6")
    assert "a\0b" not in str(caught.value)


def test_an_unknown_method_names_those_there_are(host: System) -> None:
    with pytest.raises(UserError, match="1, 2a, 5, 6, y"):
        passwords.hash_password(host, "x", "7")


def test_the_hash_goes_to_chpasswd_by_standard_input(system: System, script: Script, profile) -> None:
    script.on("chpasswd", "-e")
    passwords.set_password(system, profile, "ada", SECRET)
    entry = (script.inputs[0] or b"").decode()
    assert entry.startswith("ada:$6$") and entry.endswith("\n")
    assert SECRET not in entry and passwords.matches(SECRET, entry[4:].strip())


def test_a_refusal_never_quotes_password_or_hash(system: System, script: Script, profile) -> None:
    script.on("chpasswd", "-e", status=1, stderr="chpasswd: line 1: user 'ada' does not exist")
    with pytest.raises(UserError) as caught:
        passwords.set_password(system, profile, "ada", SECRET)
    assert "user 'ada' does not exist" in str(caught.value)
    assert SECRET not in str(caught.value) and "$6$" not in str(caught.value)


@pytest.mark.parametrize(
    ("distro", "argv", "entry"),
    [
        ("freebsd", ("pw", "usermod", "ada", "-H", "0"), "$6$"),
        ("gaia", ("/usr/bin/clish",), "set user admin password-hash $6$"),
        ("bigip", ("/usr/bin/tmsh",), "modify auth user ada password s3cret-s3cret\n"),
    ],
)
def test_other_systems_have_other_commands(system: System, script: Script, tmp_path, distro, argv, entry) -> None:
    script.on(*argv)
    passwords.set_password(system, profile_of(tmp_path / "root", distro), "ada", "s3cret-s3cret")
    assert (script.inputs[0] or b"").decode().startswith(entry)
    assert "s3cret" not in str(script.ran)


def test_a_clear_text_that_would_be_read_as_a_command_is_refused(system: System, tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be passed on"):
        passwords.set_password(system, profile_of(tmp_path / "root", "bigip"), "ada", "x } ; quit")


def test_root_is_locked_in_one_write_and_stays_so(system: System, profile, put) -> None:
    shadow = put("/etc/shadow", "daemon:*:19000::::::\nroot:$6$a$b:19000:0:99999:7:::\nrooter:x:1::::::\n", 0o640)
    assert passwords.lock_root(system, profile)
    assert shadow.read_text() == "root:*LOCK*:14600::::::\ndaemon:*:19000::::::\nrooter:x:1::::::\n"
    assert shadow.stat().st_mode & 0o777 == 0o640
    assert not passwords.lock_root(system, profile)


def test_a_missing_shadow_file_is_an_error_or_made_as_the_profile_says(system: System, profile, tmp_path) -> None:
    with pytest.raises(UserError, match="/etc/shadow is missing"):
        passwords.lock_root(system, profile)
    assert passwords.lock_root(system, profile_of(tmp_path / "root", "clear-linux-os"))
    assert system.path("/etc/shadow").stat().st_mode & 0o777 == 0o600


def test_systems_without_shadow_use_their_program(system: System, script: Script, tmp_path) -> None:
    script.on("pw", "usermod", "root", "-h", "-")
    assert passwords.lock_root(system, profile_of(tmp_path / "root", "freebsd"), "/etc/master.passwd")
    assert not passwords.lock_root(system, profile_of(tmp_path / "root", "nsbsd"))


def test_the_real_chpasswd_takes_what_we_give_it(tmp_path, profile) -> None:
    real("chpasswd")
    import os

    if os.getuid() != 0:
        pytest.skip("chpasswd --root needs root")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("ada:x:1000:1000::/home/ada:/bin/sh\n")
    (root / "etc/shadow").write_text("ada:!:19000:0:99999:7:::\n")
    entry = f"ada:{passwords.hash_password(System('/', journalling=False), SECRET)}\n"
    done = subprocess.run(["/usr/sbin/chpasswd", "-R", str(root), "-e"], input=entry.encode(), capture_output=True)
    if (
        done.returncode
        and b"failure while writing" not in done.stderr
        and not (root / "etc/shadow").read_text().count("$6$")
    ):
        pytest.skip(f"chpasswd -R does not work here: {done.stderr!r}")
    assert passwords.matches(SECRET, passwords.current_hash(System(root), "ada") or "")
