"""One step in a process of its own: started, listened to, ended in time.

run_child(body) forks. In the child: a new session, output into a pipe, standard input from /dev/null, then
body(result, answers), which writes a result to the one descriptor and returns an exit status. run_program(path)
starts a program instead, without the cost of copying this process; it has no result pipe. Both pass on every line
of output, and end the whole process group when the limit is over: SIGTERM, five seconds, SIGKILL.

The result is what the child writes last, without a line end. Lines that it writes before go to told() as they come,
and each is answered with one byte on `answers` when told() has returned, so that the child may wait for that; the
child finds `answers` at its end when this process is gone.

`watch` is told what runs, for whoever has to end it should this process die: by the child itself, or before a
program starts, because the first thing that it does may be to kill its parent.

Ended
    status     0..255 exit status, 128+n for signal n           timed_out   bool
    result     bytes of the result pipe, at most 16 MiB         dropped     bytes of output over the cap
    lingering  bool: somebody else still holds the output (a daemon the step left behind)
    seconds    float
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from waagent.runner.guard import Watch

OUTPUT_CAP = 64 * 1024
LINE_CAP = 4096
RESULT_CAP = 16 * 1024 * 1024
GRACE = 5.0
AFTER_EXIT = 1.0
_DEFAULTED = (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ)


class Ended(NamedTuple):
    status: int
    result: bytes
    timed_out: bool
    lingering: bool
    dropped: int
    seconds: float


def run_child(
    body: Callable[[int, int], int],
    say: Callable[[str], None],
    limit: float,
    watch: Watch | None = None,
    told: Callable[[bytes], None] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Ended:
    """Run body in a forked child until it ends or the limit (seconds) is over; say() gets each line of output.

    told() may run other children; it gets the lines that come before the result. meanwhile() is called once the
    child is on its way.

    Raises OSError when the machine has no room for another process.
    """
    began = time.monotonic()
    output_read, output_write = os.pipe()
    result_read, result_write = os.pipe()
    answers_read, answers_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError:
        _close(output_read, output_write, result_read, result_write, answers_read, answers_write)
        raise
    if child == 0:
        _become_child(body, output_write, result_write, answers_read, watch)
    _close(output_write, result_write, answers_read)
    meanwhile()

    def tell(line: bytes) -> None:
        if told is not None:
            told(line)
        if watch is not None:  # what told() ran is over; this child is the one to be minded again
            watch(child, "")
        try:
            os.write(answers_write, b".")
        except BrokenPipeError:  # it does not live any more
            return

    try:
        return _listen(child, output_read, result_read, say, began, limit, watch, tell)
    finally:
        os.close(answers_write)


def run_program(
    path: str,
    env: Mapping[str, str],
    stdin: int,
    say: Callable[[str], None],
    limit: float,
    watch: Watch | None = None,
) -> Ended:
    """Run the program at `path` in the same way: directory /, umask 022, no descriptors but its three.

    Raises OSError when it cannot be started, with the errno of the kernel.
    """
    began = time.monotonic()
    output_read, output_write = os.pipe()
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    umask = os.umask(0o022)
    if watch is not None:
        watch(0, env["WAAGENT_TMP"])
    try:
        os.chdir("/")
        child = os.posix_spawn(
            path,
            [path],
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, output_write, 1),
                (os.POSIX_SPAWN_DUP2, output_write, 2),
            ],
            setsid=True,
            setsigdef=_DEFAULTED,
        )
    except OSError:
        _close(output_read, output_write)
        raise
    finally:
        os.umask(umask)
        os.fchdir(here)
        os.close(here)
    os.close(output_write)
    if watch is not None:
        watch(child, "")
    return _listen(child, output_read, -1, say, began, limit, watch)


def _listen(
    child: int,
    output: int,
    result: int,
    say: Callable[[str], None],
    began: float,
    limit: float,
    watch: Watch | None,
    tell: Callable[[bytes], None] | None = None,
) -> Ended:
    listener = _Listener(child, output, result, say, tell)
    try:
        timed_out = listener.until_exit(began + limit)
    finally:
        listener.close()
        if watch is not None:
            watch(0, "")
    return Ended(
        listener.status, bytes(listener.result), timed_out, listener.lingering, listener.lines.dropped,
        time.monotonic() - began,
    )  # fmt: skip


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _become_child(
    body: Callable[[int, int], int], output: int, result: int, answers: int, watch: Watch | None
) -> None:
    """The child's whole life; never returns."""
    status = 70
    try:
        os.setsid()
        if watch is not None:
            watch(os.getpid(), "")
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for number in _DEFAULTED:
            signal.signal(number, signal.SIG_DFL)
        first, last = sorted((result, answers))
        os.closerange(3, first)
        os.closerange(first + 1, last)
        os.closerange(last + 1, 1024)
        # Whatever the parent's streams were, the child's write to its own descriptors, line by line.
        sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
        status = body(result, answers)
    except SystemExit as leaving:
        status = 71
        sys.stderr.write(f"called sys.exit({leaving.code!r}); return an outcome instead\n")
    except BaseException:  # a child must never return into the parent's code
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


