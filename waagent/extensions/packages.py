"""From a handler's name and version to a package unpacked on disk.

How documents and files are fetched is given from outside (Source); this room says what is wanted and checks it:

    releases(handler)                                  -> what the handler's version manifest offers
    fetch(handler, release, zip, accept)               the package into the file `zip`; accept() unpacks it and
                                                       raises MachineError for a bad one, so that the next location
                                                       is tried; raises FabricError when all fail

A package file that already lies in LIB (an image brought it) is used instead and kept; a bad one is deleted. The
new tree replaces what an earlier attempt left, but keeps config/, status/ and mrseq.

Source: extensions 6.2, 6.4, 6.5.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from waagent.errors import ExtensionError, FabricError, MachineError, SystemRefused
from waagent.extensions import codes
from waagent.extensions import version as versions
from waagent.extensions.layout import Layout, split
from waagent.fabric.desired import Handler
from waagent.machine.archive import unpack
from waagent.system import System

KEPT = ("config", "status", "mrseq")


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
    except FabricError as error:
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
        _unpack(system, layout, name, version, archive)

    # What the image brought is kept when it is good. What was fetched has another name, so that it is not taken for
    # the image's should this process be killed now.
    brought, fetched = layout.package(name, version), layout.prefetched(name, version)
    for archive in (brought, fetched):
        if not system.exists(archive):
            continue
        keep = False
        try:
            accept(archive)
            keep = archive == brought
            return signed[0]
        except (MachineError, SystemRefused):
            continue
        finally:
            if not keep:
                system.remove(archive)
    if not release.uris:
        raise ExtensionError(
            f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError] its manifest"
            " names no location",
            handler=name,
        )
    try:
        source.fetch(handler, release, fetched, lambda: accept(fetched))
    except (FabricError, MachineError, SystemRefused) as error:
        raise not_downloaded(name, version, error) from error
    finally:
        system.remove(fetched)
    return signed[0]


def not_downloaded(name: str, version: str, error: Exception) -> ExtensionError:
    return ExtensionError(
        f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError] {error}",
        handler=name,
        code=codes.DOWNLOAD_FAILED,
    )


def _unpack(system: System, layout: Layout, name: str, version: str, archive: str) -> None:
    base = layout.base(name, version)
    fresh, stale = layout.fresh(name, version), layout.stale(name, version)
    for left in (fresh, stale):
        system.remove_tree(left)
    unpack(system, archive, fresh)
    system.set_mode(fresh, 0o700)
    if system.is_directory(base):
        for kept in KEPT:
            if system.exists(f"{base}/{kept}"):
                _adopt(str(system.path(f"{base}/{kept}")), str(system.path(f"{fresh}/{kept}")))
        system.rename(base, stale)
        system.rename(fresh, base)
        system.remove_tree(stale)
    else:
        system.rename(fresh, base)


def _adopt(old: str, new: str) -> None:
    """Copy what an earlier attempt left into the fresh tree, with times; on a clash what was there wins."""
    try:
        if os.path.isdir(old) and not os.path.islink(old):
            shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(old, new, follow_symlinks=False)
    except (OSError, shutil.Error) as error:
        raise MachineError(f"cannot keep {old} for the new package: {error}") from error


def sweep(system: System, layout: Layout) -> list[str]:
    """Remove what a killed process left: trees half unpacked or half deleted, packages fetched ahead.

    Returns what could not be removed, one line each: it hurts at most the handler whose it is.
    """
    troubles = []
    for file in system.listing(layout.lib):
        stem, _, kind = file[: -len(".part")].rpartition(".") if file.endswith(".part") else file.rpartition(".")
        left = kind in ("fresh", "stale", "fetched") and file.startswith(".") and split(stem[1:]) is not None
        if left or (file.startswith("..") and kind == "new" and ".fresh." in file):
            try:
                system.remove_tree(f"{layout.lib}/{file}")
            except SystemRefused as error:
                troubles.append(error.message)
    return troubles
