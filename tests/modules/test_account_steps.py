"""The steps that let the owner in: account, password, keys, sudo."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from tests.unit.instance.documents import ECDSA, KEY
from waagent.errors import SshError, UserError
from waagent.machine import passwords

SECRET = "Tr1cky&<pass>\"word'"
KEYS = "/home/ada/.ssh/authorized_keys"


def step(name: str):
    return load_module(f"local/{name}.py")


@pytest.fixture
def ada(ctx, put):
    """The account ada with the tester's own uid, an ordinary one by this login.defs."""
    uid, gid = os.getuid(), os.getgid()
    put("/etc/passwd", f"root:x:0:0:root:/root:/bin/bash\nada:x:{uid}:{gid}::/home/ada:/bin/sh\n")
    put("/etc/shadow", "root:$6$a$b:19000::::::\nada:!:19000:0:99999:7:::\n", 0o640)
    put("/etc/login.defs", "UID_MIN 0\n")
    put("/home/ada/.profile")
    ctx.facts["ovf"] = {"user_name": "ada", "has_password": False, "public_keys": []}
    return ctx


@pytest.fixture
def chpasswd(script, ctx):
    """chpasswd as it works on the shadow file."""

    def write() -> None:
        name, _, hashed = (script.inputs[-1] or b"").decode().strip().partition(":")
        shadow = ctx.system.path("/etc/shadow")
        lines = [f"{name}:{hashed}:19000:0:99999:7:::" if line.startswith(f"{name}:") else line
                 for line in shadow.read_text().splitlines()]  # fmt: skip
        shadow.write_text("\n".join(lines) + "\n")

    script.on("chpasswd", "-e", effect=write)


# -- the account -------------------------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 33)
def test_row_33_the_account_is_made(ctx, script, put):
    put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    ctx.facts["ovf"] = {"user_name": "ada"}
    line = f"ada:x:{os.getuid()}:{os.getgid()}::/home/ada:/bin/sh\n"

    def made() -> None:
        put("/etc/passwd", line)
        put("/home/ada/.profile")

    script.on("useradd", "-m", "ada", effect=made)
    assert step("40-user").run(ctx).message == "made account ada"
    assert ctx.fact("user.name") == "ada"
    settle(ctx)
    assert step("40-user").run(ctx).kind == "unchanged"


@pytest.mark.row("provisioning", 34)
def test_row_34_an_account_of_the_image_is_used(ada, script):
    assert step("40-user").run(ada).kind == "unchanged"
    assert script.ran == []


def test_appliances_give_access_to_their_one_account(ctx, declared):
    declared(distro="gaia")
    ctx.facts["ovf"] = {"user_name": "ada"}
    assert step("40-user").run(ctx).kind == "unchanged"
    assert ctx.fact("user.name") == "admin"
    assert "admin only" in ctx.notes[0]


# -- the password ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crypt_id", ["1", "2a", "5", "6"])
def test_the_password_is_set_by_the_method_asked_for_and_forgotten(ada, declared, script, chpasswd, crypt_id):
    declared(f"Provisioning.PasswordCryptId={crypt_id}")
    ada.secret_facts["ovf"] = {"password": SECRET}
    outcome = step("45-password").run(ada)
    hashed = passwords.current_hash(ada.system, "ada")
    assert outcome.kind == "changed" and hashed.startswith(f"${crypt_id}$") and passwords.matches(SECRET, hashed)
    assert SECRET not in str(ada.system.effects) + str(script.ran) + outcome.message + str(ada.published)
    settle(ada)
    assert ada.secret("ovf.password") is None
    assert step("45-password").run(ada).kind == "unchanged"


def test_cut_off_before_it_was_forgotten_the_password_is_not_set_twice(ada, script, chpasswd):
    ada.secret_facts["ovf"] = {"password": SECRET}
    step("45-password").run(ada)
    before = passwords.current_hash(ada.system, "ada")
    ada.published.clear()
    ada.published_secrets.clear()
    assert step("45-password").run(ada).kind == "unchanged"
    assert passwords.current_hash(ada.system, "ada") == before
    settle(ada)
    assert ada.secret("ovf.password") is None


@pytest.mark.row("provisioning", 35)
def test_row_35_an_account_of_the_system_gets_no_password_unless_allowed(ada, declared, put, chpasswd, script):
    put("/etc/login.defs", f"UID_MIN {os.getuid() + 1}\n")
    ada.secret_facts["ovf"] = {"password": SECRET}
    with pytest.raises(UserError, match=r"is an account of the system; .*Provisioning\.AllowResetSysUser=y"):
        step("45-password").run(ada)
    assert script.ran == []
    declared("Provisioning.AllowResetSysUser=y")
    assert step("45-password").run(ada).kind == "changed"


