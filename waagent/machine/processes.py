"""Programs that are running, as /proc lists them.

    running(system, "dhclient")    [Process(pid, argv)], lowest pid first; none where there is no /proc

Found by the name that the kernel has (the first 15 characters of the file's name), which a program that changes its
command line keeps.

Source: proc(5).
"""

from __future__ import annotations

from typing import NamedTuple

from waagent.system import System

LONGEST = 15  # TASK_COMM_LEN without the terminator


class Process(NamedTuple):
    pid: int
    argv: tuple[str, ...]


def running(system: System, name: str) -> list[Process]:
    found = []
    for pid in sorted(int(entry) for entry in system.listing("/proc") if entry.isdigit()):
        try:
            if system.read_text(f"/proc/{pid}/comm").strip() != name[:LONGEST]:
                continue
            words = system.read_text(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        found.append(Process(pid, tuple(words)))
    return found
