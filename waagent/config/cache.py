"""The configuration as it was read last, kept for this boot (waagent/system/kept.py).

    stamp(root, main, defaults) -> Stamp           before the files are read
    remembered(root, stamp) -> Config or None      what is kept, if nothing has changed
    remember(system, config, stamp) -> bool        keep it; it may hold a proxy's password

It is made from the main file, the directories of drop-ins with their files, the distribution's defaults, and the
table of options.
"""

from __future__ import annotations

import os

from waagent.config import dropins
from waagent.config.values import Config, from_json
from waagent.system import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from waagent.system import System

NAME = "config"


def stamp(root: str, main: str | None, defaults: Mapping[str, str], origin: str) -> kept.Stamp:
    """main: the configuration's file, None for the usual one; defaults and origin as parse.load() gets them."""
    paths = [os.path.dirname(__file__), _located(root, main or "/etc/waagent.conf")]
    for directory in dropins.DIRECTORIES:
        # Named as they are listed and located as they are read: a link may lead elsewhere below another root.
        real = os.path.join(os.path.abspath(root), directory[1:])
        listed = kept.folder(real)
        paths += [*listed, *(_located(root, f"{directory}/{os.path.basename(path)}") for path in listed[1:])]
    return kept.stamp(paths, main, dict(defaults), origin)


def remembered(root: str, made_from: kept.Stamp) -> Config | None:
    """The configuration of an earlier start."""
    value = kept.read(root, NAME, made_from)
    try:
        return from_json(value) if isinstance(value, str) else None
    except (ValueError, KeyError, TypeError):
        return None


def remember(system: System, config: Config, made_from: kept.Stamp) -> bool:
    """Keep it for the next start in this boot."""
    return kept.write(system, NAME, made_from, config.to_json())


def _located(root: str, path: str) -> str:
    try:
        return dropins.locate(root, path)
    except OSError:
        return path
