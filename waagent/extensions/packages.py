"""From a handler's name and version to a package unpacked on disk.

How documents and files are fetched is given from outside (Source); this room says what is wanted and checks it:

    releases(handler)                                  -> what the handler's version manifest offers
    fetch(handler, release, zip, accept)               the package into the file `zip`; accept() unpacks it and
                                                       raises MachineError for a bad one, so that the next location
                                                       is tried; raises FabricError when all fail

A package file that already lies in LIB (an image brought it) is used instead and kept; a bad one is deleted. The
new tree replaces what an earlier attempt left, but keeps config/, status/ and mrseq. It is on the disk before it
has its place, so that no state that a power cut leaves speaks of files without content.

What a killed process left is settled by sweep(): the old tree comes back where the new one had not its place yet,
and a download that can be continued stays.

Source: extensions 6.2, 6.4, 6.5.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from waagent.errors import ExtensionError, FabricError, MachineError, SystemRefused
from waagent.extensions import codes
from waagent.extensions import version as versions
from waagent.extensions.layout import Layout, split
from waagent.fabric.arrival import Kept
from waagent.fabric.desired import Handler
from waagent.machine.archive import unpack
from waagent.system import System

KEPT = ("config", "status", "mrseq")
FILE_MODE = 0o744  # archives do not tell reliably what is a program


class Release(NamedTuple):
    """One version a manifest offers, and where its package lies."""

    version: str
    uris: tuple[str, ...]


class Source(Protocol):
    def releases(self, handler: Handler) -> Sequence[Release]: ...

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None: ...


def choose(handler: Handler, source: Source) -> Release:
    """The release to install for what the goal state asks. Raises ExtensionError(-1)."""
    try:
        offered = source.releases(handler)
    except (FabricError, SystemRefused) as error:
        raise ExtensionError(
            f"[ExtensionError] the versions of {handler.name} could not be obtained: {error}", handler=handler.name
        ) from error
    chosen = versions.choose(handler.version, (release.version for release in offered))
    if chosen is None:
        raise ExtensionError(
            f"[ExtensionError] version {handler.version} of {handler.name} is not in its manifest, which offers"
            f" {len(offered)} other versions",
            handler=handler.name,
        )
    return next(release for release in offered if release.version == chosen)


def place(
    system: System,
    layout: Layout,
    handler: Handler,
    release: Release,
    source: Source,
    check: Callable[[str], bool] = lambda zip_path: False,
) -> bool:
    """Have the package unpacked in its directory. Raises ExtensionError: 1001, or -1 without a location.

    `check` looks at the package file before it is unpacked and says whether its signature is good; what it raises
    (ExtensionError) refuses the package. The answer for the package that was used is returned.
    """
    name, version = handler.name, release.version
    signed = [False]

    def accept(archive: str) -> None:
        signed[0] = check(archive)
        put(system, layout, name, version, archive)

    obtain(system, layout, handler, release, source, accept)
    return signed[0]


def obtain(
    system: System,
    layout: Layout,
    handler: Handler,
    release: Release,
    source: Source,
    accept: Callable[[str], None],
) -> None:
    """Have `accept` take the package file, wherever it comes from; what it raises means that the file is bad.

    That of a file which the image brought is raised only when there is nowhere to fetch another from.
    """
    name, version = handler.name, release.version
    # What the image brought is kept when it is good. What was fetched has another name, so that it is not taken for
    # the image's should this process be killed now.
    brought, fetched = layout.package(name, version), layout.prefetched(name, version)
    kept = Kept(system, fetched)
    refused: ExtensionError | None = None
    for archive in (brought, fetched):
        if not system.exists(archive):
            continue
        good = False
        try:
            accept(archive)
            good = True
            return
        except ExtensionError as error:
            if archive == fetched:
                raise
            refused = error
        except (MachineError, SystemRefused):
            continue
        finally:
            if archive == fetched:
                kept.taken()
            elif not good:
                system.remove(archive)
    if not release.uris:
        raise refused or ExtensionError(
            f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError] its manifest"
            " names no location",
            handler=name,
        )
    try:
        source.fetch(handler, release, fetched, lambda: accept(fetched))
    except (FabricError, MachineError, SystemRefused) as error:
        raise not_downloaded(name, version, error) from error
    finally:
        kept.taken()


def not_downloaded(name: str, version: str, error: Exception) -> ExtensionError:
    return ExtensionError(
        f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError] {error}",
        handler=name,
        code=codes.DOWNLOAD_FAILED,
    )


def put(
    system: System,
    layout: Layout,
    name: str,
    version: str,
    archive: str,
    approve: Callable[[str], None] = lambda tree: None,
) -> None:
    """approve looks at the unpacked tree; what it raises leaves everything as it was."""
    base, fresh, replaced = layout.base(name, version), layout.fresh(name, version), layout.replaced(name, version)
    _put_back(system, layout, name, version)
    system.remove_tree(fresh)
    unpack(system, archive, fresh, mode=FILE_MODE)
    try:
        approve(fresh)
    except ExtensionError:
        system.remove_tree(fresh)
        raise
    system.set_mode(fresh, 0o700)
    there = system.is_directory(base)
    for kept in KEPT if there else ():
        if system.exists(f"{base}/{kept}"):
            _adopt(str(system.path(f"{base}/{kept}")), str(system.path(f"{fresh}/{kept}")))
    system.sync_tree(fresh)
    if there:
        system.rename(base, replaced)
    system.rename(fresh, base)
    system.remove_tree(replaced)


def _put_back(system: System, layout: Layout, name: str, version: str) -> None:
    """Settle a replacement that was interrupted: the new tree if it has its place, else the old one."""
    base, replaced = layout.base(name, version), layout.replaced(name, version)
    if system.exists(replaced) and not system.exists(base):
        system.rename(replaced, base)
    system.remove_tree(replaced)


def _adopt(old: str, new: str) -> None:
    """Copy what an earlier attempt left into the fresh tree, with times; on a clash what was there wins.

    Files, directories and links; of a device or a pipe there is nothing that could be copied.
    """
    folders = []
    left = [(old, new)]
    try:
        while left:
            source, target = left.pop()
            mode = os.lstat(source).st_mode
            if stat.S_ISDIR(mode):
                if not os.path.isdir(target):
                    _make_way(target)
                    os.mkdir(target)
                folders.append((source, target))
                left += [(os.path.join(source, name), os.path.join(target, name)) for name in os.listdir(source)]
            elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                _make_way(target)
                shutil.copy2(source, target, follow_symlinks=False)
        for source, target in reversed(folders):  # after what is in them, which would change their times
            shutil.copystat(source, target)
    except (OSError, shutil.Error) as error:
        raise MachineError(f"cannot keep {old} for the new package: {error}") from error


def _make_way(target: str) -> None:
    if os.path.isdir(target):  # packages have no links
        shutil.rmtree(target)
    elif os.path.lexists(target):
        os.unlink(target)


def forget_others(system: System, layout: Layout, name: str, version: str) -> None:
    """Remove what has begun to arrive of other versions of the handler: this one is wanted now."""
    for file in system.listing(layout.lib):
        found = _left_over(file)
        if found is not None and found[2] == "part" and found[0] == name and found[1] != version:
            Kept(system, layout.prefetched(*found[:2])).drop()


def sweep(system: System, layout: Layout) -> list[str]:
    """Settle what a killed process left: trees half unpacked, half replaced or half deleted, and downloads.

    Returns what could not be settled, one line each: it hurts at most the handler whose it is.
    """
    troubles = []
    for file in system.listing(layout.lib):
        try:
            _settle(system, layout, file)
        except (SystemRefused, MachineError) as error:
            troubles.append(error.message)
    return troubles


def _settle(system: System, layout: Layout, file: str) -> None:
    if file.startswith("..") and file.endswith(".new") and ".fresh." in file:
        system.remove_tree(f"{layout.lib}/{file}")
    found = _left_over(file)
    if found is None:
        return
    name, version, kind = found
    if kind in ("fresh", "stale"):
        system.remove_tree(f"{layout.lib}/{file}")
    elif kind == "replaced":
        _put_back(system, layout, name, version)
    else:
        Kept(system, layout.prefetched(name, version)).settle()


def _left_over(file: str) -> tuple[str, str, str] | None:
    """Name, version and kind of something that only a killed process leaves."""
    stem, _, kind = file.rpartition(".")
    if kind in ("part", "origin") and stem.endswith(".fetched"):
        stem = stem[: -len(".fetched")]
    elif kind not in ("fresh", "stale", "replaced", "fetched"):
        return None
    parts = split(stem[1:]) if stem.startswith(".") else None
    return (*parts, kind) if parts is not None else None
