"""Files that a periodic step watches: what the stage sees of them, and what the shell sees that runs before it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.runner.conftest import TOP, Machine
from waagent.config import from_text
from waagent.errors import StageError
from waagent.module import Module
from waagent.runner import declaration, watching
from waagent.runner.periodic import Schedule

FAR = 10**9


class Shell:
    """data/systemd/periodic-due over a directory; files in proc/ stand for the kernel's, those in etc/ for others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("proc", "etc"):
            (folder / name).mkdir()
        self.due = folder / "periodic.due"
        self.script = folder / "periodic-due"
        text = (TOP / "data/systemd/periodic-due").read_text()
        self.script.write_text(text.replace("/run/waagent/periodic.due", str(self.due)))

    def put(self, name: str, content: bytes | str, age: float = 60.0) -> Path:
        """A file that was changed so many seconds ago."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (time.time() - age,) * 2)
        return path

    def record(self, *names: str, due: int = FAR, since: int = 0) -> bool:
        """Write periodic.due for these patterns as they are now; false when a shell cannot tell."""
        found = watching.record(watching.look("/", tuple(f"{self.folder}/{name}" for name in names)))
        if found is None:
            return False
        self.write([str(due), f"from {since}", *found, "end", ""])
        return True

    def write(self, lines: list[str]) -> None:
        self.due.write_text("\n".join(lines))
        os.utime(self.due, (time.time() - 1.0,) * 2)

    def is_due(self) -> bool:
        ran = subprocess.run(["dash", str(self.script)], capture_output=True, timeout=20, check=False)
        assert ran.returncode in (0, 1), ran
        assert (ran.stdout, ran.stderr) == (b"", b"")
        return ran.returncode == 0


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(watching, "KERNEL", (f"{tmp_path}/proc/",))
    return Shell(tmp_path)


# --- the shell ---------------------------------------------------------------------------------------------------


def test_what_is_as_it_was_is_not_due(shell: Shell) -> None:
    shell.put("proc/hostname", "vm01\n")
    shell.put("proc/empty", "")
    shell.put("etc/rules", b"\0\xff anything\n" * 9999)
    (shell.folder / "etc/folder.d").mkdir()
    os.utime(shell.folder / "etc/folder.d", (1, 1))
    assert shell.record("proc/hostname", "proc/none*", "proc/empty", "etc/*", "etc/absent")
    assert not shell.is_due()


@pytest.mark.parametrize("content", ["vm02\n", "vm01", "", "vm01\n\n", "vm01\nx\n", " vm01\n", "vm01 \n", "vm0\\1\n", "x" * 70_000, "\n" * 9])
def test_another_content_of_a_file_of_the_kernel_is_due(shell: Shell, content: str) -> None:
    shell.put("proc/hostname", "vm01\n")
    assert shell.record("proc/hostname")
    shell.put("proc/hostname", content)
    assert shell.is_due()


@pytest.mark.parametrize("change", ["newer", "gone", "come", "renamed", "put before", "a link that now leads somewhere"])
def test_a_change_of_files_is_due(shell: Shell, change: str) -> None:
    shell.put("etc/b.conf", "b\n")
    (shell.folder / "etc/x.conf").symlink_to(shell.folder / "later")
    assert shell.record("etc/*.conf", "etc/absent")
    assert not shell.is_due()
    if change == "newer":
        shell.put("etc/b.conf", "b\n", age=0.0)
    elif change == "gone":
        (shell.folder / "etc/b.conf").unlink()
    elif change == "come":
        shell.put("etc/absent", "")
    elif change == "renamed":
        (shell.folder / "etc/b.conf").rename(shell.folder / "etc/c.conf")
    elif change == "put before":
        shell.put("etc/a.conf", "a\n")
    else:
        shell.put("later", "")
    assert shell.is_due()


def test_a_pattern_that_matched_nothing_matches_later(shell: Shell) -> None:
    assert shell.record("proc/sd*/timeout")
    assert not shell.is_due()
    (shell.folder / "proc/sdb").mkdir()
    shell.put("proc/sdb/timeout", "180\n")
    assert shell.is_due()


def test_files_count_from_their_second_on_and_the_first_line_in_any_case(shell: Shell) -> None:
    shell.put("proc/hostname", "vm01\n")
    now = int(float(Path("/proc/uptime").read_text().split()[0]))
    assert shell.record("proc/hostname", since=now + 100)
    shell.put("proc/hostname", "vm02\n")
    assert not shell.is_due()
    assert shell.record("proc/hostname", due=now - 1)
    assert shell.is_due()


@pytest.mark.parametrize(
    "lines",
    [[""], ["soon", "end"], [str(FAR)], [str(FAR), "nonsense", "end"], [str(FAR), "text", "=x", ".", "end"], [str(FAR), "name /etc", "end"],
     [str(FAR), "from soon", "end"], [str(FAR), "match /etc/passwd", "name /etc/passwd", "text", "=x"], ["-5", "end"]],
    ids=str,
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_due(shell: Shell, lines: list[str]) -> None:
    shell.write(lines)
    assert shell.is_due()


def test_no_file_at_all_is_due(shell: Shell) -> None:
    assert shell.is_due()


def test_a_clock_that_was_set_back_is_due(shell: Shell) -> None:
    shell.write([str(FAR), "end", ""])
    assert not shell.is_due()
    os.utime(shell.due, (time.time() + 500,) * 2)
    assert shell.is_due()


def test_nothing_is_executed(shell: Shell) -> None:
    mark = shell.folder / "mark"
    for evil in (f"$(touch {mark})", f"`touch {mark}`", f"'; touch {mark}; '", f'" ; touch {mark} #', "*", "-n", "\\", "${due}"):
        shell.put("proc/hostname", f"{evil}\n")
        assert shell.record("proc/hostname")
        assert not shell.is_due(), evil
        shell.put("proc/hostname", f"{evil}x\n")
        assert shell.is_due()
    assert not mark.exists()


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="strace is not installed")
def test_the_shell_starts_no_program_and_writes_nothing(shell: Shell) -> None:
    shell.put("proc/hostname", "vm01\n")
    assert shell.record("proc/hostname", "etc/*")
    trace = shell.folder / "trace"
    subprocess.run(["strace", "-f", "-o", str(trace), "dash", str(shell.script)], capture_output=True, check=False)
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    assert not [call for call in calls if call.startswith(("fork", "vfork", "clone"))]
    assert not [call for call in calls if call.startswith("open") and ("O_WRONLY" in call or "O_RDWR" in call) and "/dev/null" not in call]
    assert sum(call.startswith("execve") for call in calls) == 1


contents = st.one_of(
    st.binary(max_size=40),
    st.text(st.sampled_from("ab \t\\'\"$`*[]=.\n-#"), max_size=30).map(str.encode),
)
names = st.text(st.characters(exclude_characters="/\0", max_codepoint=0x2FF), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.dictionaries(names, contents, max_size=3), after=st.dictionaries(names, contents, max_size=3))
def test_the_shell_sees_what_the_stage_sees(shell: Shell, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Whatever names and contents: what can be recorded is not due while it is so, and is when it is otherwise."""
    folder = shell.folder / "proc"

    def make(files: dict[str, bytes]) -> watching.Look:
        for path in folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return watching.look("/", (f"{folder}/*",))

    first = make(before)
    if not shell.record("proc/*"):
        return
    assert not shell.is_due()
    second = make(after)
    if watching.digest(first) == watching.digest(second):
        assert not shell.is_due()
    elif not any(b"\0" in content for content in after.values()):  # a shell does not keep zero bytes
        assert shell.is_due()


