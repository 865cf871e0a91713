"""The resolved profile, kept for this boot in /run/waagent/profile.json.

Every start of a stage needs the profile; resolving it costs the import of PyYAML and the reading of all profiles,
which is most of what a small stage costs. The cache carries a stamp of what it was made from: os-release, the
directory of the shipped profiles with their files, the administrator's directory with its files (each by size, time
of change, mode and owner). If the stamp differs in anything, the cache is not used; a damaged one is ignored.

    remembered(root, data_dir) -> DistroProfile or None      reads it; checks owner, mode and stamp
    remember(system, profile, data_dir) -> bool              writes it through the door; not in the journal

Whoever loads a profile and may write (the runner) calls remember() after load(). It is for root only, like the
overrides it may come from; it contains no secret.
"""

from __future__ import annotations

import os
import stat

from waagent.distro import detect
from waagent.distro.profile import OVERRIDES, DistroProfile, directory, override_paths
from waagent.system.files import under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.system import System

PLACE = "/run/waagent/profile.json"
FORMAT = 1


def remembered(root: str, data_dir: str) -> DistroProfile | None:
    """The profile of an earlier start, if nothing that it depends on has changed."""
    import json

    try:
        path = under(os.path.abspath(root), PLACE)
        status = os.stat(path)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["format"] != FORMAT or kept["stamp"] != stamp(root, data_dir):
            return None
        return DistroProfile(
            kept["name"],
            kept["id"],
            kept["version"],
            kept["names"],
            kept["data"],
            kept["origins"],
            kept["problems"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(system: System, profile: DistroProfile, data_dir: str) -> bool:
    """Keep the profile for the next start in this boot; true if the file changed. Where /run refuses, so be it."""
    import json

    from waagent.errors import SystemRefused

    if system.planning:
        return False
    kept = {
        "format": FORMAT,
        "stamp": stamp(str(system.root), data_dir),
        "name": profile.name,
        "id": profile.id,
        "version": profile.version,
        "names": list(profile.names),
        "data": profile.as_dict(),
        "origins": profile.origins,
        "problems": list(profile.problems),
    }
    quiet = system.quietly()
    try:
        quiet.make_directory(os.path.dirname(PLACE))
        return quiet.write(PLACE, json.dumps(kept, separators=(",", ":")), mode=0o600)
    except SystemRefused:
        return False


def stamp(root: str, data_dir: str) -> list[list[str | int]]:
    """Path, size and time of change of everything a profile is made from."""
    root = os.path.abspath(root)
    where = directory(data_dir)
    paths = [*(_below(root, path) for path in (*detect.OS_RELEASE, OVERRIDES)), where, *override_paths(root)]
    try:
        paths += [os.path.join(where, file) for file in sorted(os.listdir(where)) if file.endswith(".yaml")]
    except OSError:
        pass
    stamps: list[list[str | int]] = []
    for path in paths:
        try:
            status = os.stat(path)
            stamps.append([path, status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid])
        except OSError:
            stamps.append([path, -1, 0, 0, 0])
    return stamps


def _below(root: str, path: str) -> str:
    try:
        return under(root, path)
    except OSError:
        return path
