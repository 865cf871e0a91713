"""Starting other processes of this agent: as units where systemd runs, else as children. Lean.

    this_program()      how to start the program that runs now, as an argument list
    with_units(…)       whether units are used
    launch(argv)        start it and go on; reap() takes leave of what has ended
"""

from __future__ import annotations

import os
import sys

SYSTEMD = "/run/systemd/system"
CONFIGURATION = "WAAGENT_CONFIGURATION"  # of waagent.config, which is not loaded here
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def this_program() -> list[str]:
    return [sys.executable, "-I", os.path.abspath(sys.argv[0])]


def with_units(systemd: str = SYSTEMD) -> bool:
    """Who was told to read another file (-configuration-path) keeps its children: a unit would not know of it."""
    return os.path.isdir(systemd) and CONFIGURATION not in os.environ


def launch(argv: list[str], *, own_session: bool = False, silent: bool = False) -> None:
    """silent: what it prints goes nowhere. Raises OSError when there is no such program."""
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)] if silent else []
    env = {**os.environ, "PATH": PATH}
    os.posix_spawnp(argv[0], argv, env, file_actions=actions, setsigmask=[], setsid=own_session)


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