# --- the stage ---------------------------------------------------------------------------------------------------


def passes(machine: Machine, conf: str = "") -> list[str]:
    return [record["name"] for record in machine.run("periodic", conf).records]


@pytest.fixture
def watched(machine: Machine) -> Machine:
    """A machine with one step that watches; its period is over at each look."""
    (machine.root / "proc/sys/kernel/hostname").write_text("vm01\n")
    machine.module("vendor/periodic/50-name.py", every=1, watching=("/proc/sys/kernel/hostname", "/etc/x*"), frequency="always")
    return machine


def wait() -> None:
    time.sleep(1.05)


def test_a_step_runs_once_a_boot_and_then_when_its_files_have_changed(watched: Machine) -> None:
    assert passes(watched) == ["name"]
    wait()
    assert passes(watched) == []
    for change in (
        lambda: (watched.root / "proc/sys/kernel/hostname").write_text("vm02\n"),
        lambda: (watched.root / "etc/x1").write_text(""),
        (watched.root / "etc/x1").unlink,
    ):
        change()
        assert passes(watched) == ["name"]
        assert passes(watched) == []  # too soon to look again
        wait()
        assert passes(watched) == []
    watched.reboot("boot-2")
    assert passes(watched) == ["name"]


def test_a_change_of_the_configuration_or_of_the_step_makes_it_run(watched: Machine) -> None:
    assert passes(watched) == ["name"]
    wait()
    assert passes(watched, "OS.RootDeviceScsiTimeout=300\n") == ["name"]
    wait()
    watched.module("vendor/periodic/50-name.py", "return unchanged('else')", every=1, watching=("/etc/x*",), frequency="always")
    assert passes(watched, "OS.RootDeviceScsiTimeout=300\n") == ["name"]


def test_a_step_that_failed_runs_at_its_period(watched: Machine) -> None:
    watched.module("vendor/periodic/50-name.py", "raise OSError(5, 'x')", every=1, watching=("/etc/x*",), frequency="always")
    for _ in range(2):
        assert passes(watched) == ["name"]
        wait()


