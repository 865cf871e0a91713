"""What a shell does not say of a command that it could not start: the mount, or the first line of the program.

of(system, layout, status, line) -> "; …" to be put behind the message, or "".
"""

from __future__ import annotations

import shlex
from typing import Optional

from waagent.extensions import mounts
from waagent.extensions.layout import Layout
from waagent.system import System

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # of a shell


def of(system: System, layout: Layout, status: Optional[int], line: str) -> str:
    told = ""
    if status == NOT_EXECUTABLE and mounts.noexec(system, layout.lib):
        told = mounts.problems(system, layout.lib)[0]
    elif status == NOT_FOUND:
        told = _first_line(system, line)
    return f"; {told}" if told else ""


def _first_line(system: System, line: str) -> str:
    """What is wrong with that of the program; "" when it is not there, or nothing is."""
    try:
        program = shlex.split(line)[0]
        first = system.read_foreign(program, 512).partition(b"\n")[0]
    except (OSError, ValueError, IndexError):
        return ""
    if not first.startswith(b"#!"):
        return ""
    words = first[2:].decode("utf-8", "replace").split()
    if first.endswith(b"\r"):
        return f"the first line of {program} ends in a carriage return: convert its line ends (sed -i 's/\\r$//')"
    if words and not system.exists(words[0]):
        return f"the interpreter of {program} is not there: {words[0]}"
    return ""
