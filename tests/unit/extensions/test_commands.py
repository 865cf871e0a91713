"""Extensions 12.2: commands that fail, hang, flood and fork, with real processes."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, multi, settings, single
from waagent.extensions import commands
from waagent.extensions.commands import LIMITS, Command, Running
from waagent.extensions.layout import Layout
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Settings
from waagent.system import System

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def limits(bed: Bed, **more: float) -> None:
    bed.rules = Rules(limits={**LIMITS, **more}, dependency_poll=0.05)


def message(bed: Bed, name: str = NAME) -> str:
    return str(bed.entry(name)["formattedMessage"]["message"])


@pytest.mark.row("extensions", 22)
def test_22_a_failing_install_is_repeated_in_full_with_the_next_goal_state(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"install": "echo no room >&2; exit 1"})
    bed.process(single(NAME))
    assert bed.verbs() == ["install"]
    assert bed.state(NAME, "1.0.0") == "NotInstalled"
    assert (bed.entry(NAME)["status"], bed.entry(NAME)["code"]) == ("NotReady", 1007)
    assert message(bed).startswith("[ExtensionOperationError]")
    assert "exit code 1 " in message(bed) and "no room" in message(bed)
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert bed.fetched == [f"{NAME} 1.0.0"] * 2


@pytest.mark.row("guest-operations", 53)
@pytest.mark.row("extensions", 23)
def test_23_a_failing_enable_repeats_only_enable(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "exit 52"})
    bed.process(single(NAME))
    assert bed.state(NAME, "1.0.0") == "Installed"
    assert bed.entry(NAME)["code"] == 1009
    assert "exit code 52 " in message(bed)
    bed.ran()
    bed.process(single(NAME))
    assert bed.verbs() == ["enable"]


@pytest.mark.row("guest-operations", 54)
@pytest.mark.row("field-demands", 164)
@pytest.mark.row("extensions", 24, 25)
@pytest.mark.parametrize("verb", ["enable", "install"], ids=["24-enable", "25-install"])
def test_24_25_a_command_over_its_limit_is_killed_with_its_children(bed: Bed, verb: str) -> None:
    script = "echo begun; trap '' TERM; sleep 300 & echo $! > ../child; wait; sleep 300"
    bed.publish(NAME, "1.0.0", {verb: script})
    limits(bed, **{verb: 0.5})
    began = time.monotonic()
    bed.process(single(NAME))
    assert time.monotonic() - began < 5
    assert bed.entry(NAME)["code"] == 1011
    assert message(bed).startswith("[ExtensionError]")
    assert "begun" in message(bed)
    child = int(Path(bed.layout.lib, "child").read_text())
    for _ in range(50):
        if not _lives(child):
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child of the killed command still runs")


def test_the_limits_are_the_reference_s() -> None:
    assert dict(LIMITS) == {"install": 900, "update": 900, "enable": 300, "disable": 900, "uninstall": 300}


@pytest.mark.row("field-demands", 164)
@pytest.mark.row("extensions", 26)
def test_26_a_child_that_keeps_the_output_open_does_not_block(bed: Bed) -> None:
    bed.publish(
        NAME, "1.0.0", {"enable": "setsid sh -c 'echo late; exec sleep 20' & echo $! > ../child; status success ok"}
    )
    began = time.monotonic()
    bed.process(single(NAME))
    assert time.monotonic() - began < 5
    assert bed.entry(NAME)["status"] == "Ready"
    os.killpg(int(Path(bed.layout.lib, "child").read_text()), signal.SIGKILL)


@pytest.mark.row("extensions", 27)
def test_27_a_flood_of_output_is_bounded_and_its_end_is_told(bed: Bed) -> None:
    flood = "head -c 5242880 /dev/zero | tr '\\0' x; echo; echo the reason; head -c 3000000 /dev/zero | tr '\\0' y >&2; exit 3"
    bed.publish(NAME, "1.0.0", {"enable": flood})
    bed.process(single(NAME))
    assert len(message(bed)) < 3200 + 400
    assert "the reason" in message(bed)


def test_output_does_not_fill_the_disk_while_a_command_runs(bed: Bed) -> None:
    script = "i=0; while [ $i -lt 40 ]; do head -c 1000000 /dev/zero; i=$((i+1)); sleep 0.05; done; du -k ../extensions/running/*/out > ../size"
    bed.publish(NAME, "1.0.0", {"enable": script})
    bed.process(single(NAME))
    assert int(Path(bed.layout.lib, "size").read_text().split()[0]) < 16 * 1024


@pytest.mark.row("extensions", 28, 29)
def test_28_29_output_is_escaped_and_redacted(bed: Bed) -> None:
    script = r"printf 'bad \377 byte https://x.blob.example/a?sv=2018&sig=SECRET end\n'; exit 1"
    bed.publish(NAME, "1.0.0", {"enable": script})
    bed.process(single(NAME))
    assert r"bad \xff byte" in message(bed)
    assert "SECRET" not in message(bed)
    assert "SECRET" not in Path(bed.layout.command_log(NAME)).read_text()


@pytest.mark.row("extensions", 30)
def test_30_status_126_on_a_noexec_mount_says_so(bed: Bed) -> None:
    mounts = Path(bed.folder, "machine/proc/self/mounts")
    mounts.parent.mkdir(parents=True)
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /var ext4 rw,noexec 0 0\n")
    system = System(Path(bed.folder, "machine"), journalling=False)
    ended = commands.Ended(126, False, "", 0.1)
    command = Command("install", NAME, "1.0.0", "", "x.sh", {}, 900)
    error = commands.failure(command, ended, "/var/lib/waagent/x.sh", system, Layout())
    assert "/var is mounted noexec" in error.message
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /var/lib/wa ext4 rw,noexec 0 0\n")
    error = commands.failure(command, ended, "/var/lib/waagent/x.sh", system, Layout())
    assert "noexec" not in error.message


@pytest.mark.row("extensions", 32)
def test_32_a_missing_program_is_tried_once(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"enableCommand": "bin/nothing.sh"})
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == 1009
    assert "exit code 127 " in message(bed)
    log = Path(bed.layout.command_log(NAME)).read_text()
    assert log.count("not found") == 1


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("#!/bin/sh\r\n", r"the first line of .*/run ends in a carriage return: convert its line ends"),
        ("#!/usr/bin/env python3\r\n", r"the first line of .*/run ends in a carriage return"),
        ("#!/opt/none/perl -w\n", r"the interpreter of .*/run is not there: /opt/none/perl"),
    ],
)
def test_a_program_that_is_there_and_cannot_be_found(bed: Bed, first: str, told: str) -> None:
    """The shell says "not found" of the program, which everybody can see."""
    bed.publish(NAME, "1.0.0", manifest={"installCommand": "run"}, extra={"run": f"{first}exit 0\n".encode()})
    bed.process(single(NAME))
    assert re.search(rf"install ended with exit code 127 .*/run; {told}", message(bed))


@pytest.mark.row("extensions", 33)
def test_33_a_missing_command_is_found_at_install(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"disableCommand": None})
    bed.process(single(NAME))
    assert bed.ran() == []
    assert bed.entry(NAME)["code"] == 1003
    assert "disableCommand" in message(bed)


def test_a_command_that_leads_out_of_the_package_is_refused(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"enableCommand": "../../bin/sh -c true"})
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == 1003
    assert bed.ran() == []


@pytest.mark.row("extensions", 35)
def test_35_a_handler_may_delete_itself(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"uninstall": 'rm -rf "$BASE"'})
    bed.process(single(NAME))
    assert not bed.process(single(NAME, state="uninstall")).failed
    assert not bed.base(NAME, "1.0.0").exists()


def test_35d_the_status_file_speaks_for_the_extension(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status error broken"})
    bed.process(single(NAME))
    assert bed.entry(NAME)["status"] == "Ready"
    assert settings(bed.entry(NAME))["status"] == "error"


def test_the_log_of_commands_tells_command_environment_and_output(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "echo one; echo; echo two"})
    bed.process(single(NAME, sequence=7))
    log = Path(bed.layout.command_log(NAME)).read_text()
    assert f"{bed.base(NAME, '1.0.0')}/bin/run.sh enable" in log
    assert "ConfigSequenceNumber=7" in log
    assert "one\ntwo\n" in log


@pytest.fixture
def systemd(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemd-run, found first in PATH of this process only."""
    folder = bed.folder / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(commands, "_has_systemd", lambda system: True)
    return folder / "systemd-run"


