"""Which mounts would keep handlers from running: programs of theirs lie in LIB, and some unpack more into /tmp.

Source: extensions 3.8.
"""

from __future__ import annotations

import os
import re

from waagent.system import System


def noexec(system: System, path: str) -> str:
    """The mount point of what `path` leads to, when nothing may be executed there; else ""."""
    best, options = "", ""
    path = _real(system, path)
    try:
        for line in system.read_text("/proc/mounts").splitlines():
            fields = line.split(" ")
            point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[1]) if len(fields) > 3 else ""
            if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                best, options = point, fields[3]
    except OSError:
        return ""
    return best if "noexec" in options.split(",") else ""


# How the kernel writes blanks and backslashes in names.
_ESCAPED = re.compile(r"\\([0-7]{3})")


def _real(system: System, path: str) -> str:
    """The path without links, as the machine sees it."""
    root = os.path.realpath(system.root)
    real = os.path.realpath(system.path(path))
    return real if root == "/" else f"/{os.path.relpath(real, root)}"


def problems(system: System, lib: str) -> list[str]:
    """What an administrator should know of them, one line each."""
    found = []
    point = noexec(system, lib)
    if point:
        found.append(
            f"{point} is mounted noexec, so no handler can run from {lib}: mount it with exec, or set Lib.Dir to a"
            " directory of another file system"
        )
    for place in ("/tmp", "/var/tmp"):
        point = noexec(system, place)
        if point:
            found.append(f"{point} is mounted noexec; handlers that unpack programs into {place} fail")
    return found
