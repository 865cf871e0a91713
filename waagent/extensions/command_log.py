"""LOG/NAME/CommandExecution.log: every command of a handler with its environment, its end and its output.

Appended to across versions; when it has grown to 20 MiB its last 10 MiB are kept, from the start of a line.

Source: extensions 3.8.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from waagent.system import System, foreign

LIMIT = 10 * 1024 * 1024


def shown(environment: Mapping[str, str]) -> str:
    return "\n".join(f"  {name}={value}" for name, value in sorted(environment.items()))


def append(system: System, path: str, text: str) -> None:
    """Append to the handler's log of commands; a log that cannot be written stops nothing."""
    lines = "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
    folder, name = os.path.split(path)
    real = str(system.path(folder))
    try:
        os.makedirs(real, mode=0o755, exist_ok=True)
        directory = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _append(directory, name, lines.encode("utf-8", "replace"))
        finally:
            os.close(directory)
    except OSError:
        return


def _append(directory: int, name: str, lines: bytes) -> None:
    """Others may be able to write in this directory: no link in it is followed, and no pipe waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(name, flags, 0o600, dir_fd=directory), "ab") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return
        stream.write(lines)
        size = stream.tell()
    if size > LIMIT * 2:
        _keep_end(directory, name)


def _keep_end(directory: int, name: str) -> None:
    """Keep the last 10 MiB, from the start of a line."""
    with open(foreign.open_plain(name, folder=directory), "rb") as stream:
        stream.seek(-LIMIT, os.SEEK_END)
        stream.readline()
        kept = stream.read(LIMIT)
    fresh = f"{name}.new"
    try:
        os.unlink(fresh, dir_fd=directory)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(fresh, flags, 0o600, dir_fd=directory), "wb") as stream:
        stream.write(kept)
    os.replace(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
