"""When a goal state was created: 100 ns ticks since 0001-01-01T00:00:00 UTC, and the same as text.

from_ticks(value)   "2026-11-23T09:15:30.0000000Z", "" for what is absent or no usable number

The text keeps every tick (a conversion through floats would lose the last microseconds) and has a fixed width,
so that texts compare as the times do; "" comes before all.

Source: wire-protocol 2.2.
"""

from __future__ import annotations

from datetime import datetime, timedelta

PER_SECOND = 10_000_000
_LAST = 3_155_378_975_999_999_999  # 9999-12-31T23:59:59.9999999


def from_ticks(value: object) -> str:
    if isinstance(value, str):
        value = int(value) if len(value) < 20 and value.strip().isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LAST:
        return ""
    seconds, rest = divmod(value, PER_SECOND)
    moment = datetime(1, 1, 1) + timedelta(seconds=seconds)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{rest:07d}Z"
