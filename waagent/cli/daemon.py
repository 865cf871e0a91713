"""waagent daemon: all stages in one go, then watch; for systems without systemd, or typed by hand.

The stages run one after the other as processes of their own, exactly as systemd would run them; then this process
becomes the watcher.
Exit status: 0 when another live daemon owns the pid file, or when the machine was handed over to System Center VMM
(five minutes later, so that a service manager does not start it again at once); else it does not return.
"""

from __future__ import annotations

import argparse
import os
import sys

from waagent.provisioning.scvmm import HANDED_OVER
from waagent.runner.journal import BOOT_STAGES
from waagent.system import System

HAND_OVER = 300.0

SUMMARY = "run all stages, then watch (without systemd)"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--background", action="store_true", help="return at once, go on in the background")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.runner.situation import situation

    if os.geteuid() != 0:
        print("waagent daemon: needs root", file=sys.stderr)
        return 1
    _, settings = situation(system)
    pid_file = settings.text("Pid.File") or "/var/run/waagent.pid"
    owner = _alive(system, pid_file)
    if owner:
        print(f"waagent daemon: already running with pid {owner} ({pid_file})", file=sys.stderr)
        return 0
    if args.background and not _detach():
        return 0
    system.quietly().write(pid_file, str(os.getpid()), mode=0o644)
    for stage in BOOT_STAGES:
        child = os.spawnv(os.P_NOWAIT, sys.executable, [*_program(), "stage", stage])  # noqa: S606
        os.waitpid(child, 0)
        if system.exists(HANDED_OVER):
            print(f"waagent daemon: {system.read_text(HANDED_OVER).strip()}; ending in {HAND_OVER:.0f} s")
            system.clock.sleep(HAND_OVER)
            return 0
    os.execv(sys.executable, [*_program(), "watch"])  # noqa: S606 - ourselves, no shell
    return 0


def _program() -> list[str]:
    """How this program was started, to start it again."""
    return [sys.executable, "-I", os.path.abspath(sys.argv[0])]


def _alive(system: System, pid_file: str) -> int:
    """The pid of a live daemon that owns the pid file, or 0. Source: guest-operations 1.3."""
    try:
        pid = int(system.read_text(pid_file).strip())
        os.kill(pid, 0)
    except (OSError, ValueError) as error:
        if not isinstance(error, PermissionError):
            return 0
    if pid == os.getpid():
        return 0
    try:
        command = system.read(f"/proc/{pid}/cmdline")
    except OSError:
        return 0
    # A number that was given to another program since is no daemon of ours.
    return pid if b"waagent" in command else 0


def _detach() -> bool:
    """Fork twice; true in the process that goes on."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    return True
