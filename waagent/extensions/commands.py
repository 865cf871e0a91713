"""Run one command of a handler: in a session of its own, with a limit, and so that a later agent finds it again.

Command     what to run            Running    where it runs: folder, unit, until
Ended       status (None when unknown), timed_out, output (of both streams, at most 3200 characters), seconds,
            scopeless (systemd-run does not work)

The command line is base directory + "/" + the manifest's text, given to a shell. Its output goes to files, so a
child that keeps them open blocks nobody; a file that grows over 1 MiB is cut while the command runs. A small shell
around it writes down that it began and how it ended, which tells a broken systemd-run from a broken command and
lets `attach` learn the result of a command whose agent was killed. The file of its output is locked, so that one
which is just being started is not overlooked. Only the direct child is waited for.

With systemd the command gets a transient scope in its handler's slice, so that neither a restart of the agent nor
the agent's quota hits it. When the limit is over everything in its process group and scope is killed, also what has
made a session of its own; what a command that ended in time leaves behind lives on. Time asleep does not count.

Source: extensions 3.3, 3.5 - 3.9.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from waagent.errors import ExtensionError
from waagent.extensions import codes, command_log, hints, texts
from waagent.extensions.layout import Layout
from waagent.system import Effect, System
from waagent.system.command import PATH
from waagent.system.redact import redact_text

LIMITS: Mapping[str, float] = {"install": 900, "update": 900, "enable": 300, "disable": 900, "uninstall": 300}

OUTPUT_FILE_LIMIT = 1024 * 1024
GRACE = 5.0  # seconds for the kernel to clear away what was killed
# 71 is EX_OSERR: without the first line nobody could tell whether the command has been run.
_AROUND = """printf '%s' "$$" > "$1/began" || exit 71
/bin/sh -c "$2"
code=$?
printf '%s\\n' "$code" > "$1/exit" 2>/dev/null
exit "$code\""""
_PRIVATE = re.compile(r"NOTIFY_SOCKET|WATCHDOG_.*|LISTEN_.*|INVOCATION_ID|JOURNAL_STREAM|WAAGENT_.*")


class Command(NamedTuple):
    """verb, handler, version of the directory it runs in, instance or "", the manifest's text, its environment.

    scope: false where systemd-run is known not to work.
    """

    verb: str
    handler: str
    version: str
    instance: str
    line: str
    environment: Mapping[str, str]
    limit: float
    scope: bool = True


class Running(NamedTuple):
    """Where to find a command again: its folder, its scope or "", and when its limit is over (clock.monotonic)."""

    folder: str
    unit: str
    until: float


class Ended(NamedTuple):
    status: int | None
    timed_out: bool
    output: str
    seconds: float
    scopeless: bool = False


def full_line(layout: Layout, command: Command) -> str:
    return f"{layout.base(command.handler, command.version)}/{command.line.strip().lstrip('/')}"


def slice_of(handler: str, instance: str = "") -> str:
    """A hyphen would nest the slice, and systemd refuses other characters."""
    name = f"{handler}.{instance}" if instance else handler
    return f"azure-vmextensions-{re.sub('[^A-Za-z0-9_.]', '_', name)[:200]}.slice"


def run(
    system: System,
    layout: Layout,
    command: Command,
    starting: Callable[[Running], None] = lambda running: None,
) -> Ended:
    """Run it to its end. `starting` is called just before, with what `attach` and `clear` will need.

    What is known of the command stays in its folder until `clear`. Raises ExtensionError if it cannot be launched.
    """
    system.unforeseeable(f"{command.verb} {command.handler}")
    line = full_line(layout, command)
    name = f"{command.verb}_{uuid.uuid4()}"
    folder = f"{layout.running}/{name}"
    for directory in (layout.own, layout.running, folder):
        os.makedirs(str(system.path(directory)), mode=0o700, exist_ok=True)
    _log(system, layout, command, f"{system.clock.stamp()} {line}\n{command_log.shown(command.environment)}\n")
    unit = name if command.scope and _has_systemd(system) else ""
    starting(Running(folder, f"{unit}.scope" if unit else "", system.clock.monotonic() + command.limit))
    ended = _run(system, layout, command, line, unit, folder)
    if ended is None:  # systemd-run gave up before the command began
        ended = _run(system, layout, command, line, "", folder)
        ended = ended and ended._replace(scopeless=True)
    if ended is None:
        raise _not_launched(command, line, "the shell around it did not start")
    note = _told(ended)
    system.note(Effect("run", argv=(line,), note=note))
    _log(system, layout, command, f"{system.clock.stamp()} {note}\n{ended.output}\n")
    return ended


