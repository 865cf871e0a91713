"""LOG/NAME/CommandExecution.log: every command of a handler with its environment, its end and its output.

Appended to across versions; when it has grown to 20 MiB its last 10 MiB are kept, from the start of a line.

Source: extensions 3.8.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from waagent.system import System

LIMIT = 10 * 1024 * 1024


def shown(environment: Mapping[str, str]) -> str:
    return "\n".join(f"  {name}={value}" for name, value in sorted(environment.items()))


def append(system: System, path: str, text: str) -> None:
    """Append to the handler's log of commands; a log that cannot be written stops nothing."""
    path = str(system.path(path))
    lines = "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "ab") as stream:
            stream.write(lines.encode("utf-8", "replace"))
            size = stream.tell()
        if size > LIMIT * 2:
            _keep_end(path)
    except OSError:
        return


def _keep_end(path: str) -> None:
    """Keep the last 10 MiB, from the start of a line."""
    with open(path, "rb") as stream:
        stream.seek(-LIMIT, os.SEEK_END)
        stream.readline()
        kept = stream.read()
    fresh = path + ".new"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
        stream.write(kept)
    os.replace(fresh, path)
