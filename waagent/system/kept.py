"""What was made from files, kept in /run/waagent/kept for as long as none of them has changed in this boot.

Every start of a stage reads the configuration, the distribution's profile and the steps; making them of their files
costs the import of parsers, which is most of what a small pass costs.

    before = stamp(paths)                          before the files are read
    value = read(system, "config", before)         the JSON value kept with this stamp, or None
    write(system, "config", before, value)         keep it; true if it could be

A stamp has of each path identity, size, times of change, mode and owner: a link's and that of what it leads to. A
path that is not there has a stamp, too: what comes later changes it. A file that changed in the tick of the clock
in which the stamp was made could change once more unseen: then nothing is kept.

The files are root's, mode 0600 in a directory of mode 0700: a configuration may hold a proxy's password. One that
others could have written does not count, nor does one that is damaged.
"""

from __future__ import annotations

import os
import stat
import time

from waagent.system.files import under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from waagent.system.door import System

    Stamp = list[list[Any]]

FOLDER = "/run/waagent/kept"
FORMAT = 1
TICK = 20_000_000  # nanoseconds; the kernel's clock for files goes in steps of 1 to 10 ms


def stamp(paths: Iterable[str], *others: Any) -> Stamp:
    """Of real paths; others: JSON values that the value depends on besides."""
    return [[FORMAT, *others], *([path, *_of(path)] for path in paths)]


def _of(path: str) -> list[int]:
    marks: list[int] = []
    for look in (os.lstat, os.stat):
        try:
            found = look(path)
        except (OSError, ValueError):
            marks.append(0)
            continue
        marks += [
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode,
            found.st_uid,
        ]  # fmt: skip
        if not stat.S_ISLNK(found.st_mode):
            break
    return marks


def folder(real: str) -> list[str]:
    """The real path of a directory and all that is in it, for a stamp."""
    try:
        return [real, *(os.path.join(real, name) for name in sorted(os.listdir(real)))]
    except OSError:
        return [real]


def read(root: str, name: str, made_from: Stamp) -> Any:
    """The value of this name if it was made from files with this very stamp; None if there is none."""
    import json

    try:
        path = under(os.path.abspath(root), f"{FOLDER}/{name}.json")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as stream:
            found = os.fstat(descriptor)
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            kept = json.load(stream)
        return kept["value"] if kept["stamp"] == made_from else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write(system: System, name: str, made_from: Stamp, value: Any) -> bool:
    """Keep the value. Where /run refuses, so be it."""
    import json

    from waagent.errors import SystemRefused

    if system.planning or os.geteuid() != 0 or not _is_settled(made_from):
        return False
    quiet = system.quietly()
    try:
        content = json.dumps({"stamp": made_from, "value": value}, separators=(",", ":"))
        quiet.make_directory(FOLDER, 0o700)
        return quiet.write(f"{FOLDER}/{name}.json", content + "\n", mode=0o600)
    except (SystemRefused, OSError, ValueError, TypeError):
        return False


def _is_settled(made_from: Stamp) -> bool:
    """Whether a change of any of the files from the stamp on would show as another time."""
    newest = max((mark for _, *marks in made_from[1:] for mark in marks[4::7]), default=0)
    return newest + TICK < time.time_ns()
