"""Time, as one object, so that a test can let an hour pass at once.

now() is wall time as an aware UTC datetime; stamp() the same as text for files and the fabric
("2026-11-23T09:17:40Z"); monotonic() seconds that never run backwards, counted from boot without the
time asleep, so that processes of one boot can compare them; boot() seconds since boot, time asleep
included; sleep(seconds) waits.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def monotonic(self) -> float:
        return time.monotonic()

    def boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
