"""Durations as people write them in YAML: 30s, 5m, 1h, 1h30m, or a plain number of seconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def seconds(value: object) -> float:
    """Return the seconds that the value says. Raises ValueError with what would be right."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    text = str(value).strip()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        total = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if total > 0:
            return total
    raise ValueError(f"{value!r} is not a duration: expected for example 30s, 5m, 1h30m")


def text(value: float) -> str:
    """The shortest way to say so many seconds."""
    if value >= 3600 and value % 3600 == 0:
        return f"{value / 3600:.0f}h"
    if value >= 60 and value % 60 == 0:
        return f"{value / 60:.0f}m"
    return f"{value:g}s"
