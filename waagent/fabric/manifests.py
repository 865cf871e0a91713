"""Manifests: which versions of an extension (or of the agent) there are, and where their packages lie.

parse(content) -> tuple of Release, lowest version first
    version   str as written      key       tuple of int, to compare by
    uris      tuple of str        internal  bool      disallow_major_upgrade  bool, parsed and not acted upon

choose(releases, wanted) -> the highest Release that `wanted` matches: every part of it equals the same part of the
candidate, which may have more. None when there is none.

Source: wire-protocol 6.1, 6.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waagent.fabric import xml

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCUMENT = "the manifest"


class Release(NamedTuple):
    version: str
    key: tuple[int, ...]
    uris: tuple[str, ...] = ()
    internal: bool = False
    disallow_major_upgrade: bool = False


def version_key(version: str) -> tuple[int, ...] | None:
    """The parts as numbers, None for what is no version of one to four dotted numbers."""
    parts = version.strip().split(".")
    if not 1 <= len(parts) <= 4 or not all(part.isdecimal() and len(part) < 12 for part in parts):
        return None
    return tuple(int(part) for part in parts)


def parse(content: bytes | str, document: str = DOCUMENT) -> tuple[Release, ...]:
    """Raises GoalStateInvalid; an entry whose version is none is passed over."""
    root = xml.parse(content, document, "PluginVersionManifest")
    found: list[Release] = []
    for section, internal in (("Plugins", False), ("InternalPlugins", True)):
        for node in root.iterfind(f"{section}/Plugin"):
            version = xml.text(node, "Version") or ""
            key = version_key(version)
            if key is None:
                continue
            uris = tuple(uri for entry in node.iterfind("Uris/Uri") if (uri := (entry.text or "").strip()))
            found.append(
                Release(version, key, uris, internal, xml.flag(node, "DisallowMajorVersionUpgrade") or False)
            )
    return tuple(sorted(found, key=lambda release: release.key))


def choose(releases: Iterable[Release], wanted: str) -> Release | None:
    parts = version_key(wanted)
    if parts is None:
        return None
    matching = [release for release in releases if release.key[: len(parts)] == parts]
    return max(matching, key=lambda release: release.key, default=None)
