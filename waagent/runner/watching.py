"""Whether files that a periodic step watches have changed, and how a shell without any program can tell.

    look(root, patterns) -> Look       which files there are now, and what is in them or when they were changed
    record(look, patterns)             lines by which data/systemd/periodic-due finds the same; None: it cannot

A file of the kernel (below /proc and /sys) has no time that means anything: its content counts. Of any other file,
or a directory, identity, size and time of change count, for the shell only the time: whether it is newer than
/run/waagent/periodic.due. (A file that is overwritten in place by one with an older time escapes the shell; the
stage sees it, an hour later at most.)

A shell reads byte by byte and does not keep every byte: a content that is long or no plain text, or a name with a
line break, is left to the stage. It then starts at each period, and looks itself.
"""

from __future__ import annotations

import glob
import os
from typing import NamedTuple

KERNEL = ("/proc/", "/sys/")
CONTENT_READ = 64 * 1024
CONTENT_RECORDED = 2048
FILES_RECORDED = 100


class File(NamedTuple):
    """A file that is there: its path as the machine knows it; its content if it is the kernel's, else its stamp."""

    path: str
    content: bytes | None
    stamp: tuple[int, ...]


Look = dict[str, "list[File]"]  # by pattern


def look(root: str, patterns: tuple[str, ...]) -> Look:
    """What the patterns match now, in the order of a shell: byte by byte."""
    return {pattern: [_file(root, path) for path in matches(root, pattern)] for pattern in patterns}


def matches(root: str, pattern: str) -> list[str]:
    """The files there are; links that lead nowhere are none."""
    top = "" if root == "/" else root
    found = glob.glob(glob.escape(top) + pattern)
    return sorted((path[len(top) :] for path in found if os.path.exists(path)), key=os.fsencode)


def _file(root: str, path: str) -> File:
    real = path if root == "/" else root + path
    try:
        found = os.stat(real)
        if path.startswith(KERNEL) and not os.path.isdir(real):
            with open(real, "rb") as stream:
                return File(path, stream.read(CONTENT_READ), ())
        return File(path, None, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    except OSError as error:  # gone again, or one that answers with an error: that it does counts
        return File(path, None, (-1, error.errno or 0))


def digest(seen: Look, *others: str) -> str:
    """A short text for all that was seen."""
    import hashlib

    return hashlib.sha256(repr((sorted(seen.items()), others)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def record(seen: Look) -> list[str] | None:
    """One line each: what there is, and what is in it."""
    lines: list[str] = []
    files = 0
    for pattern, found in seen.items():
        lines.append(f"match {pattern}")
        for file in found:
            files += 1
            if files > FILES_RECORDED or not _is_plain(os.fsencode(file.path)) or file.stamp[:1] == (-1,):
                return None
            lines.append(f"name {file.path}")
            if file.content is None:
                lines.append("older")
                continue
            content = file.content
            ended = not content or content.endswith(b"\n")
            if not ended or len(content) > CONTENT_RECORDED or not _is_plain(content.replace(b"\n", b"")):
                return None
            lines += ["text", *(f"={line}" for line in content.decode("ascii").split("\n")[:-1]), "."]
    return lines


def _is_plain(text: bytes) -> bool:
    return all(byte == 9 or 32 <= byte < 127 for byte in text)
