"""Files in a directory that its owner controls while root writes there: a user's home.

An existing account may have put links where we are about to write, and may swap them while we look. So the way
down from the home directory goes by directory descriptors, no link is followed, each directory on the way has to
belong to the account (or root) and must not be writable by others, and the file is replaced by a rename within
its directory.

    place(account, path, homes)     the path below the account's home; SshError when it leaves it
    read(system, home, relative)    bytes, None when it is not there
    write(…)                        true if anything changed

Plan mode foresees all of it. `home` is an absolute path of the machine, links in it are root's own affair
(/home -> /usr/home) and are followed.

Source: provisioning 4.5 (path rules, with row 51 of 12), field demand 155.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from waagent.errors import SshError, SystemRefused
from waagent.machine.users import Account
from waagent.system import Effect, System

LARGEST = 4 * 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place(account: Account, path: str, homes: str = "/home") -> str:
    """The path below the account's home that the document's path means.

    "$HOME" stands for the directory of homes. The platform does not know where the account lives, so
    <homes>/<name>/… means the account's home wherever that is (root's is /root). Raises SshError.
    """
    told = path.replace("$HOME", homes.rstrip("/") or "/")
    if not told.startswith("/") or "\0" in told:
        raise SshError(f"cannot write keys to {path!r}: the path has to be absolute or begin with $HOME", path=path)
    plain = posixpath.normpath("/" + told.lstrip("/"))
    for base in map(posixpath.normpath, (posixpath.join(homes, account.name), account.home)):
        if base != "/" and plain.startswith(base + "/"):
            return plain[len(base) + 1 :]
    raise SshError(
        f"cannot write keys to {path!r}: it lies outside of {account.home}, the home of {account.name}", path=path
    )


def read(system: System, account: Account, relative: str) -> bytes | None:
    """What the file has; None when the file or its directory is not there. Raises SshError for a link or a pipe."""
    directory, name = posixpath.split(relative)
    try:
        with _opened(system, account, directory) as descriptor:
            return _read(descriptor, name, relative)
    except FileNotFoundError:
        return None


def write(
    system: System,
    account: Account,
    relative: str,
    content: bytes,
    *,
    mode: int = 0o600,
    directory_mode: int = 0o700,
) -> bool:
    """Have the file with this content, mode and the account as its owner; missing directories are made likewise.

    The file's own directory gets directory_mode too. Raises SshError, SystemRefused.
    """
    path = posixpath.join(account.home, relative)
    directory, name = posixpath.split(relative)
    owner = (account.uid, account.gid)
    if system.planning and not system.is_directory(account.home):
        system.note(
            Effect("write", path, note=f"{len(content)} bytes, mode {mode:04o}, in a home that is not there yet")
        )
        return True
    try:
        changed = _make_directories(system, account, directory, directory_mode)
        try:
            with _opened(system, account, directory) as descriptor:
                if _already(descriptor, name, relative, content, mode, owner):
                    return changed
                if not system.planning:
                    _replace(descriptor, name, content, mode, owner)
        except FileNotFoundError:
            if not system.planning:
                raise
    except OSError as error:
        raise SystemRefused(f"cannot write {path}: {error.strerror or error}", path=path) from error
    note = f"{len(content)} bytes, mode {mode:04o}, owner {owner[0]}:{owner[1]}"
    system.note(Effect("write", path, note=note))
    return True


@contextmanager
def _opened(system: System, account: Account, directory: str) -> Iterator[int]:
    """A descriptor of the directory below the home, reached without following a link."""
    descriptor = os.open(system.path(account.home), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check(descriptor, account, account.home)
        for part in directory.split("/") if directory else ():
            below = _enter(descriptor, part, account, directory)
            os.close(descriptor)
            descriptor = below
            _check(descriptor, account, posixpath.join(account.home, directory))
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(descriptor: int, part: str, account: Account, directory: str) -> int:
    try:
        return os.open(part, _DIRECTORY, dir_fd=descriptor)
    except NotADirectoryError as error:
        raise _unsafe(posixpath.join(account.home, directory), f"{part} is a link or no directory") from error
    except OSError as error:
        if error.errno == 40:  # ELOOP: O_NOFOLLOW met a link
            raise _unsafe(posixpath.join(account.home, directory), f"{part} is a link") from error
        raise


def _check(descriptor: int, account: Account, path: str) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in (0, account.uid):
        raise _unsafe(path, f"it belongs to uid {status.st_uid}, not to {account.name} (uid {account.uid})")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _unsafe(path, f"anybody may write to it (mode {stat.S_IMODE(status.st_mode):04o})")


def _make_directories(system: System, account: Account, directory: str, mode: int) -> bool:
    """Have the directory and those on the way to it; the last one gets mode and owner even if it was there."""
    changed = False
    parts = directory.split("/") if directory else []
    for depth, part in enumerate(parts):
        above = "/".join(parts[:depth])
        path = posixpath.join(account.home, *parts[: depth + 1])
        with _opened(system, account, above) as descriptor:
            try:
                os.stat(part, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:
                system.note(Effect("directory", path, note=f"mode {mode:04o}, owner {account.uid}:{account.gid}"))
                if system.planning:
                    return True
                os.mkdir(part, 0o700, dir_fd=descriptor)
                below = _enter(descriptor, part, account, directory)
                try:
                    os.fchmod(below, mode)
                    os.fchown(below, account.uid, account.gid)
                finally:
                    os.close(below)
                changed = True
    if parts:
        changed = _settle(system, account, directory, mode) or changed
    return changed


def _settle(system: System, account: Account, directory: str, mode: int) -> bool:
    """Give the file's own directory its mode and owner, also when it was there before."""
    path = posixpath.join(account.home, directory)
    with _opened(system, account, directory) as descriptor:
        status = os.fstat(descriptor)
        right = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, account.uid, account.gid)
        if right:
            return False
        if not system.planning:
            os.fchmod(descriptor, mode)
            os.fchown(descriptor, account.uid, account.gid)
    system.note(Effect("owner", path, note=f"{account.uid}:{account.gid}, mode {mode:04o}"))
    return True


def _read(descriptor: int, name: str, relative: str) -> bytes | None:
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == 40:
            raise _unsafe(relative, "it is a link") from error
        raise
    with open(file, "rb") as stream:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(relative, "it is no plain file")
        if status.st_nlink > 1:
            raise _unsafe(relative, "it has a second name (hard link)")
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise _unsafe(relative, f"it has more than {LARGEST} bytes")
    return content


def _already(descriptor: int, name: str, relative: str, content: bytes, mode: int, owner: tuple[int, int]) -> bool:
    before = _read(descriptor, name, relative)
    if before is None or before != content:
        return False
    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    return stat.S_IMODE(status.st_mode) == mode and (status.st_uid, status.st_gid) == owner


def _replace(descriptor: int, name: str, content: bytes, mode: int, owner: tuple[int, int]) -> None:
    """Write a file beside it, complete and safe on disk, then rename."""
    temporary = f".{name[:200]}.waagent-new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.unlink(temporary, dir_fd=descriptor)  # left by a run that was cut off
    except FileNotFoundError:
        pass
    file = os.open(temporary, flags, 0o600, dir_fd=descriptor)
    try:
        with open(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(file, *owner)
            os.fchmod(file, mode)
            os.fsync(file)
        os.rename(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=descriptor)
        except OSError:
            pass
        raise
    os.fsync(descriptor)


def _unsafe(path: str, why: str) -> SshError:
    return SshError(f"cannot use {path}: {why}; nothing was written there, remove it and boot again", path=path)