def attach(system: System, layout: Layout, command: Command, running: Running) -> Ended | None:
    """How a command that an earlier process started has ended, or will; None when it left no trace of its end.

    Waits while it lives, but not beyond its limit.
    """
    folder = str(system.path(running.folder))
    began = time.monotonic()
    while (pid := _find(folder)) is not None or _about_to_begin(folder):
        if system.clock.monotonic() > running.until:
            if pid is not None:
                _kill(system, pid, running.unit, folder)
                _gone(folder, GRACE)
            break
        _cut(folder)
        time.sleep(0.1)
    status = _exit_status(folder)
    timed_out = status is None and os.path.exists(f"{folder}/killed")
    if status is None and not timed_out:
        return None
    ended = Ended(status, timed_out, _output(folder), time.monotonic() - began)
    _log(
        system, layout, command, f"{system.clock.stamp()} {_told(ended)}, seen by a later process\n{ended.output}\n"
    )
    return ended


def stop(system: System, running: Running) -> None:
    """End a command at once, with all in its process group and scope: nobody will wait for its result."""
    folder = str(system.path(running.folder))
    pid = _find(folder)
    if pid is not None:
        _kill(system, pid, running.unit, folder)
        _gone(folder, GRACE)


def clear(system: System, layout: Layout, folder: str = "") -> None:
    """Forget a command that has run, or all of them: what they meant is on disk."""
    shutil.rmtree(str(system.path(folder or layout.running)), ignore_errors=True)


def _told(ended: Ended) -> str:
    return f"{'over its limit' if ended.timed_out else f'status {ended.status}'} after {ended.seconds:.1f} s"


def failure(command: Command, ended: Ended, line: str, system: System, layout: Layout) -> ExtensionError:
    """The error for a command that did not end with status 0."""
    if ended.timed_out:
        return ExtensionError(
            f"[ExtensionError] {command.verb} ran over its limit of {command.limit:g} s and was killed: {line}\n"
            f"{ended.output}",
            handler=command.handler,
            code=codes.TIMED_OUT,
            exit_code=str(codes.TIMED_OUT),
        )
    hint = hints.of(system, layout, ended.status, line)
    return ExtensionError(
        f"[ExtensionOperationError] {command.verb} ended with exit code {ended.status} after {ended.seconds:.1f} s:"
        f" {line}{hint}\n{ended.output}",
        handler=command.handler,
        code=codes.OF_COMMAND[command.verb],
        exit_code=str(ended.status),
    )


# -- one process ---------------------------------------------------------------------------------------------


def _run(
    system: System,
    layout: Layout,
    command: Command,
    line: str,
    unit: str,
    folder: str,
) -> Ended | None:
    """None when systemd-run ended without having begun the command."""
    argv = ["/bin/sh", "-c", _AROUND, "waagent-extension", folder, line]
    if unit:
        argv = [
            "systemd-run", "--quiet", "--scope", f"--unit={unit}",
            f"--slice={slice_of(command.handler, command.instance)}",
            "--property=CPUAccounting=no", "--property=MemoryAccounting=no", *argv,
        ]  # fmt: skip
    real, root = str(system.path(folder)), system.root
    base = layout.base(command.handler, command.version)

    def enter() -> None:  # in the child, between fork and exec
        if root != "/":
            os.chroot(root)
            os.chdir(base)

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    began = time.monotonic()
    out = os.open(f"{real}/out", flags, 0o600)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the child has it, too, from the fork on
        err = os.open(f"{real}/err", flags, 0o600)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=str(system.path(base)),
                env=_environment(command.environment),
                start_new_session=True,
                umask=0o022,
                preexec_fn=enter if root != "/" else None,  # noqa: PLW1509 - takes no lock
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _not_launched(command, line, str(error)) from error
        finally:
            os.close(err)
    finally:
        os.close(out)
    scope = f"{unit}.scope" if unit else ""
    timed_out = not _wait(process, command.limit, real)
    if timed_out:
        _kill(system, process.pid, scope, real)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:  # in the middle of a system call that cannot be interrupted
            pass
    if unit and not timed_out and not os.path.exists(f"{real}/began"):
        return None
    status = process.returncode
    if status is not None and status < 0:
        status = 128 - status
    return Ended(status, timed_out, _output(real), time.monotonic() - began)


