"""The old command line: one row for each form. Ids that begin with 12. are rows of the scenario list."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.runner.conftest import TOP, Machine
from waagent.cli import __main__ as cli
from waagent.cli import daemon, legacy, old_commands
from waagent.system import Result, System

USER = "deprovision+user"

ROWS = [
    ("12.1 no arguments", [], "help", set()),
    ("12.2 one dash", ["-version"], "version", set()),
    ("12.2 two dashes", ["--version"], "version", set()),
    ("12.2 slash", ["/version"], "version", set()),
    ("12.2 none", ["version"], "version", set()),
    ("12.2 any run", ["-/-version"], "version", set()),
    ("12.3", ["-serialconsole"], "serialconsole", set()),
    ("12.5", ["-deprovision", "-deprovision+user"], USER, set()),
    ("12.5 reversed", ["-deprovision+user", "-deprovision"], "deprovision", set()),
    ("help", ["-help"], "help", set()),
    ("usage", ["-usage"], "help", set()),
    ("question mark", ["-?"], "help", set()),
    ("/?", ["/?"], "help", set()),
    ("command after help", ["-help", "-version"], "version", set()),
    ("help after command", ["-version", "-help"], "help", set()),
    ("flag before", ["-force", "-deprovision"], "deprovision", {"force"}),
    ("flag after", ["--deprovision+user", "--force"], USER, {"force"}),
    ("flags around", ["-verbose", "-deprovision+user", "-force"], USER, {"force", "verbose"}),
    ("flag alone", ["-verbose"], "help", {"verbose"}),
    ("empty argument", ["", "-version", ""], "version", set()),
    ("collect", ["-collect-logs", "-full"], "collect-logs", {"full"}),
    ("full elsewhere", ["-version", "-full"], "version", {"full"}),
    ("debug", ["-run-exthandlers", "-debug"], "run-exthandlers", {"debug"}),
    ("start", ["-start"], "start", set()),
    ("daemon", ["-daemon"], "daemon", set()),
    ("register", ["-register-service"], "register-service", set()),
    ("show", ["-show-configuration"], "show-configuration", set()),
    ("firewall", ["-setup-firewall=168.63.129.16"], "setup-firewall", set()),
]


@pytest.mark.row("provisioning", 1, 2, 3, 5)
@pytest.mark.parametrize(("row", "arguments", "command", "flags"), ROWS, ids=[row[0] for row in ROWS])
def test_words_are_understood(row: str, arguments: list[str], command: str, flags: set[str]) -> None:
    asked = legacy.parse(arguments)
    assert (asked.command, asked.flags, asked.wrong) == (command, flags, "")


WRONG = [
    ("unknown", ["-bogus"], "-bogus"),
    ("unknown after a command", ["-version", "bogus"], "bogus"),
    ("parsing stops", ["-bogus", "-version"], "-bogus"),
    ("letter case", ["-Version"], "-Version"),
    ("12.6 no address", ["-setup-firewall"], "-setup-firewall"),
    ("address too short", ["-setup-firewall=1.2"], "-setup-firewall=1.2"),
    ("address of letters", ["-setup-firewall=::1"], "-setup-firewall=::1"),
    ("path with =", ["-configuration-path=/etc/x"], "-configuration-path=/etc/x"),
    ("path apart", ["-configuration-path", "/etc/x"], "-configuration-path"),
    ("longer than the word", ["-deprovisionX"], "-deprovisionX"),
    ("legacy 2.0", ["-install"], "-install"),
    ("unreachable", ["-provision"], "-provision"),
    ("dashes alone", ["--"], "--"),
]


@pytest.mark.row("provisioning", 6)
@pytest.mark.parametrize(("row", "arguments", "word"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_word_is_named_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], row: str, arguments: list[str], word: str
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert repr(word) in said.err
    assert "usage: waagent" in said.out


def test_address_is_kept() -> None:
    assert legacy.parse(["-setup-firewall=10.1.2.3"]).address == "10.1.2.3"


@pytest.mark.row("provisioning", 1)
def test_12_1_usage_has_a_blank_line_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("\nusage: waagent")
    assert out.endswith("\n\n")
    for word in (*legacy.COMMANDS, *legacy.FLAGS):
        assert f"-{word}" in out


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the verbs are started with; none of them runs. For anybody, as if root asked."""
    started: list[tuple[str, ...]] = []

    def run(verb: str, arguments: list[str]) -> int:
        started.append((verb, *arguments))
        return 0

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("WAAGENT_CONFIGURATION", "WAAGENT_VERBOSE"):
        monkeypatch.setenv(name, "")
    return started


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (["-version"], ("version",)),
        (["-daemon"], ("daemon",)),
        (["daemon"], ("daemon",)),
        (["daemon", "-verbose"], ("daemon",)),
        (["-start"], ("daemon", "--background")),
        (["-deprovision"], ("deprovision",)),
        (["deprovision"], ("deprovision",)),
        (["-force", "-deprovision"], ("deprovision", "--force")),
        (["deprovision", "-force"], ("deprovision", "--force")),
        (["deprovision", "--force"], ("deprovision", "--force")),
        (["-deprovision+user", "-force"], ("deprovision", "--user", "--force")),
        (["deprovision+user"], ("deprovision", "--user")),
        # New words behind a verb: nothing old about it.
        (["deprovision", "--user", "--dry-run"], ("deprovision", "--user", "--dry-run")),
        (["deprovision", "--verify", "--root", "/mnt"], ("deprovision", "--verify", "--root", "/mnt")),
        (["version", "--help"], ("version", "--help")),
        (["deprovision", "-h"], ("deprovision", "-h")),
    ],
)
def test_old_words_become_verbs(
    handed: list[tuple[str, ...]], arguments: list[str], verb: tuple[str, ...]
) -> None:
    assert cli.main(arguments) == 0
    assert handed == [verb]


