"""Writing as root into a directory that somebody else controls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waagent.errors import SshError
from waagent.machine import homes
from waagent.machine.users import Account
from waagent.system import System

KEYS = ".ssh/authorized_keys"


def home(system: System) -> Path:
    return Path(system.path("/home/ada"))


def test_a_file_is_made_with_its_directory(system: System, account: Account) -> None:
    assert homes.write(system, account, KEYS, b"x\n")
    directory = home(system) / ".ssh"
    assert (directory / "authorized_keys").read_bytes() == b"x\n"
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert (directory / "authorized_keys").stat().st_mode & 0o7777 == 0o600
    assert [str(effect).split()[:2] for effect in system.effects] == [
        ["directory", "/home/ada/.ssh"],
        ["write", "/home/ada/.ssh/authorized_keys"],
    ]


def test_the_second_time_nothing_changes(system: System, account: Account) -> None:
    homes.write(system, account, KEYS, b"x\n")
    system.effects.clear()
    assert not homes.write(system, account, KEYS, b"x\n")
    assert system.effects == []


def test_modes_that_sshd_would_refuse_are_put_right(system: System, account: Account) -> None:
    homes.write(system, account, KEYS, b"x\n")
    (home(system) / ".ssh").chmod(0o775)
    (home(system) / KEYS).chmod(0o664)
    assert homes.write(system, account, KEYS, b"x\n")
    assert (home(system) / ".ssh").stat().st_mode & 0o777 == 0o700
    assert (home(system) / KEYS).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("target", ["/etc", "../../etc", "elsewhere"])
def test_a_linked_directory_is_not_followed(system: System, account: Account, target: str) -> None:
    (home(system) / "elsewhere").mkdir()
    os.symlink(target, home(system) / ".ssh")
    with pytest.raises(SshError, match=r"\.ssh is a link"):
        homes.write(system, account, KEYS, b"x\n")
    assert not list((home(system) / "elsewhere").iterdir())
    assert not (Path(system.root) / "etc/authorized_keys").exists()


def test_a_linked_file_is_not_followed(system: System, account: Account, put) -> None:
    secret = put("/etc/shadow", "root:secret\n")
    (home(system) / ".ssh").mkdir()
    os.symlink(secret, home(system) / KEYS)
    with pytest.raises(SshError, match="it is a link"):
        homes.write(system, account, KEYS, b"x\n")
    with pytest.raises(SshError, match="it is a link"):
        homes.read(system, account, KEYS)
    assert secret.read_text() == "root:secret\n"


def test_a_hard_link_is_not_read(system: System, account: Account, put) -> None:
    secret = put("/etc/shadow", "root:secret\n")
    (home(system) / ".ssh").mkdir()
    os.link(secret, home(system) / KEYS)
    with pytest.raises(SshError, match="hard link"):
        homes.read(system, account, KEYS)


def test_a_pipe_does_not_hold_us_up(system: System, account: Account) -> None:
    (home(system) / ".ssh").mkdir()
    os.mkfifo(home(system) / KEYS)
    with pytest.raises(SshError, match="no plain file"):
        homes.read(system, account, KEYS)


def test_a_directory_that_anybody_may_write_to_is_refused(system: System, account: Account) -> None:
    home(system).chmod(0o777)
    with pytest.raises(SshError, match="anybody may write to it"):
        homes.write(system, account, KEYS, b"x\n")


def test_a_home_of_somebody_else_is_refused(system: System, account: Account) -> None:
    if os.getuid() != 0:
        pytest.skip("giving files away needs root")
    os.chown(home(system), 4321, 4321)
    with pytest.raises(SshError, match="it belongs to uid 4321"):
        homes.write(system, account, KEYS, b"x\n")


def test_what_a_cut_off_run_left_is_replaced(system: System, account: Account) -> None:
    homes.write(system, account, KEYS, b"x\n")
    (home(system) / ".ssh/.authorized_keys.waagent-new").write_text("half")
    homes.write(system, account, KEYS, b"y\n")
    assert sorted(path.name for path in (home(system) / ".ssh").iterdir()) == ["authorized_keys"]


def test_plan_mode_foresees_and_does_nothing(system: System, account: Account) -> None:
    planning = System(system.root, planning=True)
    homes.write(planning, account, KEYS, b"x\n")
    assert [effect.path for effect in planning.effects] == ["/home/ada/.ssh", "/home/ada/.ssh/authorized_keys"]
    assert not (home(system) / ".ssh").exists()


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("/home/ada/.ssh/authorized_keys", ".ssh/authorized_keys"),
        ("$HOME/ada/.ssh/authorized_keys", ".ssh/authorized_keys"),
        ("/home/ada/./x/../.ssh//authorized_keys", ".ssh/authorized_keys"),
        ("//home/ada/k", "k"),
    ],
)
def test_paths_of_the_document_are_below_the_home(account: Account, path: str, relative: str) -> None:
    assert homes.place(account, path) == relative


def test_the_platform_does_not_know_where_root_lives() -> None:
    root = Account("root", 0, 0, "/root", "/bin/sh")
    assert homes.place(root, "/home/root/.ssh/authorized_keys") == ".ssh/authorized_keys"
    assert homes.place(root, "/root/.ssh/authorized_keys") == ".ssh/authorized_keys"


@pytest.mark.row("provisioning", 51)
@pytest.mark.parametrize(
    "path",
    ["", "authorized_keys", ".ssh/authorized_keys", "$HOME/../etc/x", "/etc/ssh/keys", "/home/bob/k", "/home/ada",
     "/home/ada/../bob/k", "/home/adam/k", "/home/ada/\0k"],
)  # fmt: skip
def test_row_51_other_paths_are_refused(account: Account, path: str) -> None:
    with pytest.raises(SshError, match="cannot write keys to"):
        homes.place(account, path)
