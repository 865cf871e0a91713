"""Zip packages, unpacked so that nothing can happen outside the target.

unpack(system, archive, to) puts the whole tree at `to`, or nothing at all: entries go to a directory beside it
that is renamed at the end. `to` must not exist. Files get mode 0644 (or `mode`), directories 0755; bits in the
archive are not restored, and times are those of unpacking. Nothing waits for the disk: whoever writes down that the
tree is there makes it durable first (System.sync_tree).

Refused, with MachineError: entries that are links or devices, absolute names, drive letters, "..", names over 255
bytes, encrypted entries, more than 100 000 entries, more than 8 GiB unpacked, more than the file system has room
for, more than 64 MiB at a ratio over 200 to 1, wrong checksums, a truncated file.

Source: extensions 1.1, 1.4, 6.4.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zipfile
import zlib
from typing import NamedTuple

from waagent.errors import MachineError
from waagent.system import Effect, System

BLOCK = 1024 * 1024


class Limits(NamedTuple):
    entries: int = 100_000
    unpacked: int = 8 * 1024**3
    ratio: int = 200
    ratio_from: int = 64 * 1024**2  # bytes unpacked below which the ratio does not matter


class ArchiveInvalid(MachineError):
    """The archive is damaged or holds what must not be unpacked. Facts: archive, entry."""

    reason = "archive invalid"


def unpack(system: System, archive: str, to: str, limits: Limits | None = None, *, mode: int = 0o644) -> int:
    """Unpack the zip at `archive` to the new directory `to`; both are paths of the machine. Returns its bytes.

    Raises ArchiveInvalid for a bad archive and MachineError when the machine refuses (facts: errno).
    """
    system.unforeseeable(f"unpack {archive}")
    limits = limits or Limits()
    target = str(system.path(to))
    parent, name = os.path.split(target)
    temporary = os.path.join(parent, f".{name}.{os.getpid():x}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(str(system.path(archive))) as package:
            entries = _checked(package.infolist(), archive, limits)
            room = os.statvfs(parent)
            declared = sum(entry.file_size for entry in entries)
            if declared > room.f_bavail * room.f_frsize:
                raise OSError(errno.ENOSPC, f"needs {declared} bytes, {room.f_bavail * room.f_frsize} are free")
            os.mkdir(temporary)
            written = 0
            for entry in entries:
                written += _extract(package, entry, temporary, archive, limits.unpacked - written, mode)
        os.chmod(temporary, 0o755)  # noqa: S103 - as any directory of programs
        os.rename(temporary, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        why = f"cannot unpack {archive}: {error}; nothing of it was kept"
        raise ArchiveInvalid(why, archive=archive) from error
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise MachineError(
            f"cannot unpack {archive} to {to}: {error.strerror or error}; nothing of it was kept",
            archive=archive,
            errno=error.errno,
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    system.note(Effect("directory", to, note=f"unpacked from {archive}, {len(entries)} entries, {written} bytes"))
    return written


def _checked(entries: list[zipfile.ZipInfo], archive: str, limits: Limits) -> list[zipfile.ZipInfo]:
    if len(entries) > limits.entries:
        raise ArchiveInvalid(
            f"cannot unpack {archive}: it has {len(entries)} entries, {limits.entries} are allowed", archive=archive
        )
    for entry in entries:
        objection = _objection(entry)
        if objection:
            raise ArchiveInvalid(
                f"cannot unpack {archive}: entry {entry.filename[:200]!r} {objection}; the package is refused",
                archive=archive,
                entry=entry.filename,
            )
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > limits.unpacked:
        raise ArchiveInvalid(
            f"cannot unpack {archive}: {unpacked} bytes unpacked, {limits.unpacked} are allowed", archive=archive
        )
    if unpacked > limits.ratio_from and unpacked > packed * limits.ratio:
        raise ArchiveInvalid(
            f"cannot unpack {archive}: {packed} bytes would become {unpacked}, more than {limits.ratio} times as"
            " many; the package is refused",
            archive=archive,
        )
    return entries


def _objection(entry: zipfile.ZipInfo) -> str:
    """What speaks against this entry; "" when nothing does."""
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    parts = name.replace("\\", "/").split("/")
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"is neither a file nor a directory (type {kind:o})"
    if not name or "\0" in name or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        return "has a name that no file can have"
    if name[0] in "/\\" or (len(name) > 1 and name[1] == ":"):
        return "has an absolute name"
    if ".." in parts:
        return "leads out of the package"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    return ""


def _extract(
    package: zipfile.ZipFile, entry: zipfile.ZipInfo, root: str, archive: str, room: int, mode: int
) -> int:
    """Write one entry below root and return its bytes; never more than `room`, whatever the header says."""
    path = os.path.join(root, *[part for part in entry.filename.split("/") if part not in ("", ".")])
    if entry.is_dir():
        os.makedirs(path, mode=0o755, exist_ok=True)
        return 0
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    written = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with package.open(entry) as source, open(os.open(path, flags, 0o600), "wb") as sink:
        while block := source.read(BLOCK):
            written += len(block)
            if written > room:
                raise ArchiveInvalid(
                    f"cannot unpack {archive}: it holds more bytes than its directory says", archive=archive
                )
            sink.write(block)
        os.fchmod(sink.fileno(), mode)
    return written
