"""Starting workers: `waagent stage periodic --event NAME`, one of a kind at a time. Lean.

Under systemd a worker is the unit waagent-worker@NAME.service, so that it survives a restart of the watcher;
without systemd it is a child. An administrator sets proxies in the service of the agent, and they are for
extensions, too: leave_environment() puts what the watcher was given where the units of its workers read it, and
whoever does a worker's work by hand.

Whether one is at work is told by the lock that its stage holds, and whether one has
run in this boot by its status file: both are true also for a watcher that has just been started.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEMD = "/run/systemd/system"
RUN = "/run/waagent"
ENVIRONMENT = "environment"  # below RUN; data/systemd/waagent-worker@.service names it
# What systemd makes anew for each unit, and what is between it and the watcher alone.
OWN = ("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "PWD", "SHLVL", "_")
OWN_OF = ("WATCHDOG_", "LISTEN_", "WAAGENT_", "MEMORY_PRESSURE_", "CREDENTIALS_", "FDSTORE")
CONFIGURATION = "WAAGENT_CONFIGURATION"  # of waagent.config, which is not loaded here


class Worker:
    def __init__(self, event: str, program: list[str], run: str = RUN, systemd: str = SYSTEMD) -> None:
        """program: how to start this agent, as an argument list."""
        self.event, self.program = event, program
        self._lock = f"{run}/periodic.{event}.lock"
        self._status = f"{run}/status.{event}.json"
        # Who was told to read another file (-configuration-path) keeps its workers: a unit would not know of it.
        self._systemd = os.path.isdir(systemd) and CONFIGURATION not in os.environ

    def busy(self) -> bool:
        """Whether one is at work, whoever started it."""
        self._reap()
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def completed(self) -> bool:
        """Whether one has come to its end in this boot (well or not)."""
        return self.end() != ""

    def end(self) -> str:
        """How the last one has ended in this boot: "done", "failed", or "" when none has come to its end."""
        try:
            with open(self._status, "rb") as stream:
                state = json.loads(stream.read())["stages"]["periodic"]["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return state if state in ("done", "failed") else ""

    def start(self) -> None:
        """Start one; it is at work a moment later."""
        if self._systemd:
            self._spawn(["systemctl", "start", "--no-block", f"waagent-worker@{self.event}.service"])
        else:
            self._spawn([*self.program, "stage", "periodic", "--event", self.event])

    def _spawn(self, argv: list[str]) -> None:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {**os.environ, "PATH": path}
        os.posix_spawnp(argv[0], argv, env, setsigmask=[], setsid=not self._systemd)

    @staticmethod
    def _reap() -> None:
        """Take leave of children that have ended."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def leave_environment(variables: Mapping[str, str], run: str = RUN) -> None:
    """Write down, for root alone, what this process was given; it replaces what an earlier one was.

    Raises OSError. A name that no shell could have, and a value of several lines, stay behind.
    """
    lines = [f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items()) if _is_for_all(name, value)]
    file = f"{run}/{ENVIRONMENT}"
    fresh = f"{file}.new"
    os.makedirs(run, mode=0o755, exist_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.writelines(lines)
    os.replace(fresh, file)


def left_environment(run: str = RUN) -> dict[str, str]:
    """What leave_environment() has written down; nothing where it did not."""
    try:
        with open(f"{run}/{ENVIRONMENT}", encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: _unquoted(value) for name, _, value in pairs}


def _is_for_all(name: str, value: str) -> bool:
    usual = name.isascii() and name.isidentifier() and value.isprintable()
    return usual and name not in OWN and not name.startswith(OWN_OF)


def _quoted(value: str) -> str:
    """As systemd.exec(5) reads it back: nothing is expanded, a backslash hides what means something in quotes."""
    for letter in '\\"`$':
        value = value.replace(letter, "\\" + letter)
    return f'"{value}"'


def _unquoted(value: str) -> str:
    found, letters = "", iter(value[1:-1])
    for letter in letters:
        found += next(letters, "") if letter == "\\" else letter
    return found


def this_program() -> list[str]:
    """How to start the program that runs now."""
    return [sys.executable, "-I", os.path.abspath(sys.argv[0])]