def test_run_exthandlers_is_the_watcher(handed: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    import waagent.watcher.main

    given: list[list[str]] = []
    monkeypatch.setattr(waagent.watcher.main, "main", lambda arguments: given.append(arguments) or 0)
    assert cli.main(["-run-exthandlers", "-debug"]) == 0
    assert given == [[]]


def test_commands_that_act_need_root(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for word in ("-deprovision", "-daemon", "-start", "-register-service", "-setup-firewall=1.2.3.4"):
        assert cli.main([word]) == 1
        assert "needs root" in capsys.readouterr().err


@pytest.mark.row("provisioning", 4)
def test_12_4_missing_configuration_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main([f"-configuration-path:{tmp_path}/missing", "-version"]) == 1
    said = capsys.readouterr()
    assert "there is no configuration file" in said.err
    assert "usage: waagent" in said.out


def test_other_configuration_file_counts_for_the_command_and_what_it_starts(
    handed: list[tuple[str, ...]], tmp_path: Path
) -> None:
    from waagent import config
    from waagent.watcher.worker import Worker

    file = tmp_path / "mine.conf"
    file.write_text("Logs.Verbose=y\n")
    assert cli.main([f"-configuration-path:{file}", "-daemon"]) == 0
    assert os.environ["WAAGENT_CONFIGURATION"] == str(file)
    assert config.chosen("/etc/waagent.conf") == str(file)
    worker = Worker("goal-state", ["waagent"], str(tmp_path), str(tmp_path))
    assert not worker._systemd, "a unit would not know of the file"


def test_verbose_is_a_switch_for_this_command(handed: list[tuple[str, ...]], machine: Machine) -> None:
    from waagent.runner.situation import situation

    assert not situation(machine.system())[1].switch("Logs.Verbose")
    cli.main(["-verbose", "-version"])
    assert situation(machine.system())[1].switch("Logs.Verbose")


@pytest.mark.row("provisioning", 2)
def test_12_2_version_for_anybody_without_a_configuration() -> None:
    """As nobody, where the test may become him; from a place that he can reach, which a clone in /root is not."""
    words: dict[str, object] = {"user": 65534} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as top:
        for name in ("waagent", "data", "modules", "stages"):
            shutil.copytree(TOP / name, Path(top, name), ignore=shutil.ignore_patterns("__pycache__"))
        os.chmod(top, 0o755)
        ran = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {top!r}); "
             "from waagent.cli.__main__ import main; sys.exit(main(['-version']))"],
            capture_output=True, text=True, cwd="/", **words,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    first, second, third = ran.stdout.splitlines()
    assert first.startswith("WALinuxAgent-") and " running on " in first
    assert second == f"Python: {'.'.join(map(str, sys.version_info[:3]))}"
    assert third.startswith("Goal state agent: ")


