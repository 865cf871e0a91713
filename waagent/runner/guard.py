"""The process that minds a stage: should the stage's own process be killed, the other steps run all the same.

guarded(body) forks. The child runs body(situation) and exits with its status. If a signal ends the child (a hook
that kills its parent, a crash of the interpreter, the out-of-memory killer), the minder ends the step that was
running and starts the stage again where it was: body is told to resume. Each such end costs the step that ran one
failure, so the stage comes to its end; where no step was running it is started again three times at most.

A SIGTERM is not one of these: systemd means it, and the stage is over.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

IDLE_DEATHS = 3
_PID = 8
_PAD = 512


Watch = Callable[[int, str], None]


class Minded(NamedTuple):
    """What the stage's process is told.

    watch       to be told the pid of a step (0: none), and the WAAGENT_TMP of a program, before it starts
    killed_by   the signal that ended the process before this one, or 0
    """

    watch: Watch
    killed_by: int = 0


def guarded(body: Callable[[Minded], int]) -> int:
    """Run body in a minded child and return its exit status."""
    pad = mmap.mmap(-1, _PAD)  # shared with the child: what runs

    def watch(pid: int, folder: str) -> None:
        pad[:] = pid.to_bytes(_PID, "little") + os.fsencode(folder)[: _PAD - _PID].ljust(_PAD - _PID, b"\0")

    killed_by = idle_deaths = 0
    while True:
        watch(0, "")
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _live(body, Minded(watch, killed_by))
        # A terminal sends its interrupt to the child as well; the stop of a unit may reach the minder alone.
        former = {signal.SIGTERM: signal.signal(signal.SIGTERM, _passing_on(child))}
        former[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _, code = os.waitpid(child, 0)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        if not os.WIFSIGNALED(code):
            return os.WEXITSTATUS(code)
        killed_by = os.WTERMSIG(code)
        step, folder = int.from_bytes(pad[:_PID], "little"), pad[_PID:].rstrip(b"\0")
        if step:
            _end(os.killpg, step)
        elif folder:  # it was killed by what it had just started, before it knew its pid
            for pid in _with_folder(folder):
                _end(os.kill, pid)
        else:
            idle_deaths += 1
        if killed_by in (signal.SIGTERM, signal.SIGINT) or idle_deaths > IDLE_DEATHS:
            return 128 + killed_by


def _live(body: Callable[[Minded], int], minded: Minded) -> None:
    """The child's whole life; never returns."""
    status = 70
    try:
        status = body(minded)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # a child must never return into the parent's code
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _passing_on(child: int) -> Callable[[int, Any], None]:
    def handler(number: int, frame: Any) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            return

    return handler


def _with_folder(folder: bytes) -> Iterator[int]:
    """The processes whose WAAGENT_TMP this is: the program, and what it started."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as stream:
                    if b"WAAGENT_TMP=" + folder in stream.read().split(b"\0"):
                        yield int(name)
            except OSError:
                continue


def _end(kill: Callable[[int, int], None], pid: int) -> None:
    try:
        kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
