"""Which handlers are this agent's: those that a goal state has named while it was in charge.

LIB/extensions/ours.json, {"names": [NAME, …]}. A handler is written down before anything of it is created or, when
another agent has left it behind, taken over; it is struck out when the goal state does not name it any more and
nothing of it is left. Directories of other names may be another agent's, whatever marks they bear: they are not
deleted. A record that cannot be read claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from waagent.extensions.journal import read_json, save_json
from waagent.extensions.layout import Layout
from waagent.system import System


def read(system: System, layout: Layout) -> frozenset[str]:
    names = read_json(system, layout.ours).get("names")
    return frozenset(one for one in names if isinstance(one, str)) if isinstance(names, list) else frozenset()


def write(system: System, layout: Layout, names: Iterable[str]) -> None:
    """Have these names on record. Raises SystemRefused."""
    if frozenset(names) != read(system, layout):
        save_json(system, layout, layout.ours, {"names": sorted(names)})
