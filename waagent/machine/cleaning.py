"""Taking things away: by pattern, a directory's contents, a log.

    found(system, patterns)            paths that match, sorted; "*", "?" and [] in any part, never across "/"
    remove(system, patterns)           those that are files or links (the link, never what it names); the paths that
                                       went
    empty(system, directory)           all that is in it, the directory stays; the paths that went
    clear(system, path)                a file without its content, mode and owner as they were

A link to a directory on the way is followed inside the root, one that is found is not. What is mounted below an
emptied directory is left alone and named in SystemRefused. Nothing is wiped, only unlinked.

Source: provisioning 5.2.
"""

from __future__ import annotations

import fnmatch
import stat
from collections.abc import Iterable

from waagent.errors import SystemRefused
from waagent.system import System, files


def found(system: System, patterns: Iterable[str]) -> list[str]:
    paths: set[str] = set()
    for pattern in patterns:
        paths.update(_matches(system, "", pattern.strip("/").split("/")))
    return sorted(paths)


def remove(system: System, patterns: Iterable[str]) -> list[str]:
    """Raises SystemRefused."""
    gone = []
    for path in found(system, patterns):
        if not stat.S_ISDIR(system.status(path).st_mode) and system.remove(path):
            gone.append(path)
    return gone


def empty(system: System, directory: str) -> list[str]:
    """Raises SystemRefused naming what is mounted below; all else is gone then."""
    gone, mounted = [], []
    for name in system.listing(directory):
        path = f"{directory.rstrip('/')}/{name}"
        below = files.mounted_in(str(system.path(directory) / name))
        if below:
            mounted += below
        elif system.remove_tree(path):
            gone.append(path)
    if mounted:
        raise SystemRefused(f"cannot empty {directory}: {', '.join(mounted)} is mounted there; unmount it")
    return gone


def clear(system: System, path: str) -> bool:
    """False where there is no such file, or nothing in it. Raises SystemRefused."""
    try:
        status = system.status(path)
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return False
    return system.write(path, b"")


def _matches(system: System, above: str, parts: list[str]) -> Iterable[str]:
    part, rest = parts[0], parts[1:]
    if any(sign in part for sign in "*?["):
        listed = system.listing(above or "/")
        names = [name for name in listed if fnmatch.fnmatchcase(name, part) and _shows(name, part)]
    else:
        names = [part]
    for name in names:
        path = f"{above}/{name}"
        if rest:
            if system.is_directory(path):
                yield from _matches(system, path, rest)
        elif _is_there(system, path):
            yield path


def _shows(name: str, pattern: str) -> bool:
    """As a shell has it: a pattern has to say the dot of a hidden name."""
    return not name.startswith(".") or pattern.startswith(".")


def _is_there(system: System, path: str) -> bool:
    try:
        system.status(path)
    except OSError:
        return False
    return True
