"""Files below a root: links resolved inside it, contents replaced atomically.

write_atomic never leaves half a file: temporary file beside the target, fsync, rename, fsync of the directory.
What lies in /run is gone with a power cut anyway and is not synced (a hundred steps would pay a second for it).

A writer that is killed leaves its temporary file, maybe with a secret in it. It holds a lock on it while it lives:
whoever writes or removes the same file next can tell, and takes away what has none. Any number of processes and
threads may write one file at the same time: each has a temporary file of its own, and the last rename counts.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from _thread import get_native_id  # as threading's, which not every process has loaded

LINKS_FOLLOWED = 40

_HEX = frozenset("0123456789abcdef")


def under(root: str, path: str, *, follow_last: bool = True) -> str:
    """Return where the absolute path `path` of the machine lies below `root`.

    Links are resolved as the machine itself would resolve them: an absolute link stays inside the root, and
    ".." never leaves it. Raises ValueError for a relative path, OSError(ELOOP) for a circle of links.
    """
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    if root == "/":
        return os.path.normpath(path)
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    resolved: list[str] = []
    followed = 0
    while pending:
        part = pending.pop()
        if part == "..":
            if resolved:
                resolved.pop()
            continue
        here = os.path.join(root, *resolved, part)
        if (pending or follow_last) and os.path.islink(here):
            followed += 1
            if followed > LINKS_FOLLOWED:
                raise OSError(40, "too many levels of links", path)
            target = os.readlink(here)
            if target.startswith("/"):
                resolved = []
            pending.extend(piece for piece in reversed(target.split("/")) if piece not in ("", "."))
            continue
        resolved.append(part)
    return os.path.join(root, *resolved)


def write_atomic(
    path: str, content: bytes, mode: int, owner: tuple[int, int] | None, *, durable: bool = True
) -> None:
    """Replace the file as a whole. Raises OSError; then the old content is still there.

    durable=False: readers see the old or the new content, but a power cut may take both.
    """
    sweep(path)
    directory, stem = _stem(path)
    temporary, descriptor = _create_locked(directory, stem)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    if durable:
        sync_directory(directory)


def sweep(path: str) -> None:
    """Remove what writers of this file left beside it when they were killed."""
    _sweep(*_stem(path))


def sweep_directory(directory: str) -> None:
    """The same for all files of a directory whose names do not come again."""
    _sweep(directory, ".")


def _sweep(directory: str, stem: str) -> None:
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        file, _, number = name.removesuffix(".new").rpartition(".")
        ours = name.endswith(".new") and name.startswith(".") and file not in ("", ".") and number
        if ours and _HEX.issuperset(number) and stem in (".", f"{file}."):
            _remove_unlocked(os.path.join(directory, name))


def _stem(path: str) -> tuple[str, str]:
    directory, name = os.path.split(path)
    return directory, f".{name[:200]}."


def _create_locked(directory: str, stem: str) -> tuple[str, int]:
    """The path and a descriptor of a new file that sweep leaves alone until it is closed.

    Its name is used once: the number of this thread, which no other living one has, and the time.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        temporary = os.path.join(directory, f"{stem}{get_native_id():x}{time.monotonic_ns():x}.new")
        try:
            descriptor = os.open(temporary, flags, 0o600)
        except FileExistsError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held by another only while it takes the file for a left-over
        except OSError:  # a file system without locks, on which nobody sweeps
            return temporary, descriptor
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def _remove_unlocked(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:  # its writer lives, or somebody else was faster
        pass
    finally:
        os.close(descriptor)


def sync_directory(directory: str) -> None:
    """Make a rename in this directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError:  # file systems that cannot (some FUSE); the rename itself has happened
        pass
    finally:
        os.close(descriptor)


def sync_tree(directory: str) -> None:
    """Make a directory and all below it survive a power cut. Raises OSError.

    By one call for the file system that it lies on, where there is that call: on ext4 it takes 15 ms for 500 files,
    and file by file ten times as long, more so on a busy disk.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _sync_file_system(descriptor):
            return
    finally:
        os.close(descriptor)
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                _sync(path)
        sync_directory(folder)
    sync_directory(os.path.dirname(directory))


def _sync_file_system(descriptor: int) -> bool:
    """syncfs(2), which Python does not offer; false where the system has none."""
    try:
        import ctypes

        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, OSError, AttributeError):
        return False
    if syncfs(descriptor) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mounted_in(path: str) -> list[str]:
    """The mount points at and below a path, as the kernel lists them: without links on the way."""
    above, name = os.path.split(path.rstrip("/"))
    place = os.path.join(os.path.realpath(above), name)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            points = [unescaped(line.split(" ", 5)[4]) for line in stream]
    except (OSError, IndexError):  # BSD has no such list
        return _mounted_by_looking(place)
    return [point for point in points if point == place or point.startswith(f"{place}/")]


def _mounted_by_looking(place: str) -> list[str]:
    """The same where the system tells of devices only: a bind mount is not seen, and BSD has none."""
    if os.path.islink(place):
        return []
    if os.path.ismount(place):
        return [place]
    return [
        os.path.join(folder, name)
        for folder, names, _ in os.walk(place)
        for name in names
        if os.path.ismount(os.path.join(folder, name))
    ]


def unescaped(field: str) -> str:
    """A field of the kernel's lists of mounts, without the octal numbers that stand for what would end it."""
    for code, sign in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\")):
        field = field.replace(code, sign)
    return field


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)