def test_show_configuration_is_sorted_and_of_the_old_form(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.root / "etc/waagent.conf").write_text("ResourceDisk.MountOptions=None\nExtensions.GoalStatePeriod=7\n")
    assert old_commands.show_configuration(machine.system()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == sorted(lines)
    assert {"Extensions.Enabled = True", "ResourceDisk.MountOptions = None", "Extensions.GoalStatePeriod = 7"} <= set(lines)


@pytest.mark.row("provisioning", 7)
@pytest.mark.parametrize("content", [None, "", " \n"])
def test_12_7_no_configuration_no_settings(
    machine: Machine, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = machine.root / "etc/waagent.conf"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert old_commands.show_configuration(machine.system()) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "/etc/waagent.conf" in said.err


def test_register_service_names_its_three_acts(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[tuple[str, ...]] = []
    system = System(machine.root, execute=lambda argv, *_: ran.append(argv) or Result(argv, 0))
    assert old_commands.register_service(system) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Registering", "Stopping", "Starting"]
    assert ran == [
        ("systemctl", "enable", "waagent.target"), ("systemctl", "stop", "waagent"),
        ("systemctl", "start", "waagent.target"),
    ]  # fmt: skip


def test_register_service_that_fails_says_so(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    system = System(machine.root, execute=lambda argv, *_: Result(argv, 1, "", "no bus"))
    assert old_commands.register_service(system) == 1
    assert "no bus" in capsys.readouterr().err


def test_setup_firewall_with_an_address_that_is_none(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert old_commands.setup_firewall(machine.system(), "999.1.1.1") == 1
    assert "no IPv4 address" in capsys.readouterr().err


def test_setup_firewall_sets_the_rules(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.root / "usr/bin").mkdir(parents=True)
    (machine.root / "usr/bin/nft").write_text("")
    (machine.root / "usr/bin/nft").chmod(0o755)
    given: list[bytes | None] = []

    def execute(argv: tuple[str, ...], stdin: bytes | None, *_: object) -> Result:
        given.append(stdin)
        return Result(argv, 1 if "--json" in argv else 0)

    assert old_commands.setup_firewall(System(machine.root, execute=execute), "168.63.129.16") == 0
    assert any(script and b"ip daddr 168.63.129.16" in script for script in given)


@pytest.mark.row("provisioning", 3)
def test_12_3_serial_console(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    grub = machine.root / "etc/default/grub"
    grub.parent.mkdir(parents=True)
    grub.write_text('GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    (machine.root / "usr/sbin").mkdir(parents=True, exist_ok=True)
    (machine.root / "usr/sbin/update-grub").write_text("")
    (machine.root / "usr/sbin/update-grub").chmod(0o755)
    ran: list[tuple[str, ...]] = []
    system = System(machine.root, execute=lambda argv, *_: ran.append(argv) or Result(argv, 0))
    assert old_commands.serial_console(system) == 0
    assert grub.read_text() == 'GRUB_CMDLINE_LINUX_DEFAULT="quiet console=ttyS0 earlyprintk=ttyS0"\n'
    assert ran == [("update-grub",)]
    assert old_commands.serial_console(system) == 0
    assert ran == [("update-grub",)], "the second time there is nothing to do"


@pytest.fixture
def daemon_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A daemon whose stages and watcher are noted instead of started."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "spawnv", lambda mode, path, argv: started.append(argv) or 1)
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (pid, 0))
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append(argv))
    (machine.root / "var/run").mkdir(parents=True, exist_ok=True)
    return started


@pytest.mark.row("guest-operations", 1)
@pytest.mark.row("provisioning", 17)
def test_12_17_live_daemon_keeps_its_pid_file(machine: Machine, daemon_on: list[list[str]]) -> None:
    sleeper = subprocess.Popen(["sleep", "30"])
    try:
        (machine.root / f"proc/{sleeper.pid}").mkdir(parents=True)
        (machine.root / f"proc/{sleeper.pid}/cmdline").write_text("/usr/sbin/waagent\0daemon\0")
        pid_file = machine.root / "var/run/waagent.pid"
        pid_file.write_text(str(sleeper.pid))
        assert daemon.main(SimpleNamespace(background=False), machine.system()) == 0  # type: ignore[arg-type]
        assert pid_file.read_text() == str(sleeper.pid)
        assert daemon_on == []
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.row("guest-operations", 2)
@pytest.mark.row("provisioning", 18)
@pytest.mark.parametrize("content", ["999999999", "garbage", ""])
def test_12_18_dead_pid_or_garbage_is_overwritten(machine: Machine, daemon_on: list[list[str]], content: str) -> None:
    pid_file = machine.root / "var/run/waagent.pid"
    pid_file.write_text(content)
    daemon.main(SimpleNamespace(background=False), machine.system())  # type: ignore[arg-type]
    assert pid_file.read_text() == str(os.getpid())
    assert [argv[-1] for argv in daemon_on] == ["local", "network", "config", "final", "watch"]


@pytest.mark.row("provisioning", 96)
def test_row_96_a_daemon_ends_when_vmm_looks_after_the_machine(machine: Machine, daemon_on: list[list[str]]) -> None:
    (machine.root / "run/waagent").mkdir(parents=True, exist_ok=True)
    (machine.root / "run/waagent/handed-over").write_text("the agent of VMM looks after this machine\n")
    system = machine.system()
    slept: list[float] = []
    system.clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: 0.0, stamp=lambda: "")  # type: ignore[assignment]
    assert daemon.main(SimpleNamespace(background=False), system) == 0  # type: ignore[arg-type]
    assert slept == [300.0]
    assert [argv[-1] for argv in daemon_on] == ["local"]
