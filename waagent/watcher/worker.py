"""Starting workers: `waagent stage periodic --event NAME`, one of a kind at a time. Lean.

Under systemd a worker is the unit waagent-worker@NAME.service, so that it survives a restart of the watcher;
without systemd it is a child. Whether one is at work is told by the lock that its stage holds, and whether one has
run in this boot by its status file: both are true also for a watcher that has just been started.
"""

from __future__ import annotations

import fcntl
import json
import os

from waagent.watcher import launch

RUN = "/run/waagent"


class Worker:
    def __init__(self, event: str, program: list[str], run: str = RUN, systemd: str = launch.SYSTEMD) -> None:
        """program: how to start this agent, as an argument list."""
        self.event, self.program = event, program
        self._lock = f"{run}/periodic.{event}.lock"
        self._status = f"{run}/status.{event}.json"
        self._systemd = launch.with_units(systemd)

    def busy(self) -> bool:
        """Whether one is at work, whoever started it."""
        launch.reap()
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
            launch.launch(["systemctl", "start", "--no-block", f"waagent-worker@{self.event}.service"])
        else:
            launch.launch([*self.program, "stage", "periodic", "--event", self.event], own_session=True)
