"""Which mounts would keep handlers from running: programs of theirs lie in LIB, and some unpack more into /tmp.

Source: extensions 3.8.
"""

from __future__ import annotations

from waagent.machine import mounts
from waagent.system import System


def noexec(system: System, path: str) -> str:
    """The mount point of what `path` leads to, when nothing may be executed there; else ""."""
    path, found = mounts.real(system, path), mounts.Mount("", "", "", ())
    for mount in mounts.mounts(system):
        above = path == mount.directory or path.startswith(f"{mount.directory.rstrip('/')}/")
        if above and len(mount.directory) >= len(found.directory):
            found = mount
    return found.directory if "noexec" in found.options else ""


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