@pytest.mark.row("field-demands", 86)
def test_commands_get_a_scope_in_their_slice(bed: Bed, systemd: Path) -> None:
    systemd.write_text(
        f'#!/bin/sh\necho "$@" >> {bed.folder}/scopes\nwhile [ "${{1#--}}" != "$1" ]; do shift; done\nexec "$@"\n'
    )
    systemd.chmod(0o755)
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    install, enable = Path(bed.folder, "scopes").read_text().split("waagent-extension")[:2]
    assert "--unit=install_" in install and "--unit=enable_" in enable
    assert f"--slice=azure-vmextensions-{NAME}.slice" in install
    bed.publish(OTHER, "1.0.0", manifest={"supportsMultipleExtensions": True})
    bed.process(single(NAME), multi(OTHER, "1.0.0", Settings("A-b c", 0)))
    assert Path(bed.folder, "scopes").read_text().count(f"--slice=azure-vmextensions-{OTHER}.A_b_c.slice") == 2


@pytest.mark.row("guest-operations", 52)
@pytest.mark.row("extensions", 31)
def test_31_a_broken_systemd_run_means_no_scope_and_no_second_run(bed: Bed, systemd: Path) -> None:
    systemd.write_text(f"#!/bin/sh\necho tried >> {bed.folder}/tried\necho Failed to connect to bus >&2\nexit 1\n")
    systemd.chmod(0o755)
    bed.publish(NAME, "1.0.0", {"enable": "exit 5"})
    bed.publish(OTHER, "1.0.0")
    summary = bed.process(single(NAME), single(OTHER))
    assert bed.verbs() == ["install", "enable", "install", "enable"]
    assert "exit code 5 " in message(bed)
    assert len(Path(bed.folder, "tried").read_text().splitlines()) == 1, "scopes are off after the first time"
    assert len([note for note in summary.notes if "systemd-run does not work" in note]) == 1


