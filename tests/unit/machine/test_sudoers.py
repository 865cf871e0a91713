"""The rules for sudo: one line a user, checked before they count."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from tests.unit.machine.conftest import real
from waagent.errors import UserError
from waagent.machine import sudoers
from waagent.system import System

DIRECTORY = "/etc/sudoers.d"
FILE = "/etc/sudoers.d/waagent"
CHECK = ("visudo", "-c", "-f", "/etc/sudoers.d/.waagent.check")


@pytest.fixture
def rules(system: System) -> Path:
    system.path(DIRECTORY).mkdir()
    return Path(system.path(FILE))


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.row("field-demands", 156)
@pytest.mark.row("provisioning", 33)
@pytest.mark.parametrize(("ask", "rule"), [(True, "ada ALL=(ALL) ALL"), (False, "ada ALL=(ALL) NOPASSWD: ALL")])
def test_row_33_a_user_gets_one_rule(system: System, profile, rules: Path, ask: bool, rule: str) -> None:
    assert sudoers.allow(system, profile, DIRECTORY, "ada", ask=ask)
    assert lines(rules) == [rule]
    assert rules.stat().st_mode & 0o777 == 0o440


@pytest.mark.row("field-demands", 156)
@pytest.mark.row("provisioning", 41)
def test_row_41_the_same_rule_is_not_repeated(system: System, profile, rules: Path) -> None:
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    sudoers.allow(system, profile, DIRECTORY, "bob", ask=False)
    assert not sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert lines(rules) == ["ada ALL=(ALL) ALL", "bob ALL=(ALL) NOPASSWD: ALL"]


def test_another_rule_for_the_same_user_replaces_the_first(system: System, profile, rules: Path) -> None:
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=False)
    assert sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert lines(rules) == ["ada ALL=(ALL) ALL"]


@pytest.mark.row("provisioning", 66)
def test_row_66_only_the_user_himself_loses_his_rule(system: System, profile, rules: Path) -> None:
    for name in ("bob", "bobby", "jim-bob"):
        sudoers.allow(system, profile, DIRECTORY, name, ask=False)
    assert sudoers.withdraw(system, profile, DIRECTORY, "bob")
    assert [line.split()[0] for line in lines(rules)] == ["bobby", "jim-bob"]
    assert not sudoers.withdraw(system, profile, DIRECTORY, "bob")


def test_with_the_last_rule_the_file_goes(system: System, profile, rules: Path) -> None:
    sudoers.allow(system, profile, DIRECTORY, "bob", ask=False)
    assert sudoers.withdraw(system, profile, DIRECTORY, "bob")
    assert not rules.exists()


@pytest.mark.row("provisioning", 40)
def test_row_40_a_missing_directory_is_made_and_included_once(system: System, profile, put) -> None:
    main = put("/etc/sudoers", "root ALL=(ALL) ALL\n", 0o440)
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert main.read_text() == "root ALL=(ALL) ALL\n#includedir /etc/sudoers.d\n"
    assert main.stat().st_mode & 0o777 == 0o440
    sudoers.withdraw(system, profile, DIRECTORY, "ada")
    system.path(DIRECTORY).rmdir()
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert main.read_text().count("includedir") == 1


def test_without_sudo_no_main_file_is_invented(system: System, profile) -> None:
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert not system.exists("/etc/sudoers")


@pytest.mark.row("field-demands", 156)
def test_rules_that_visudo_refuses_never_get_into_place(
    system: System, script: Script, profile, rules: Path, program
) -> None:
    program("visudo")
    script.on(*CHECK, status=1, stdout=">>> /etc/sudoers.d/.waagent.check: syntax error near line 2 <<<")
    with pytest.raises(
        UserError, match=r"visudo refuses /etc/sudoers.d/waagent: .*syntax error.*it stays as it was"
    ):
        sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert not list(rules.parent.iterdir())


@pytest.mark.parametrize(
    "name", ["", "a b", "ada,ALL", "%wheel", "ada\nbob", "-x", "../x", "#0", "a" * 33, "ALL=", "a@b"]
)
def test_a_name_that_would_say_something_in_sudoers_is_refused(
    system: System, profile, rules: Path, name: str
) -> None:
    with pytest.raises(UserError):
        sudoers.allow(system, profile, DIRECTORY, name, ask=True)


def test_doas_has_one_file_with_a_rule_for_root_first(system: System, script: Script, tmp_path) -> None:
    profile = profile_of(tmp_path / "root", "openbsd")
    assert sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    assert not sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    conf = system.path("/etc/doas.conf")
    assert conf.read_text() == "permit keepenv nopass root\npermit keepenv persist ada\n"
    assert sudoers.withdraw(system, profile, DIRECTORY, "ada")
    assert conf.read_text() == "permit keepenv nopass root\n"


def test_the_real_visudo_accepts_our_rules(system: System, profile, rules: Path) -> None:
    real("visudo")
    sudoers.allow(system, profile, DIRECTORY, "ada", ask=True)
    sudoers.allow(system, profile, DIRECTORY, "Bob.o_x-1", ask=False)
    done = subprocess.run(["/usr/sbin/visudo", "-c", "-f", str(rules)], capture_output=True, text=True)
    assert done.returncode == 0 or "owned by uid" in done.stderr + done.stdout, done.stderr + done.stdout
