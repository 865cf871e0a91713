"""What has been done, remembered for as long as its frequency says.

    per-instance   <instance>/sem/            again for another VM id
    per-boot       /run/waagent/sem/          gone with the boot
    once           /var/lib/waagent/sem/      for the life of the disk
    always         none

<stage>.<name>.running is there while a step runs (left behind by a crash: the step runs again),
<stage>.<name>.done after it succeeded, JSON with start, end, outcome, message, path and digest of the file that
ran. A step that failed leaves nothing and is tried again at the next boot.
"""

from __future__ import annotations

import json
from typing import Any

from waagent.instance.store import Store
from waagent.runner.steps import Step
from waagent.system import System

RUN = "/run/waagent/sem"


class Semaphores:
    def __init__(self, system: System, store: Store) -> None:
        self.system = system.quietly()
        self.store = store

    def done(self, step: Step) -> dict[str, Any] | None:
        """What is remembered of its success, or None if it has to run."""
        folder = self._folder(step)
        if folder is None:
            return None
        try:
            record = json.loads(self.system.read(f"{folder}/{step.semaphore}.done"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            # Damaged: that it ran is certain, how it ended is not worth a second run of "once".
            return {"outcome": "unknown"}
        return record if isinstance(record, dict) else {"outcome": "unknown"}

    def interrupted(self, step: Step) -> bool:
        """Whether an earlier run of it never came to an end."""
        folder = self._folder(step)
        return folder is not None and self.system.exists(f"{folder}/{step.semaphore}.running")

    def begin(self, step: Step) -> None:
        folder = self._folder(step)
        if folder is None or folder == RUN or self.system.planning:
            return  # a mark in /run would be gone with the crash that it is to tell of
        self.system.make_directory(folder, 0o700)
        # Losing this mark in a power cut costs one line in the log, and no second run.
        mark = f"{folder}/{step.semaphore}.running"
        self.system.write(mark, self.system.clock.stamp(), mode=0o600, durable=False)

    def succeed(self, step: Step, record: dict[str, Any]) -> None:
        """Remember the success, then forget that it was running: killed in between, it counts as done."""
        folder = self._folder(step)
        if folder is None or self.system.planning:
            return
        self.system.make_directory(folder, 0o700)
        content = {"path": step.path, "digest": step.digest, **record}
        self.system.write(f"{folder}/{step.semaphore}.done", json.dumps(content) + "\n", mode=0o600)
        self.system.remove(f"{folder}/{step.semaphore}.running", durable=False)

    def fail(self, step: Step) -> None:
        folder = self._folder(step)
        if folder is not None and not self.system.planning:
            self.system.remove(f"{folder}/{step.semaphore}.running", durable=False)

    def _folder(self, step: Step) -> str | None:
        return {
            "per-instance": f"{self.store.directory}/sem",
            "per-boot": RUN,
            "once": f"{self.store.lib}/sem",
        }.get(step.module.frequency)
