"""Why a file must not run as a step: one clear reason, or None.

Nobody but root may be able to change a step or to swap it for another: the file and every directory above it
belong to root and are not writable by others. A link is judged by what it points to, as well as by where it is.
"""

from __future__ import annotations

import os
import re
import stat

NAME = re.compile(r"^(?P<number>[0-9]{2})-(?P<name>[a-z0-9][a-z0-9_-]*)(?P<ending>\.[a-z0-9]+)?$")
_LEFT_OVERS = re.compile(
    r"(~|\.(bak|orig|rej|swp|swo|tmp|new|old|save|rpmsave|rpmnew|rpmorig|dpkg-[a-z-]+|ucf-[a-z-]+|pacnew|pacsave))$"
)
_DOCUMENTS = ("README", "README.md", "README.txt", "__pycache__")


def is_document(name: str) -> bool:
    """Whether the file is there for people to read: passed over without a word."""
    return name in _DOCUMENTS


def of_name(name: str) -> str | None:
    if name.startswith("."):
        return "hidden"
    if _LEFT_OVERS.search(name):
        return "left over by an editor or a package manager"
    if NAME.match(name) is None:
        return "the name has to be NN-name with an optional ending, in a-z, 0-9, - and _: for example 20-swap.sh"
    return None


def of_directory(real: str, top: str) -> str | None:
    """Why nothing in this directory may run: the first bad one from `top` down to `real`."""
    trusted = _trusted(top)
    path = top
    pieces = [piece for piece in os.path.relpath(real, top).split("/") if piece not in (".", "")]
    for piece in ["", *pieces]:
        path = os.path.join(path, piece) if piece else path
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return f"{path} is a link, not a directory"
        if not stat.S_ISDIR(found.st_mode):
            return f"{path} is not a directory"
        if found.st_uid not in trusted:
            return f"directory {path} does not belong to root (owner {found.st_uid})"
        if found.st_mode & 0o022:
            return f"directory {path} is writable by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return None


def of_file(real: str, top: str, *, program: bool) -> str | None:
    """Why this file may not run. `real` is where it is after links; raises OSError when it is gone."""
    found = os.stat(real)
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if found.st_uid not in _trusted(top):
        return f"does not belong to root (owner {found.st_uid}); chown root: it"
    if mode & 0o022:
        return f"writable by others (mode {mode:04o}); chmod go-w it"
    if mode & 0o6000:
        return f"set-uid or set-gid (mode {mode:04o}); chmod ug-s it"
    if program and found.st_size and not mode & 0o100:
        return f"not executable by its owner (mode {mode:04o}); chmod +x it"
    if program and found.st_size and os.statvfs(real).f_flag & os.ST_NOEXEC:
        return f"on a file system that is mounted noexec ({_mount_point(real)})"
    return None


def _trusted(top: str) -> set[int]:
    """Root; in a test's fake root also whoever owns that directory."""
    return {0, os.stat(top).st_uid} if top != "/" else {0}


def _mount_point(path: str) -> str:
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
