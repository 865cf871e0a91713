"""The sample documents, and a clock that lets hours pass at once."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from waagent.system import Clock

FOLDER = Path(__file__).resolve().parents[2] / "data" / "fabric"
NOW = datetime(2026, 11, 23, 9, 20, tzinfo=timezone.utc)
CONTAINER = "3f1c7a52-8d0e-4b6f-9a41-5e7d2c90b8f4"
TENANT = "91C920EFC143E059B8180AFD5A41EAC58D1EAEC6"


def sample(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


class FakeClock(Clock):
    """Starts at NOW; sleeping takes no time and counts all the same, slept says how often and how long."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed  # sockets wait in real time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed += seconds
