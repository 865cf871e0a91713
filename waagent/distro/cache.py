"""The resolved profile, kept for this boot (waagent/system/kept.py).

Every start of a stage needs the profile; resolving it costs the import of PyYAML and the reading of all profiles,
which is most of what a small stage costs. It is made from os-release, the directory of the shipped profiles with
their files, and the administrator's directory with its files.

    stamp(root, data_dir) -> Stamp                                before the profile is read
    remembered(root, data_dir) -> DistroProfile or None           what is kept, if nothing has changed
    remember(system, profile, data_dir, stamp) -> bool            keep it

Whoever loads a profile and may write (the runner) calls remember() after load(). It is for root only, like the
overrides it may come from; it contains no secret.
"""

from __future__ import annotations

import os

from waagent.distro import detect
from waagent.distro.profile import OVERRIDES, DistroProfile, directory
from waagent.system import kept
from waagent.system.files import under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.system import System

NAME = "profile"


def remembered(root: str, data_dir: str) -> DistroProfile | None:
    """The profile of an earlier start, if nothing that it depends on has changed."""
    value = kept.read(root, NAME, stamp(root, data_dir))
    try:
        return value and DistroProfile(
            value["name"],
            value["id"],
            value["version"],
            value["names"],
            value["data"],
            value["origins"],
            value["problems"],
        )
    except (KeyError, TypeError):
        return None


def remember(system: System, profile: DistroProfile, data_dir: str, made_from: kept.Stamp | None = None) -> bool:
    """Keep the profile for the next start in this boot; true if the file changed."""
    value = {
        "name": profile.name,
        "id": profile.id,
        "version": profile.version,
        "names": list(profile.names),
        "data": profile.as_dict(),
        "origins": profile.origins,
        "problems": list(profile.problems),
    }
    return kept.write(system, NAME, made_from or stamp(str(system.root), data_dir), value)


def stamp(root: str, data_dir: str) -> kept.Stamp:
    """What a profile is made from, and the code that makes it."""
    root = os.path.abspath(root)
    where = directory(data_dir)
    paths = [_below(root, path) for path in detect.OS_RELEASE]
    paths += [*kept.folder(_below(root, OVERRIDES)), where, *_profiles(where), os.path.dirname(__file__)]
    return kept.stamp(paths)


def _profiles(where: str) -> list[str]:
    return [path for path in kept.folder(where)[1:] if path.endswith(".yaml")]


def _below(root: str, path: str) -> str:
    try:
        return under(root, path)
    except OSError:
        return path
