"""Accounts: found, made, completed; names that must not get near a command line."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from tests.unit.machine.conftest import real
from waagent.errors import UserError
from waagent.machine import users
from waagent.machine.users import Account
from waagent.system import System
from waagent.system.command import execute

ROOT = "root:x:0:0:root:/root:/bin/bash\n"


@pytest.fixture
def passwd(put):
    """An empty user base, and what an effect appends to it."""
    put("/etc/passwd", ROOT)
    put("/etc/group", "root:x:0:\n")

    def add(name: str = "ada") -> None:
        put("/etc/passwd", f"{ROOT}{name}:x:{os.getuid()}:{os.getgid()}::/home/{name}:/bin/sh\n")
        put("/etc/group", f"root:x:0:\n{name}:x:{os.getgid()}:\n")
        put(f"/home/{name}/.profile", "")

    return add


@pytest.mark.row("provisioning", 33)
def test_row_33_an_account_is_made_with_the_profiles_command(
    system: System, script: Script, profile, passwd
) -> None:
    script.on("useradd", "-m", "ada", effect=passwd)
    assert users.create(system, profile, "ada")
    assert users.require(system, "ada").home == "/home/ada"


@pytest.mark.row("provisioning", 34)
def test_row_34_an_account_that_is_there_is_left_as_it_is(
    system: System, script: Script, profile, account: Account
) -> None:
    (system.path("/home/ada") / "file").write_text("")
    assert not users.create(system, profile, "ada")
    assert script.ran == []


@pytest.mark.row("provisioning", 37)
def test_row_37_what_useradd_says_is_passed_on(system: System, script: Script, profile, passwd) -> None:
    script.on("useradd", "-m", "1Ada", status=3, stderr="useradd: invalid user name '1Ada'")
    with pytest.raises(UserError, match="useradd says: useradd: invalid user name '1Ada'"):
        users.create(system, profile, "1Ada")


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a;b", "$(id)", "a:b", "a/b", "../x", "a\nb", "ä", "a" * 33, ".x", "a'b", "a*", "a@b"]
)
def test_a_name_that_could_be_something_else_is_refused_before_any_command(
    system: System, script: Script, profile, passwd, name: str
) -> None:
    with pytest.raises(UserError, match=r"cannot create (an )?account"):
        users.create(system, profile, name)
    assert script.ran == []


def test_a_group_of_the_same_name_is_used(system: System, script: Script, profile, passwd, put) -> None:
    put("/etc/group", "root:x:0:\nada:x:999:\n")
    script.on("useradd", "-m", "-g", "ada", "ada", effect=passwd)
    assert users.create(system, profile, "ada")


def test_an_account_that_expires_and_is_marked(system: System, script: Script, profile, passwd) -> None:
    script.on("useradd", "-m", "-e", "2030-01-02", "-c", "JIT_Account", "ada", effect=passwd)
    assert users.create(system, profile, "ada", expires="2030-01-02", comment="JIT_Account")


@pytest.mark.parametrize(
    ("distro", "argv"),
    [("freebsd", ("pw", "useradd", "ada", "-m")), ("openwrt", ("useradd", "-m", "-s", "/bin/ash", "ada"))],
)
def test_other_systems_have_other_commands(system: System, script: Script, passwd, tmp_path, distro, argv) -> None:
    script.on(*argv, effect=passwd)
    assert users.create(system, profile_of(tmp_path / "root", distro), "ada")


def test_a_missing_useradd_says_so(system: System, script: Script, profile, passwd) -> None:
    script.on("useradd", "-m", "ada", status=127, stderr="No such file or directory: 'useradd'")
    with pytest.raises(UserError, match="No such file or directory: 'useradd'"):
        users.create(system, profile, "ada")


def test_an_account_without_shadow_line_group_and_home_is_completed(
    system: System, script: Script, profile, account: Account, put
) -> None:
    put("/etc/shadow", "root:*:19000::::::\n")
    put("/etc/group", "root:x:0:\n")
    put("/etc/skel/.bashrc", "# skel\n")
    os.symlink("/etc/shadow", system.path("/etc/skel") / "link")
    system.path("/home/ada").rmdir()
    script.on("pwconv")
    script.on("groupadd", "-g", str(account.gid), "ada")
    if account.gid == 0:  # the tester's own group is root's, which needs no line
        assert users.create(system, profile, "ada")
        assert script.ran == [("pwconv",)]
    else:
        assert users.create(system, profile, "ada")
        assert script.ran == [("pwconv",), ("groupadd", "-g", str(account.gid), "ada")]
    assert (system.path("/home/ada") / ".bashrc").read_text() == "# skel\n"
    assert not (system.path("/home/ada") / "link").exists()
    assert system.path("/home/ada").stat().st_mode & 0o777 == 0o700


def test_accounts_of_a_directory_service_are_found_and_left_alone(
    system: System, script: Script, profile, passwd, program
) -> None:
    program("getent")
    script.on("getent", "passwd", "ada", stdout="ada:*:70001:70001:Ada:/home/ada:/bin/sh\n")
    assert users.find(system, "ada") == Account("ada", 70001, 70001, "/home/ada", "/bin/sh", "Ada")
    assert not users.create(system, profile, "ada")


@pytest.mark.parametrize(
    ("login_defs", "first"), [("# UID_MIN 5\nUID_MIN\t\t 500\nUID_MIN 1000\n", 500), ("", 100), (None, 100)]
)
def test_the_first_uid_of_people_is_read_from_login_defs(system: System, put, login_defs, first: int) -> None:
    if login_defs is not None:
        put("/etc/login.defs", login_defs)
    assert users.uid_min(system) == first


@pytest.mark.row("provisioning", 35)
def test_row_35_accounts_below_it_are_the_systems_unless_the_profile_says_otherwise(
    system: System, profile, put, tmp_path
) -> None:
    put("/etc/login.defs", "UID_MIN 1000\n")
    core = Account("core", 500, 500, "/home/core", "/bin/sh")
    assert users.is_system(system, profile, Account("root", 0, 0, "/root", "/bin/sh"))
    assert users.is_system(system, profile, core)
    assert not users.is_system(system, profile, core._replace(uid=1000))
    assert not users.is_system(system, profile_of(tmp_path / "root", "flatcar"), core)


def test_groups_are_joined_once_and_only_those_there_are(system: System, script: Script, put) -> None:
    put("/etc/group", "adm:x:4:syslog,ada\nsudo:x:27:\n")
    script.on(
        "usermod", "-a", "-G", "sudo", "ada", effect=lambda: put("/etc/group", "adm:x:4:ada\nsudo:x:27:ada\n")
    )
    assert users.join(system, "ada", ("adm", "sudo", "wheel"))
    assert not users.join(system, "ada", ("adm", "sudo", "wheel"))


def test_the_real_useradd_makes_what_we_then_find(system: System, profile, put) -> None:
    real("useradd")
    if os.getuid() != 0:
        pytest.skip("useradd --prefix needs root")
    put("/etc/passwd", ROOT)
    put("/etc/group", "root:x:0:\nada:x:4321:\n")
    put("/etc/shadow", "root:*:19000::::::\n")
    put("/etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nHOME_MODE 0700\n")

    def prefixed(argv, stdin, limit, env):
        return execute((argv[0], "--prefix", system.root, *argv[1:]), stdin, limit, env)

    machine = System(system.root, execute=prefixed)
    assert users.create(machine, profile, "ada")
    made = users.require(machine, "ada")
    assert (made.uid >= 1000, made.gid) == (True, 4321)
    machine.effects.clear()
    assert not users.create(machine, profile, "ada")
    assert machine.effects == []
