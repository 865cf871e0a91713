"""Whether a package manager is at work: by the locks that it holds.

    holder(system) -> str          "dpkg (process 412)", "" when nobody is
    wait(system, seconds) -> str   wait until nobody is; "" then, else who still was when the time was over

The locks are asked for, never taken: a moment's lock of ours could fail somebody else's installation. dpkg, apt and
rpm hold POSIX record locks on the files below, zypper writes its process id; dnf and yum go through rpm's lock and
wait for each other by themselves.
"""

from __future__ import annotations

import fcntl
import os
import struct

from waagent.system import System

LOCKED = (
    ("dpkg", "/var/lib/dpkg/lock-frontend"),
    ("dpkg", "/var/lib/dpkg/lock"),
    ("apt", "/var/lib/apt/lists/lock"),
    ("apt", "/var/cache/apt/archives/lock"),
    ("rpm", "/var/lib/rpm/.rpm.lock"),
    ("rpm", "/usr/lib/sysimage/rpm/.rpm.lock"),
)
PID_FILES = (("zypper", "/run/zypp.pid"),)
_FLOCK = "hhqqi"  # struct flock: type, whence, start, length, process
LOOK = 0.25


def holder(system: System) -> str:
    for name, file in LOCKED:
        process = _locked_by(str(system.path(file)))
        if process is not None:
            return f"{name} (process {process})" if process > 0 else name
    for name, file in PID_FILES:
        try:
            process = int(system.read_text(file).split()[0])
        except (OSError, ValueError, IndexError):
            continue
        if os.path.exists(system.path(f"/proc/{process}")):
            return f"{name} (process {process})"
    return ""


def wait(system: System, seconds: float) -> str:
    until = system.clock.monotonic() + seconds
    while True:
        busy = holder(system)
        if not busy or system.clock.monotonic() >= until:
            return busy
        system.clock.sleep(LOOK)


def _locked_by(path: str) -> int | None:
    """The process that holds a lock on the file; None when there is none, or no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)[: len(asked)])
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(process)
