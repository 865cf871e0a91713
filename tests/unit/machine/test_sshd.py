"""Settings of sshd: a drop-in where one counts, else an edit; what was asked for is what sshd uses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from tests.unit.machine.conftest import real
from waagent.errors import SshError
from waagent.machine import sshd
from waagent.system import System

DIR = "/etc/ssh"
MAIN = "/etc/ssh/sshd_config"
LOGINS = ("PasswordAuthentication", "ChallengeResponseAuthentication")
NO = {**dict.fromkeys(LOGINS, "no"), "ClientAliveInterval": "180"}
YES = {**dict.fromkeys(LOGINS, "yes"), "ClientAliveInterval": "180"}
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
DEBIAN = INCLUDE + "#PasswordAuthentication yes\nKbdInteractiveAuthentication no\nUsePAM yes\n"
USUAL, FIRST = "/etc/ssh/sshd_config.d/50-waagent.conf", "/etc/ssh/sshd_config.d/00-waagent.conf"


def values(system: System) -> dict[str, str]:
    return {name: setting.value for name, setting in sshd.effective(system, DIR).items()}


def test_a_drop_in_is_used_where_it_is_included(system: System, profile, put) -> None:
    main = put(MAIN, DEBIAN)
    assert sshd.configure(system, profile, DIR, NO, LOGINS).changed
    assert main.read_text() == DEBIAN
    assert system.path(USUAL).stat().st_mode & 0o777 == 0o600
    assert values(system)["passwordauthentication"] == "no"
    assert values(system)["clientaliveinterval"] == "180"
    assert values(system)["usepam"] == "yes"


def test_the_second_time_nothing_changes(system: System, profile, put) -> None:
    put(MAIN, DEBIAN)
    sshd.configure(system, profile, DIR, NO, LOGINS)
    system.effects.clear()
    assert not sshd.configure(system, profile, DIR, NO, LOGINS).changed
    assert system.effects == []


@pytest.mark.row("field-demands", 157)
@pytest.mark.row("provisioning", 45)
@pytest.mark.parametrize("wanted", [NO, YES])
@pytest.mark.parametrize("other", ["10-hardening.conf", "50-cloud-init.conf"])
def test_row_45_what_the_platform_asked_for_is_effective_before_a_drop_in_that_says_otherwise(
    system: System, profile, put, wanted: dict[str, str], other: str
) -> None:
    opposite = "no" if wanted is YES else "yes"
    put(MAIN, DEBIAN)
    put(f"/etc/ssh/sshd_config.d/{other}", f"passwordauthentication {opposite}\nClientAliveInterval 30\n")
    done = sshd.configure(system, profile, DIR, wanted, LOGINS)
    assert values(system)["passwordauthentication"] == wanted["PasswordAuthentication"]
    assert f"{other} says otherwise" in done.notes[0]
    # What nobody asked for yields to what the image's maker wrote.
    assert values(system)["clientaliveinterval"] == "30"


@pytest.mark.row("provisioning", 45)
def test_row_45_an_include_of_another_place_does_not_win(system: System, profile, put) -> None:
    put(MAIN, "Include /etc/ssh/extra.conf\nUsePAM yes\n")
    put("/etc/ssh/extra.conf", "PasswordAuthentication yes\n")
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert values(system)["passwordauthentication"] == "no"


@pytest.mark.row("provisioning", 45)
def test_row_45_a_setting_before_the_include_is_edited(system: System, profile, put) -> None:
    put(MAIN, "PasswordAuthentication yes\n" + INCLUDE)
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert values(system)["passwordauthentication"] == "no"


def test_an_early_drop_in_of_ours_goes_when_it_is_not_needed_any_more(system: System, profile, put) -> None:
    put(MAIN, DEBIAN)
    other = put("/etc/ssh/sshd_config.d/10-x.conf", "PasswordAuthentication yes\n")
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert system.exists(FIRST)
    other.unlink()
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert not system.exists(FIRST)


@pytest.mark.row("field-demands", 157)
@pytest.mark.row("provisioning", 43)
def test_row_43_without_the_keyword_lines_go_before_the_match_block(system: System, profile, put) -> None:
    main = put(MAIN, "Port 22\n\nMatch User bob\n    PasswordAuthentication yes\n")
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert main.read_text() == (
        "Port 22\n\nPasswordAuthentication no\nChallengeResponseAuthentication no\nClientAliveInterval 180\n"
        "Match User bob\n    PasswordAuthentication yes\n"
    )


@pytest.mark.row("provisioning", 44)
def test_row_44_a_commented_default_and_no_final_newline(system: System, profile, put) -> None:
    main = put(MAIN, "#PasswordAuthentication yes\nUsePAM yes")
    sshd.configure(system, profile, DIR, NO, LOGINS)
    assert main.read_text().startswith("#PasswordAuthentication yes\nUsePAM yes\nPasswordAuthentication no\n")
    assert values(system)["passwordauthentication"] == "no"


def test_an_edit_replaces_in_place_and_only_whole_keywords() -> None:
    before = (
        "passwordauthentication yes\nPasswordAuthenticationX 1\nPasswordAuthentication=maybe\n"
        "KbdInteractiveAuthentication yes\nMatch all\nClientAliveInterval 5\nMatch Group x\nClientAliveInterval 7\n"
    )
    assert sshd.edit(before, NO) == (
        "PasswordAuthentication no\nPasswordAuthenticationX 1\nChallengeResponseAuthentication no\nMatch all\n"
        "ClientAliveInterval 180\nMatch Group x\nClientAliveInterval 7\n"
    )


def test_an_edit_done_twice_is_done_once() -> None:
    for before in ("", "Port 22", "Match User x\n  X11Forwarding no\n", DEBIAN):
        once = sshd.edit(before, NO)
        assert sshd.edit(once, NO) == once


def test_distributions_that_own_their_sshd_are_edited_only_by_drop_in(system: System, put, tmp_path) -> None:
    profile = profile_of(tmp_path / "root", "fedora", "40")
    main = put(MAIN, "UsePAM yes\n")
    done = sshd.configure(system, profile, DIR, NO, LOGINS)
    assert not done.changed and "left as it is" in done.notes[0]
    assert main.read_text() == "UsePAM yes\n"
    main.write_text(INCLUDE)
    assert sshd.configure(system, profile, DIR, NO, LOGINS).changed
    assert values(system)["passwordauthentication"] == "no"


@pytest.mark.row("field-demands", 157)
def test_settings_that_sshd_refuses_never_get_into_place(
    system: System, script: Script, profile, put, program
) -> None:
    main = put(MAIN, DEBIAN)
    program("sshd")
    script.on(
        "sshd", "-t", "-f", sshd.CHECKED, status=255,
        stderr="/run/waagent/sshd_config.check: line 3: Bad configuration option: Oops\n"
               "/run/waagent/sshd_config.check: terminating, 1 bad configuration options",
    )  # fmt: skip
    with pytest.raises(SshError, match=r"/etc/ssh/sshd_config: line 3: Bad configuration option: Oops"):
        sshd.configure(system, profile, DIR, NO, LOGINS)
    assert main.read_text() == DEBIAN
    assert not system.exists(USUAL) and not system.exists(sshd.CHECKED)


@pytest.mark.parametrize(
    "early", ["sshd: no hostkeys available -- exiting.", "Missing privilege separation directory: /run/sshd"]
)
def test_what_a_boot_brings_later_is_no_mistake(
    system: System, script: Script, profile, put, program, early
) -> None:
    put(MAIN, DEBIAN)
    program("sshd")
    script.on("sshd", "-t", "-f", sshd.CHECKED, status=1, stderr=early)
    assert sshd.configure(system, profile, DIR, NO, LOGINS).changed


@pytest.mark.parametrize("text", [DEBIAN, "Port 22\nMatch User bob\n  PasswordAuthentication yes\n", "Port 22"])
def test_the_real_sshd_uses_what_we_wrote(system: System, profile, put, tmp_path: Path, text: str) -> None:
    real("sshd", "ssh-keygen")
    put(MAIN, text)
    sshd.configure(system, profile, DIR, NO, LOGINS)
    real_dir = str(system.path(DIR))
    for path in Path(real_dir).rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace("/etc/ssh/", f"{real_dir}/"))
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", key], check=True)
    if os.getuid() != 0:
        pytest.skip("sshd wants /run/sshd, and only root may make it in a namespace")
    command = f"mount -t tmpfs none /run && mkdir /run/sshd && /usr/sbin/sshd -T -f {real_dir}/sshd_config -h {key}"
    told = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True)
    if "unshare failed" in told.stderr:
        pytest.skip("namespaces are not allowed here")
    assert told.returncode == 0, told.stderr
    used = dict(line.split(" ", 1) for line in told.stdout.splitlines() if " " in line)
    assert (used["passwordauthentication"], used["clientaliveinterval"]) == ("no", "180")
    assert used["kbdinteractiveauthentication"] == "no"
