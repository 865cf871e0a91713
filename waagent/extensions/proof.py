"""What was installed before a policy required signatures: is it what its publisher has signed?

    prove(...) -> ExtensionError | None      leaves the mark of a good signature, or tells why it may not run

Its package is fetched once, its signature is checked, and its files are compared with those on disk. To install it
anew would be a risk for what is in use. What the handler has written beside the package's files does not count.

Source: extensions 9.5.
"""

from __future__ import annotations

import os

from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions import packages
from waagent.extensions.handler import MANIFEST, find_manifest, read_manifest
from waagent.extensions.layout import Layout
from waagent.extensions.packages import KEPT, Release, Source
from waagent.extensions.signature import Signatures
from waagent.fabric.desired import Handler
from waagent.machine.archive import unpack
from waagent.system import System

BLOCK = 1024 * 1024


def prove(
    system: System, layout: Layout, handler: Handler, release: Release, source: Source, signatures: Signatures
) -> ExtensionError | None:
    name, version = handler.name, release.version
    then = (
        f"{version} stays as it is and is not enabled; remove the extension and add it again, or update it to a"
        " version that is signed"
    )
    differs = [""]

    def accept(archive: str) -> None:
        signatures.good(handler, archive, then)
        differs[0] = _difference(system, layout, name, version, archive)

    try:
        signatures.demand(handler, then)
        packages.obtain(system, layout, handler, release, source, accept)
        if differs[0]:
            return signatures.refused(handler, f"its {differs[0][:200]} is not the one that was signed", then)
        signatures.names_agree(handler, version, read_manifest(system, layout, name, version), then)
        system.write(layout.validated(name, version), b"", mode=0o600)
    except (ExtensionError, SystemRefused, OSError) as error:
        if isinstance(error, ExtensionError) and error.facts.get("denied") is True:
            return error
        return signatures.refused(handler, f"what is installed cannot be checked: {error}", then)
    return None


def _difference(system: System, layout: Layout, name: str, version: str, archive: str) -> str:
    """A file of the package that is another on disk, or is not there; "" when none is."""
    fresh = layout.fresh(name, version)
    system.remove_tree(fresh)
    try:
        unpack(system, archive, fresh)
        return _compare(str(system.path(fresh)), str(system.path(layout.base(name, version))))
    finally:
        system.remove_tree(fresh)


def _compare(signed: str, here: str) -> str:
    manifest = find_manifest(signed)  # what the agent would make of the package, wherever it lies in it
    if manifest is None or _text(f"{signed}/{manifest}") != _text(f"{here}/{MANIFEST}"):
        return MANIFEST
    for folder, _, files in os.walk(signed):
        for file in files:
            path = os.path.normpath(os.path.join(os.path.relpath(folder, signed), file))
            if path in (MANIFEST, "HandlerEnvironment.json") or path.split("/")[0] in KEPT:
                continue
            other = os.path.join(here, path)
            if os.path.islink(other) or not os.path.isfile(other) or not _alike(os.path.join(folder, file), other):
                return path
    return ""


def _alike(one: str, other: str) -> bool:
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        while block := first.read(BLOCK):
            if block != second.read(BLOCK):
                return False
    return True


def _text(manifest: str) -> bytes | None:
    """Without the mark of its encoding, which the agent takes off."""
    try:
        with open(manifest, "rb") as stream:
            return stream.read().removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return None
