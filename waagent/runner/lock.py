"""One process at a time: a lock file in /run/waagent for each stage and each kind of periodic pass."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from waagent.errors import WaagentError
from waagent.system import System


@contextmanager
def held(system: System, name: str) -> Iterator[bool]:
    """Hold /run/waagent/<name>.lock; gives false when another process has it."""
    if system.planning:
        yield True
        return
    quiet = system.quietly()
    try:
        quiet.make_directory("/run/waagent", 0o755)
        file = str(quiet.path("/run/waagent") / f"{name}.lock")
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (WaagentError, OSError):  # a full /run: a boot that is not locked is better than none
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except BlockingIOError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)
