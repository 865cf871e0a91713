"""The environment of the watcher's unit, for its workers: units of their own, they would not know of it. Lean.

A proxy that an administrator has set for waagent.service (a drop-in) reaches extensions by a file in /run/waagent,
which waagent-worker@.service reads, and who does a worker's work by hand. Without systemd a worker is a child.

Source: extensions 3.5.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = "/run/waagent"
ENVIRONMENT = "environment"  # below RUN; data/systemd/waagent-worker@.service names it
# What systemd makes anew for each unit, and what is between it and the watcher alone.
OWN = ("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MAINPID", "PWD", "SHLVL", "_")
OWN_OF = ("WATCHDOG_", "LISTEN_", "WAAGENT_", "MEMORY_PRESSURE_", "CREDENTIALS_", "FDSTORE")


def leave_environment(variables: Mapping[str, str], run: str = RUN) -> None:
    """Write down, for root alone, what this process was given; it replaces what an earlier one was.

    Raises OSError. A name that no shell could have, and a value of several lines, stay behind.
    """
    lines = [f"{name}={_quoted(value)}\n" for name, value in sorted(variables.items()) if _is_for_all(name, value)]
    file = f"{run}/{ENVIRONMENT}"
    fresh = f"{file}.new"
    os.makedirs(run, mode=0o755, exist_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.writelines(lines)
    os.replace(fresh, file)


def left_environment(run: str = RUN) -> dict[str, str]:
    """What leave_environment() has written down; nothing where it did not."""
    try:
        with open(f"{run}/{ENVIRONMENT}", encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: _unquoted(value) for name, _, value in pairs}


def _is_for_all(name: str, value: str) -> bool:
    usual = name.isascii() and name.isidentifier() and value.isprintable()
    return usual and name not in OWN and not name.startswith(OWN_OF)


def _quoted(value: str) -> str:
    """As systemd.exec(5) reads it back: nothing is expanded, a backslash hides what means something in quotes."""
    for letter in '\\"`$':
        value = value.replace(letter, "\\" + letter)
    return f'"{value}"'


def _unquoted(value: str) -> str:
    found, letters = "", iter(value[1:-1])
    for letter in letters:
        found += next(letters, "") if letter == "\\" else letter
    return found