def _wait(process: subprocess.Popen[bytes], limit: float, folder: str) -> bool:
    """Wait for the direct child; false when the limit is over. Keeps its output files small meanwhile."""
    until = time.monotonic() + limit
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # a kernel before 5.3
        descriptor = -1
    try:
        while process.poll() is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            if descriptor >= 0:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(min(left, 0.25) * 1000)
            else:
                time.sleep(min(left, 0.05))
            _cut(folder)
        return True
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _cut(folder: str) -> None:
    """Give back the room of output files that have grown too much; their end is kept, writers go on.

    The beginning becomes a hole, so that nothing written meanwhile is lost. Where the file system cannot do that,
    the file is emptied, with its end so far kept beside it.
    """
    for name in ("out", "err"):
        path = f"{folder}/{name}"
        try:
            found = os.stat(path)
            if found.st_blocks * 512 > OUTPUT_FILE_LIMIT and not _punch(path, found.st_size - texts.OUTPUT):
                end = _end_of(path)
                with open(os.open(f"{path}.end", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                    stream.write(end)
                os.truncate(path, 0)
        except OSError:
            continue


def _punch(path: str, length: int) -> bool:
    """Make the first `length` bytes of the file a hole, in whole pages; false where that cannot be done."""
    import ctypes

    keep_size, punch_hole = 1, 2
    fallocate = getattr(ctypes.CDLL(None), "fallocate64", None)
    if fallocate is None:
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return bool(fallocate(descriptor, keep_size | punch_hole, 0, max(length, 4096) // 4096 * 4096) == 0)
    finally:
        os.close(descriptor)


def _end_of(path: str) -> bytes:
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - texts.OUTPUT))
        return stream.read(texts.OUTPUT)


def _kill(system: System, pid: int, scope: str, folder: str) -> None:
    """End everything in the process group, and in the scope, at once; a later process is told that it was us."""
    try:
        os.close(os.open(f"{folder}/killed", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:  # a full disk; then a later process takes it for a command that was cut off
        pass
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if scope:  # all that is in it, in whatever session, until nothing is left to fork
        system.run("systemctl", "kill", "--signal=KILL", scope, ok=None, limit=10)


def _gone(folder: str, limit: float) -> None:
    until = time.monotonic() + limit
    while _find(folder) is not None and time.monotonic() < until:
        time.sleep(0.05)


def _find(folder: str) -> int | None:
    """The process that runs the command of this folder: it bears the folder's unique name on its command line."""
    try:
        with open(f"{folder}/began", encoding="ascii", errors="replace") as stream:
            candidates = [stream.read(16).strip()]
    except OSError:
        candidates = [""]
    if candidates == [""]:  # systemd-run, or the shell around it, is about to begin
        candidates = os.listdir("/proc")
    mark = os.path.basename(folder).encode()
    for candidate in candidates:
        if not candidate.isdigit() or int(candidate) == os.getpid():
            continue
        try:
            with open(f"/proc/{candidate}/cmdline", "rb") as stream:
                if mark in stream.read(16384):
                    return int(candidate)
        except OSError:
            continue
    return None


def _about_to_begin(folder: str) -> bool:
    """Whether there is a child of an agent that died in the middle of starting it."""
    if os.path.exists(f"{folder}/began"):
        return False
    try:
        with open(f"{folder}/out", "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _exit_status(folder: str) -> int | None:
    try:
        with open(f"{folder}/exit", encoding="ascii", errors="replace") as stream:
            text = stream.read(16)
    except OSError:
        return None
    return int(text) if text.endswith("\n") and text.strip().isdigit() else None


def _output(folder: str) -> str:
    """The end of both streams as text: bytes that are not UTF-8 become backslash escapes, secrets go."""
    streams = []
    for name in ("out", "err"):
        raw = b""
        for path in (f"{folder}/{name}.end", f"{folder}/{name}"):
            try:
                raw += _end_of(path)
            except OSError:
                continue
        streams.append(raw[-texts.OUTPUT :].decode("utf-8", "backslashreplace"))
    return redact_text(texts.combine(streams[0], streams[1]))


def _environment(table: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without what is private to its service; the table wins."""
    inherited = {name: value for name, value in os.environ.items() if not _PRIVATE.fullmatch(name)}
    return {"PATH": PATH, "HOME": "/root", **inherited, **table}


def _has_systemd(system: System) -> bool:
    return system.is_directory("/run/systemd/system") and system.which("systemd-run") is not None


def _not_launched(command: Command, line: str, why: str) -> ExtensionError:
    return ExtensionError(
        f"[ExtensionError] {command.verb} could not be launched: {line}: {why}",
        handler=command.handler,
        code=codes.OF_COMMAND[command.verb],
        exit_code=str(codes.OF_COMMAND[command.verb]),
    )


def _log(system: System, layout: Layout, command: Command, text: str) -> None:
    command_log.append(system, layout.command_log(command.handler, command.instance), text)