def test_a_folder_in_which_nothing_can_be_written_is_no_broken_systemd_run(bed: Bed, systemd: Path) -> None:
    """Whether the command has begun could not be told afterwards, so it does not begin, and never twice."""
    systemd.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nmkdir "$5/began"\nexec "$@"\n')
    systemd.chmod(0o755)
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert bed.ran() == []
    assert "exit code 71 " in message(bed)


def agent(bed: Bed, name: str, dies_before: str = "") -> subprocess.Popen[bytes]:
    """A process that takes up the first goal state, and gets SIGKILL from itself before a command of this verb."""
    package = bed.folder / "package.zip"
    package.write_bytes(bed.published[name]["1.0.0"])
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
import os, pathlib, signal
from tests.unit.extensions.conftest import Bed, single
bed = Bed(pathlib.Path({str(bed.folder)!r}))
bed.publish_raw({name!r}, "1.0.0", pathlib.Path({str(package)!r}).read_bytes())
engine = bed.engine()
def announce(event, **data):
    if (event, data["operation"]) == ("extension-started", {dies_before!r}):
        os.kill(os.getpid(), signal.SIGKILL)
engine._steps._announce = announce
engine.process(bed.desired(single({name!r})))
"""
    return subprocess.Popen([sys.executable, "-c", program])


def resumed_bed(bed: Bed, name: str, script: str, verb: str) -> subprocess.Popen[bytes]:
    """Process a goal state in a process of its own and wait until the command of `verb` runs."""
    bed.publish(name, "1.0.0", {verb: script})
    process = agent(bed, name)
    until = time.monotonic() + 20
    while time.monotonic() < until and not Path(bed.layout.lib, "begun").exists():
        time.sleep(0.02)
    assert Path(bed.layout.lib, "begun").exists()
    return process


@pytest.mark.row("extensions", 127)
@pytest.mark.parametrize("verb", ["install", "enable"], ids=["35b-install", "35c-127-enable"])
def test_35b_35c_127_a_command_whose_agent_was_killed_is_waited_for_and_not_run_twice(bed: Bed, verb: str) -> None:
    process = resumed_bed(bed, NAME, "touch ../begun; sleep 1.5; status success done", verb)
    process.kill()
    process.wait()
    bed.incarnation = 0  # the same goal state
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert bed.entry(NAME)["status"] == "Ready"
    assert bed.state(NAME, "1.0.0") == "Enabled"
    assert not os.path.exists(bed.layout.running)


def test_a_command_that_was_just_being_started_when_its_agent_died_is_waited_for(bed: Bed) -> None:
    """Its process has nothing of its own yet but the file for its output."""
    folder = Path(bed.layout.running, "enable_x")
    folder.mkdir(parents=True)
    with open(folder / "out", "wb") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        script = f"sleep 0.5; cd {folder.parent}; cd enable_?; echo $$ > began; echo late; echo 7 > exit"
        late = subprocess.Popen(["sh", "-c", script], stdout=out)
    command = Command("enable", NAME, "1.0.0", "", "x.sh", {}, 300)
    running = Running(str(folder), "", bed.system.clock.monotonic() + 300)
    ended = commands.attach(bed.system, bed.layout, command, running)
    late.wait()
    assert ended is not None and (ended.status, "late" in ended.output) == (7, True)
    (folder / "exit").unlink()
    (folder / "began").unlink()
    assert commands.attach(bed.system, bed.layout, command, running) is None, "nobody is left"


def test_the_exit_code_of_a_command_that_outlived_its_agent_counts(bed: Bed) -> None:
    process = resumed_bed(bed, NAME, "touch ../begun; sleep 1; echo too bad; exit 9", "enable")
    process.kill()
    process.wait()
    bed.incarnation = 0
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert "exit code 9 " in message(bed) and "too bad" in message(bed)


def test_what_outlived_its_goal_state_does_not_count_for_the_next_one(bed: Bed) -> None:
    process = resumed_bed(bed, NAME, "touch ../begun; sleep 1; status success done", "enable")
    process.kill()
    process.wait()
    bed.incarnation = 1
    bed.process(single(NAME, sequence=1))
    assert bed.ran() == [
        f"install {NAME}-1.0.0 0 -",
        f"enable {NAME}-1.0.0 0 -",
        f"enable {NAME}-1.0.0 1 -",
    ]


def test_35a_killed_after_install_only_enables(bed: Bed) -> None:
    """SIGKILL comes when the hooks of enable are about to run, just before its command."""
    bed.publish(NAME, "1.0.0", {"enable": "status success done"})
    assert agent(bed, NAME, dies_before="enable").wait() == -signal.SIGKILL
    assert (bed.verbs(), bed.state(NAME, "1.0.0")) == (["install"], "Installed")
    bed.process(single(NAME))
    assert bed.verbs() == ["enable"]
    assert bed.entry(NAME)["status"] == "Ready"
    assert bed.fetched == [], "nothing is downloaded again"


def test_35e_a_generalised_image_enables_number_0_again(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success fresh"})
    bed.process(single(NAME))
    bed.ran()
    base = bed.base(NAME, "1.0.0")
    for left in (base / "status/0.status", base / "config/0.settings", base / "config/HandlerStatus"):
        left.unlink()
    bed.process(single(NAME))
    assert bed.verbs() == ["enable"]
