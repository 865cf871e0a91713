"""Files below a root: links resolved inside it, contents replaced atomically.

write_atomic never leaves half a file: temporary file beside the target, fsync, rename, fsync of the directory.
What lies in /run is gone with a power cut anyway and is not synced (a hundred steps would pay a second for it).

A writer that is killed leaves its temporary file, maybe with a secret in it. It holds a lock on it while it lives:
whoever writes or removes the same file next can tell, and takes away what has none.
"""

from __future__ import annotations

import fcntl
import os
import stat

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
    temporary = os.path.join(directory, f"{stem}{os.getpid():x}.new")
    descriptor = _create_locked(temporary)
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


def _create_locked(temporary: str) -> int:
    """A descriptor of a new file that sweep leaves alone until it is closed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        try:
            descriptor = os.open(temporary, flags, 0o600)
        except FileExistsError:  # of a process of the same number, on a file system without locks
            os.unlink(temporary)
            descriptor = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody sweeps, and took it for a left-over in the moment before
            os.close(descriptor)
            continue
        except OSError:
            return descriptor
        if os.fstat(descriptor).st_nlink:
            return descriptor
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


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)
