"""The stage periodic, started when a step of it is due. Lean.

Twice a minute data/systemd/periodic-due is asked, a shell that reads one small file in two milliseconds. A timer of
systemd would start a unit each time only to hear that nothing is due. There is one all the same, every few minutes,
for the time in which no watcher runs.
"""

from __future__ import annotations

import os

from waagent.watcher import launch

IS_DUE = "/usr/lib/waagent/periodic-due"
UNIT = "waagent-periodic.service"
ASK_EVERY = 30.0


class Periodic:
    def __init__(
        self, program: list[str], ask_at: float, is_due: str = IS_DUE, systemd: str = launch.SYSTEMD
    ) -> None:
        """program: how to start this agent, as an argument list. ask_at: when to ask first, as now in turn(now)."""
        self.ask_at = ask_at
        self._program, self._is_due = program, is_due
        self._systemd = launch.with_units(systemd)

    def turn(self, now: float) -> None:
        """Ask if it is time to, and start the stage if something is due."""
        if now < self.ask_at:
            return
        self.ask_at = now + ASK_EVERY
        if not self._due():
            return
        if self._systemd:  # an administrator who has masked it knows
            launch.launch(["systemctl", "start", "--no-block", UNIT], silent=True)
        else:
            launch.launch([*self._program, "stage", "periodic"], own_session=True)

    def _due(self) -> bool:
        """Without the program that tells: always, the stage itself finds out."""
        try:
            asked = os.posix_spawn(self._is_due, [self._is_due], os.environ)
        except OSError:
            return True
        return os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1]) == 0
