"""The cache directory, its locks, and the commands that fill it.

directory() is $WAAGENT_CACHE or /var/cache/waagent-tests. Two runs at once share it: whoever
comes second waits for the lock and finds the work done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def directory() -> Path:
    return Path(os.environ.get("WAAGENT_CACHE") or "/var/cache/waagent-tests")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    path = directory() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def drop_old(parent: Path, keep: int) -> None:
    """Every change of the source makes an entry: leave the newest `keep`, and whatever is mounted."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    found = sorted(parent.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[keep:]:
        if str(path) not in mounts:
            shutil.rmtree(path, ignore_errors=True)


def checked(command: Sequence[str], what: str, **environment: str) -> None:
    """Run a long command quietly; when it fails, raise with what it printed last."""
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **environment},
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{what}: {command[0]} exited with status {ran.returncode}:\n{ran.stdout[-4000:]}")


def say(line: str) -> None:
    """Progress for a person who waits; pytest captures it and shows it with a failure."""
    print(f"bed: {line}", file=sys.stderr, flush=True)