def test_a_password_that_was_redacted_is_told(ada):
    with pytest.raises(UserError, match="read from a copy that has it no more"):
        step("45-password").run(ada)


def test_a_missing_chpasswd_keeps_the_password_for_the_next_boot(ada, script):
    ada.secret_facts["ovf"] = {"password": SECRET}
    script.on("chpasswd", "-e", status=127, stderr="No such file or directory: 'chpasswd'")
    with pytest.raises(UserError, match="No such file or directory: 'chpasswd'"):
        step("45-password").run(ada)
    assert "ovf.password" not in ada.published_secrets


# -- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.row("provisioning", 50, 52)
def test_keys_by_value_are_authorized_once(ada):
    ada.facts["ovf"]["public_keys"] = [
        {"path": "$HOME/ada/.ssh/authorized_keys", "fingerprint": "", "value": KEY},
        {"path": KEYS, "fingerprint": "AB" * 20, "value": ECDSA},
        {"path": KEYS, "fingerprint": "CD" * 20, "value": ""},
    ]
    assert step("50-authorized-keys").run(ada).kind == "changed"
    # row 50: with both, the value counts; one by thumbprint alone is for a later stage
    assert ada.system.path(KEYS).read_text() == f"{KEY}\n{ECDSA}\n"
    settle(ada)
    # row 52
    assert step("50-authorized-keys").run(ada).kind == "unchanged"
    assert ada.system.path(KEYS).read_text() == f"{KEY}\n{ECDSA}\n"


@pytest.mark.row("provisioning", 36)
def test_row_36_root_gets_his_key_where_root_lives(ctx, put):
    put("/etc/passwd", f"root:x:{os.getuid()}:{os.getgid()}:root:/root:/bin/bash\n")
    (ctx.system.path("/") / "root").mkdir()
    ctx.facts["ovf"] = {
        "user_name": "root", "has_password": False,
        "public_keys": [{"path": "/home/root/.ssh/authorized_keys", "fingerprint": "", "value": KEY}],
    }  # fmt: skip
    assert step("50-authorized-keys").run(ctx).kind == "changed"
    assert ctx.system.path("/root/.ssh/authorized_keys").read_text() == f"{KEY}\n"
    assert step("55-sudo").run(ctx).message == "root may become root without a password"


@pytest.mark.row("provisioning", 51)
@pytest.mark.parametrize("path", ["$HOME/../etc/x", "relative", "/etc/ssh/keys"])
def test_row_51_a_path_outside_of_the_home_is_refused(ada, path):
    ada.facts["ovf"]["public_keys"] = [{"path": path, "fingerprint": "", "value": KEY}]
    with pytest.raises(SshError):
        step("50-authorized-keys").run(ada)


@pytest.mark.row("provisioning", 48)
def test_row_48_a_text_that_is_no_key_adds_nothing(ada):
    ada.facts["ovf"]["public_keys"] = [
        {"path": KEYS, "fingerprint": "", "value": KEY}, {"path": KEYS, "fingerprint": "", "value": "ssh-rsa oops"},
    ]  # fmt: skip
    with pytest.raises(SshError, match="cannot use the public key 'ssh-rsa oops'"):
        step("50-authorized-keys").run(ada)
    assert not ada.system.exists(KEYS)


def test_a_document_without_keys_is_skipped(ada):
    assert step("50-authorized-keys").run(ada).kind == "skipped"


# -- sudo and root -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has_password", "rule"), [(True, "ada ALL=(ALL) ALL"), (False, "ada ALL=(ALL) NOPASSWD: ALL")]
)
def test_sudo_asks_for_a_password_where_there_is_one(ada, has_password, rule):
    ada.facts["ovf"]["has_password"] = has_password
    assert step("55-sudo").run(ada).kind == "changed"
    assert ada.system.path("/etc/sudoers.d/waagent").read_text().splitlines()[1:] == [rule]
    settle(ada)
    assert step("55-sudo").run(ada).kind == "unchanged"


def test_systems_without_sudo_are_skipped(ada, declared):
    declared(distro="gaia")
    assert step("55-sudo").run(ada).kind == "skipped"


def test_root_is_locked_where_the_option_says_so(ada, declared):
    assert step("70-root-password").run(ada).kind == "skipped"
    declared("Provisioning.DeleteRootPassword=y")
    assert step("70-root-password").run(ada).kind == "changed"
    assert ada.system.path("/etc/shadow").read_text().startswith("root:*LOCK*:14600::::::\n")
    settle(ada)
    assert step("70-root-password").run(ada).kind == "unchanged"


def test_root_is_not_locked_where_root_is_the_user(ada, declared):
    declared("Provisioning.DeleteRootPassword=y")
    ada.facts["ovf"].update(user_name="root", has_password=True)
    assert step("70-root-password").run(ada).kind == "skipped"
