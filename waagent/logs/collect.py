"""Pack logs for support into one zip archive, without their secrets.

    collect(system, sources, folder, full=False, secrets=(), watch=nothing) -> Collection

    <folder>/logs.zip       the archive, made anew each time; entries are named by their path without the first "/"
    <folder>/results.txt    how the collection went, line by line; in the archive too

Both are for root alone. At most 30 MiB of one file are taken: the end of a longer one, under the name truncated_
and its path with _ for /; a compressed one that is longer is left out. At most 150 MiB altogether: with the first
file that would be more, it ends. Compressed logs are unpacked on the way, so that their secrets can be taken out; a
zip archive is taken only from the history of goal states, which has none. A link is followed only if root made it.

`watch` is called every now and then while files are packed; what it raises ends the collection.
Raises MachineError when the archive cannot be written.

Source: guest-operations 7.3 to 7.5.
"""

from __future__ import annotations

import glob
import gzip
import itertools
import lzma
import os
import posixpath
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from waagent.errors import MachineError
from waagent.logs import clean
from waagent.logs.manifest import LAST, Sources, forbidden
from waagent.system.effects import Effect

if TYPE_CHECKING:
    from waagent.system import System

ARCHIVE, RESULTS = "logs.zip", "results.txt"
FILE_LIMIT = 31_457_280
TOTAL_LIMIT = 157_286_400
ERRORS = 7  # so many files may fail on the way into the archive
PACKED: dict[str, Callable[[BinaryIO], object]] = {".gz": gzip.open, ".xz": lzma.open}
HISTORY = "/history/"


class Collection(NamedTuple):
    archive: str
    results: str
    files: int
    size: int  # bytes before compression


class _Report:
    """The lines of results.txt."""

    def __init__(self, system: System) -> None:
        self.lines: list[str] = []
        self._clock = system.clock

    def __call__(self, message: str, level: str = "INFO") -> None:
        self.lines.append(f"{self._clock.now():%Y-%m-%dT%H:%M:%S}Z {level} {message}")

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def collect(
    system: System,
    sources: Sources,
    folder: str,
    *,
    full: bool = False,
    secrets: Iterable[str] = (),
    watch: Callable[[], None] = lambda: None,
) -> Collection:
    system.unforeseeable("what a collection of logs holds")
    began = system.clock.monotonic()
    told = _Report(system)
    told(f"Running log collector in {'full' if full else 'normal'} mode")
    for directory in sources.listings:
        _list(system, directory, told)
    system.make_directory(folder, 0o700)
    target = str(system.path(f"{folder}/{ARCHIVE}"))
    fresh = f"{target}.new"
    known = tuple(secrets)
    count, total, failed = 0, 0, 0
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in find(system, sources):
                try:
                    size = _size(system, path, told)
                    if size is None:
                        continue
                    if total + size > TOTAL_LIMIT:
                        told(f"{path} would be more than {TOTAL_LIMIT} bytes altogether; stopping here", "WARNING")
                        break
                    total += _add(system, archive, path, known, watch, told)
                    count += 1
                except FileNotFoundError:
                    told(f"{path} is gone", "WARNING")
                except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                    failed += 1
                    told(f"cannot add {path}: {error}", "WARNING")
                    if failed > ERRORS:
                        raise
            elapsed = (system.clock.monotonic() - began) * 1000
            told(f"{count} files, {total} bytes before compression, {elapsed:.0f} ms")
            archive.writestr(RESULTS, told.text())
        os.replace(fresh, target)
    except OSError as error:
        raise MachineError(f"cannot collect logs into {folder}/{ARCHIVE}: {error.strerror or error}") from error
    finally:
        if os.path.isfile(fresh):
            os.unlink(fresh)
        system.quietly().write(f"{folder}/{RESULTS}", told.text(), mode=0o600)
    system.note(Effect("write", f"{folder}/{ARCHIVE}", note=f"{count} files, {total} bytes"))
    return Collection(f"{folder}/{ARCHIVE}", f"{folder}/{RESULTS}", count, total)


def find(system: System, sources: Sources) -> Iterator[str]:
    """The files that the patterns name, in the order in which they are packed, each once."""
    seen: set[str] = set()
    hurried: list[str] = []
    others: set[str] = set()
    for pattern, priority in sources.patterns:
        prefix = system.root.rstrip("/")
        for real in sorted(glob.glob(prefix + pattern)):
            path = real[len(prefix) :]
            if path in seen or path in others:
                continue
            if priority < LAST:
                seen.add(path)
                hurried.append(path)
            else:
                others.add(path)
    yield from hurried
    yield from sorted(others)


def _size(system: System, path: str, told: _Report) -> int | None:
    """How many bytes of the file are taken at most; None when it is not taken."""
    real = os.path.join(system.root, path[1:])
    found = os.lstat(real)
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (0, os.geteuid()):
            told(f"{path} is a link that root did not make; left out", "WARNING")
            return None
        found = os.stat(real)
    if not stat.S_ISREG(found.st_mode):
        return None
    ending = posixpath.splitext(path)[1]
    if forbidden(path) or forbidden(os.path.realpath(real)) or (ending == ".zip" and HISTORY not in path):
        told(f"{path} may hold secrets; left out")
        return None
    if found.st_size > FILE_LIMIT and ending in (*PACKED, ".zip"):
        told(f"{path} is compressed and has {found.st_size} bytes, more than {FILE_LIMIT}; left out", "WARNING")
        return None
    return min(found.st_size, FILE_LIMIT)


def _add(
    system: System,
    archive: zipfile.ZipFile,
    path: str,
    secrets: tuple[str, ...],
    watch: Callable[[], None],
    told: _Report,
) -> int:
    """Put one file into the archive; the bytes that it is there."""
    real = os.path.join(system.root, path[1:])
    name, ending = path[1:], posixpath.splitext(path)[1]
    with open(real, "rb") as plain:
        length = os.fstat(plain.fileno()).st_size
        stream: BinaryIO = plain
        if ending in PACKED:
            stream, name = cast("BinaryIO", PACKED[ending](plain)), name[: -len(ending)]
        elif length > FILE_LIMIT:
            plain.seek(-FILE_LIMIT, os.SEEK_END)
            plain.readline()
            name = "truncated_" + path.replace("/", "_")
        written = 0
        blocks = iter(lambda: stream.read(clean.BLOCK), b"") if ending == ".zip" else clean.clean(stream, secrets)
        first = next(blocks, b"")  # before there is an entry: one that cannot be unpacked leaves none
        info = zipfile.ZipInfo(name, system.clock.now().timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w") as entry:
            for block in itertools.chain((first,), blocks):
                watch()
                entry.write(block[: FILE_LIMIT - written])
                written += min(len(block), FILE_LIMIT - written)
                if written >= FILE_LIMIT:
                    break
    told(f"adding file {path} as {name}, {written} bytes")
    return written


def _list(system: System, directory: str, told: _Report) -> None:
    told(f"Listing of {directory}")
    for name in system.listing(directory):
        try:
            found = system.status(f"{directory}/{name}")
        except OSError:
            continue
        told(f"  {stat.filemode(found.st_mode)} {found.st_uid} {found.st_gid} {found.st_size} {name}")