class _Lines:
    """Bytes to lines of text, capped: the first half of the cap at once, then only the last lines at the end."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._pending = b""
        self._said = 0
        self._tail: list[bytes] = []
        self._tail_size = 0
        self.dropped = 0

    def feed(self, data: bytes) -> None:
        self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        while len(self._pending) > LINE_CAP:
            lines.append(self._pending[:LINE_CAP])
            self._pending = self._pending[LINE_CAP:]
        for line in lines:
            self._line(line)

    def finish(self) -> None:
        if self._pending:
            self._line(self._pending)
            self._pending = b""
        if self.dropped:
            self._say(f"[{self.dropped} bytes of output left out here]")
        for line in self._tail:
            self._say(_text(line))

    def _line(self, line: bytes) -> None:
        if self._said < OUTPUT_CAP // 2:
            self._said += len(line) + 1
            self._say(_text(line))
            return
        self._tail.append(line)
        self._tail_size += len(line) + 1
        while self._tail_size > OUTPUT_CAP // 2:
            gone = self._tail.pop(0)
            self._tail_size -= len(gone) + 1
            self.dropped += len(gone) + 1


class _Listener:
    def __init__(
        self,
        child: int,
        output: int,
        result: int,
        say: Callable[[str], None],
        tell: Callable[[bytes], None] | None,
    ) -> None:
        self.child, self.status, self.lingering = child, -1, False
        self.result = bytearray()
        self.lines = _Lines(say)
        self._tell = tell
        self._output, self._result = output, result
        self._open = {output, result} - {-1}
        self._exited = False
        # Where the kernel has no pidfd (before 5.3) the loop looks every 20 ms instead.
        self._pidfd = os.pidfd_open(child) if hasattr(os, "pidfd_open") else -1

    def until_exit(self, deadline: float) -> bool:
        """Listen until the child has ended and its pipes are silent; true if it had to be ended."""
        timed_out, killed = False, False
        while not self._exited:
            now = time.monotonic()
            if now >= deadline:
                self._signal(signal.SIGKILL if timed_out else signal.SIGTERM)
                killed, timed_out, deadline = timed_out, True, now + GRACE
            self._turn(deadline - now)
        if timed_out and not killed:
            self._signal(signal.SIGKILL)  # what it started and left behind when it obeyed SIGTERM
        quiet = time.monotonic() + AFTER_EXIT
        while self._open and time.monotonic() < quiet:
            self._turn(quiet - time.monotonic())
        self.lingering = self._output in self._open
        self.lines.finish()
        return timed_out

    def close(self) -> None:
        for descriptor in (self._output, self._result, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        if not self._exited:  # an exception in the parent: leave nothing running
            self._signal(signal.SIGKILL)
            os.waitpid(self.child, 0)

    def _turn(self, wait: float) -> None:
        watched = [*self._open]
        if not self._exited and self._pidfd >= 0:
            watched.append(self._pidfd)
        elif not self._exited:
            wait = min(wait, 0.02)
        ready, _, _ = select.select(watched, [], [], max(0.0, min(wait, 60.0)))
        for descriptor in ready:
            if descriptor == self._pidfd:
                continue
            data = os.read(descriptor, 65536)
            if not data:
                self._open.discard(descriptor)
            elif descriptor == self._output:
                self.lines.feed(data)
            elif len(self.result) < RESULT_CAP:
                self.result += data
                self._pass_on()
        if not self._exited and (self._pidfd < 0 or self._pidfd in ready):
            pid, code = os.waitpid(self.child, os.WNOHANG)
            if pid:
                self._exited = True
                self.status = os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)

    def _pass_on(self) -> None:
        """Take the complete lines off the result: they are news, not the end."""
        while self._tell is not None and b"\n" in self.result:
            line, _, rest = self.result.partition(b"\n")
            self.result = rest
            self._tell(bytes(line))

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.child, number)
        except (ProcessLookupError, PermissionError):
            try:  # before its setsid() the child has no group of its own yet
                os.kill(self.child, number)
            except ProcessLookupError:
                return


def _text(line: bytes) -> str:
    """A line as it may stand in a log: UTF-8 or replacement characters, no control characters."""
    text = line.rstrip(b"\r").decode("utf-8", "replace")
    return "".join(char if char == "\t" or char.isprintable() else "\ufffd" for char in text)
