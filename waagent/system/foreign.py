"""Files that somebody else may have made: a handler's status, its sign of life, its events. Lean.

    content, found = read(path, limit)      found: os.stat_result of the file that was read
    document = loads(text)                  what such a file says, if it is JSON

Only a plain file is read, and it is never waited for: a pipe, a socket, a device or a directory in its place raises
OSError at once. So does a link that leads to another directory: who may write here could have the agent read
and report any file of the machine. A link to a file beside it is followed, once.

At most `limit` bytes are read; found.st_size tells whether there are more.
"""

from __future__ import annotations

import errno
import json
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

DIGITS = 40

_KINDS = (
    (stat.S_ISDIR, "a directory"), (stat.S_ISLNK, "a link to a link"), (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def read(path: str, limit: int, *, folder: Optional[int] = None) -> tuple[bytes, os.stat_result]:
    """folder: descriptor of the directory that a path without a leading / lies in. Raises OSError."""
    descriptor, found = _opened(path, folder)
    try:
        return os.read(descriptor, min(limit, found.st_size)), found
    finally:
        os.close(descriptor)


def loads(text: str) -> Any:
    """As json.loads, without numbers that take minutes to convert. Raises ValueError, RecursionError."""
    return _DECODER.decode(text)


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def open_plain(path: str, *, folder: Optional[int] = None) -> int:
    """A descriptor for reading. Raises OSError."""
    return _opened(path, folder)[0]


def _opened(path: str, folder: Optional[int]) -> tuple[int, os.stat_result]:
    """It is looked at before it is opened, because opening a device may do something."""
    found = os.stat(path, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        path = _beside(path, os.readlink(path, dir_fd=folder))
        found = os.stat(path, dir_fd=folder, follow_symlinks=False)
    _require_plain(found, path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        _require_plain(found, path)  # it may have been replaced meanwhile
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, found


def _beside(path: str, target: str) -> str:
    """The file that the link at `path` names, if it lies in the same directory."""
    folder = os.path.dirname(path)
    named = os.path.normpath(os.path.join(folder, target))
    if os.path.dirname(named) != (os.path.normpath(folder) if folder else ""):
        raise OSError(errno.ELOOP, f"it is a link to {target}, which lies in another directory", path)
    return named


def _require_plain(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} instead of a file", path)
