"""Running programs: an argument list, a cleaned environment, closed stdin, a time limit.

Result(argv, status, stdout, stderr, seconds); output is text, bytes that are not UTF-8 become
replacement characters; each stream is cut to its last MiB.
status: 0..125 as the program says, 124 over its limit, 126 cannot start, 127 not found, 128+n ended by signal n.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = ("OPENSSL_FIPS",)  # of this process's own environment, where it has them
OUTPUT_LIMIT = 1024 * 1024

TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127


class Result(NamedTuple):
    argv: tuple[str, ...]
    status: int
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every program: a fixed PATH and the C locale, so that output can be parsed."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"PATH": PATH, "LC_ALL": "C", "HOME": "/root", **passed_on, **(extra or {})}


def execute(
    argv: tuple[str, ...],
    stdin: bytes | None,
    limit: float,
    env: Mapping[str, str] | None = None,
    root: str = "/",
) -> Result:
    """Run a program to its end, in a process group of its own that is killed when the limit is over.

    With a root other than "/" the program runs in a chroot, so that it cannot touch anything outside.
    """
    import subprocess

    began = time.monotonic()

    def enter_root() -> None:  # in the child, between fork and exec
        os.chroot(root)
        os.chdir("/")

    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd="/",
            start_new_session=True,
            preexec_fn=enter_root if root != "/" else None,  # noqa: PLW1509 - this process has one thread
        )
    except FileNotFoundError as error:
        return Result(argv, NOT_FOUND, "", str(error), time.monotonic() - began)
    except (OSError, subprocess.SubprocessError) as error:
        return Result(argv, NOT_EXECUTABLE, "", str(error), time.monotonic() - began)
    try:
        out, err = process.communicate(stdin, timeout=limit)
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    except subprocess.TimeoutExpired:
        out, err = _end_group(process)
        status = TIMED_OUT
    return Result(argv, status, _text(out), _text(err), time.monotonic() - began)


def _end_group(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """SIGTERM, two seconds of grace, SIGKILL; then whatever output there was."""
    import subprocess

    for number, grace in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            out, err = process.communicate(timeout=grace)
            return out or b"", err or b""
        except subprocess.TimeoutExpired as expired:
            out, err = expired.stdout or b"", expired.stderr or b""
    # Something outside the group still holds the pipe; what was read so far is all there will be.
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return out, err


def _text(raw: bytes) -> str:
    return raw[-OUTPUT_LIMIT:].decode("utf-8", "replace")