def test_a_change_that_the_step_makes_itself_is_looked_at_once_more(watched: Machine) -> None:
    body = "ctx.system.write('/etc/x1', 'mine')\nreturn changed('x')"
    watched.module("vendor/periodic/50-name.py", body, every=1, watching=("/etc/x*",), frequency="always")
    assert passes(watched) == ["name"]
    wait()
    assert passes(watched) == ["name"]
    wait()
    assert passes(watched) == []


def test_once_an_hour_it_runs_all_the_same(watched: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passes(watched) == ["name"]
    system = watched.system()
    (step,) = watched.steps("periodic").steps
    boot = system.clock.boot()
    schedule = Schedule(system, from_text(""))
    for later, wanted in ((3595.0, False), (3601.0, True)):
        monkeypatch.setattr(system.clock, "boot", lambda later=later: boot + later)
        assert Schedule(system, from_text("")).wanted(step, None) is wanted
    assert schedule.wanted(step, "goal-state") is False


def test_what_the_timer_is_told(watched: Machine) -> None:
    watched.module("vendor/periodic/60-other.py", every=900, frequency="always")
    passes(watched)
    due = watched.root / "run/waagent/periodic.due"
    lines = due.read_text().splitlines()
    now = watched.system().clock.boot()
    assert now + 850 < int(lines[0]) < now + 902
    name = lines.index("name /proc/sys/kernel/hostname")
    assert lines[name : name + 4] == ["name /proc/sys/kernel/hostname", "text", "=vm01", "."]
    assert lines[-1] == "end"
    assert due.stat().st_mode & 0o777 == 0o600
    assert due.stat().st_mtime <= time.time()


def test_what_a_shell_cannot_tell_is_due_at_the_period(watched: Machine) -> None:
    (watched.root / "proc/sys/kernel/hostname").write_bytes(b"vm\xc3\xa4\0")
    passes(watched)
    now = watched.system().clock.boot()
    due = (watched.root / "run/waagent/periodic.due").read_text().splitlines()
    assert int(due[0]) < now + 3
    wait()
    assert passes(watched) == []  # the stage can tell


def test_a_step_that_is_not_for_this_machine_is_not_due_at_once(machine: Machine) -> None:
    machine.module("vendor/periodic/50-x.py", every=300, when=("no.such",), frequency="always")
    assert passes(machine) == ["x"]
    assert passes(machine) == []


def test_a_pass_with_nothing_to_do_writes_nothing(watched: Machine) -> None:
    passes(watched)
    wait()
    passes(watched)

    def everything() -> dict[str, tuple[int, int]]:
        files = (path for path in watched.root.rglob("*") if path.is_file() and path.name != "periodic.due")
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}

    before = everything()
    content = (watched.root / "run/waagent/periodic.due").stat().st_ino
    wait()
    assert passes(watched) == []
    assert everything() == before
    assert (watched.root / "run/waagent/periodic.due").stat().st_ino == content


def test_what_is_refused_is_said_once(machine: Machine) -> None:
    machine.add("admin/periodic/20-bad.sh", "#!/bin/sh\n", 0o666)
    machine.module("vendor/periodic/30-fast.py", every=1, frequency="always")
    time.sleep(0.05)
    for _ in range(3):
        passes(machine)
        wait()
    assert machine.log().count("refused") == (1 if os.geteuid() == 0 else 3)
    machine.add("admin/periodic/20-bad.sh", "#!/bin/sh\ntrue\n", 0o666)
    time.sleep(0.05)
    passes(machine)
    assert machine.log().count("refused") == (2 if os.geteuid() == 0 else 4)


# --- the declaration -----------------------------------------------------------------------------------------------


def test_a_header_may_name_files() -> None:
    head = b"#!/bin/sh\n# waagent: {every: 30s, watching: [/etc/hosts, /sys/block/sd*/size]}\n"
    module = declaration.of_program(head, "x", None).module
    assert (module.every, module.watching) == (30, ("/etc/hosts", "/sys/block/sd*/size"))
    one = declaration.of_program(b"#!/bin/sh\n# waagent: {every: 30s, watching: /etc/hosts}\n", "x", None).module
    assert one.watching == ("/etc/hosts",)


@pytest.mark.parametrize("path", ["etc/hosts", "/a b", "/a;b", "/$HOME", "/a/../b", "/a\nb", "/a'b", "/a\\*", "//a", "/", "/~", "/a/.", "/{a,b}"])
def test_a_path_that_a_shell_may_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="watching"):
        Module(summary="x", every=1, watching=(path,))


def test_watching_without_a_period_is_refused() -> None:
    with pytest.raises(StageError, match="watching goes with every"):
        declaration.of_program(b"#!/bin/sh\n# waagent: {watching: /etc/hosts}\n", "x", None)
