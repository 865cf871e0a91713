"""Versions of handlers: any number of integers and dots, perhaps with a pre-release tail.

key(text) orders them: shorter ones are padded with zeros (1.0 equals 1.0.0.0), alpha < beta < rc < none.
matches(request, candidate): the request's numbers are the first numbers of the candidate.

Source: extensions 1.1, 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SHAPE = re.compile(r"(\d+(?:\.\d+)*)(?:\.?(alpha|beta|rc)(\d*))?")
_TAILS = {"alpha": 0, "beta": 1, "rc": 2, None: 3}


def numbers(text: str) -> tuple[int, ...]:
    """The integers of a version. Raises ValueError for what is no version."""
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None:
        raise ValueError(f"{text!r} is not a version")
    return tuple(int(part) for part in shape[1].split("."))


def key(text: str) -> tuple[tuple[int, ...], int, int]:
    """What to sort by. Raises ValueError for what is no version."""
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None:
        raise ValueError(f"{text!r} is not a version")
    parts = [int(part) for part in shape[1].split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts), _TAILS[shape[2]], int(shape[3] or 0)


def is_version(text: str) -> bool:
    return _SHAPE.fullmatch(text.strip()) is not None


def matches(request: str, candidate: str) -> bool:
    wanted, offered = numbers(request), numbers(candidate)
    return offered[: len(wanted)] == wanted


def choose(request: str, candidates: Iterable[str]) -> str | None:
    """The highest candidate that matches the request, or None. Malformed candidates count as absent."""
    fitting = [candidate for candidate in candidates if is_version(candidate) and matches(request, candidate)]
    return max(fitting, key=key, default=None)
