"""What a test does with a guest, whatever the guest is: built on one verb, run().

    succeed(command)              -> out; fails the test with everything that was printed otherwise
    fail(command)                 -> Ran; fails the test if the command succeeds
    wait_for_unit(unit)           until it is active; fails at once when it has failed
    wait_until_succeeds(command)  until its status is 0
    wait_until_booted()           until no job is left; returns running or degraded
    read(path) write(path, …) exists(path) journal(unit)
    hold_periodic()               from now on the test says when a periodic step runs; until a restart
    hold_agent()                  the watcher and its workers are at rest, too; until release_agent()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Union

Command = Union[str, Sequence[str]]
PERIODIC = "waagent-periodic.service"
RESIDENT = "waagent.service waagent-periodic.timer"


class Ran(NamedTuple):
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"status {self.status}\n{self.out}{self.err}".rstrip()


class Verbs:
    def run(self, command: Command, timeout: float = 60, stdin: Union[str, bytes] = "") -> Ran:
        raise NotImplementedError

    def succeed(self, command: Command, timeout: float = 60, stdin: Union[str, bytes] = "") -> str:
        ran = self.run(command, timeout, stdin)
        if ran.status != 0:
            raise AssertionError(f"in the guest, {shown(command)}: {ran}")
        return ran.out

    def fail(self, command: Command, timeout: float = 60) -> Ran:
        ran = self.run(command, timeout)
        if ran.status == 0:
            raise AssertionError(f"in the guest, {shown(command)} should have failed: {ran}")
        return ran

    # -- the agent ----------------------------------------------------------------------------

    def hold_periodic(self) -> None:
        """Ends the stage if it is at work."""
        self.succeed(f"systemctl mask --runtime --quiet {PERIODIC} && systemctl stop {PERIODIC}")

    def hold_agent(self) -> None:
        """Returns when nothing of the agent is at work any more."""
        self.succeed(f"systemctl stop {RESIDENT}")
        listed = f"systemctl list-units --no-legend --state=active,activating 'waagent-worker@*' {PERIODIC}"
        self.wait_until_succeeds(f"! {listed} | grep -q .")

    def release_agent(self) -> None:
        self.succeed(f"systemctl start {RESIDENT}")

    # -- waiting -----------------------------------------------------------------------------

    def wait_until_succeeds(self, command: Command, timeout: float = 60) -> str:
        last = Ran(-1, "", "")

        def succeeds() -> bool:
            nonlocal last
            last = self.run(command, timeout)
            return last.status == 0

        until(succeeds, timeout, lambda: f"in the guest, {shown(command)}: {last}")
        return last.out

    def wait_for_unit(self, unit: str, timeout: float = 60) -> None:
        def active() -> bool:
            state = self.run(["systemctl", "is-active", unit]).out.strip()
            if state == "failed":
                self.run(["journalctl", "--sync"])  # its last words may still be on their way
                raise AssertionError(f"{unit} has failed:\n{self.journal(unit)[-4000:]}")
            return state == "active"

        until(active, timeout, lambda: f"{unit}: {self.run(['systemctl', 'status', '--no-pager', unit])}")

    def wait_until_booted(self, timeout: float = 120) -> str:
        """Until systemd has no job left; the state that it then reports, running or degraded."""
        ran = self.run("systemctl is-system-running --wait", timeout)
        state = ran.out.strip()
        if state not in ("running", "degraded"):
            jobs = self.run("systemctl list-jobs --no-pager").out
            raise AssertionError(f"the guest has not finished booting in {timeout} s: {state}\n{jobs}")
        return state

    # -- files and logs ----------------------------------------------------------------------

    def read(self, path: str) -> str:
        return self.succeed(["cat", path])

    def write(self, path: str, content: Union[str, bytes], mode: int = 0o644) -> None:
        """Make the file and the directories above it, all owned by root."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.succeed(["sh", "-c", script, "sh", path, f"{mode:o}"], stdin=content)

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path]).status == 0

    def journal(self, unit: str = "", boot: bool = True) -> str:
        command = ["journalctl", "--no-pager", "--quiet", "--output=short-monotonic"]
        return self.run([*command, *(["--boot"] if boot else []), *([f"--unit={unit}"] if unit else [])]).out


def shown(command: Command) -> str:
    return command if isinstance(command, str) else " ".join(command)


def until(condition: Callable[[], bool], timeout: float, why: Callable[[], str], every: float = 0.2) -> None:
    """Look ever less often: a look costs an emulated processor as much as what is waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {why()}")
        time.sleep(every)
        every = min(1.2 * every, max(0.6, every))
