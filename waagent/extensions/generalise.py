"""What an image must not take along: settings, statuses and sequence numbers of this machine's extensions.

The handlers stay installed: a machine made from the image enables them without installing, and number 0 counts as
new there. What is kept is their directories, HandlerState, and the record that they are this agent's.

Source: extensions 2.6.
"""

from __future__ import annotations

from waagent.extensions.layout import Layout
from waagent.extensions.observe import observe
from waagent.system import System


def forget(system: System, layout: Layout) -> list[str]:
    """Returns the paths that were removed."""
    removed: list[str] = []
    for one in observe(system, layout).handlers:
        paths = [layout.sequence(one.name, one.version), layout.handler_status(one.name, one.version)]
        for folder, ending in (
            (layout.config(one.name, one.version), ".settings"),
            (layout.status(one.name, one.version), ".status"),
        ):
            paths += [f"{folder}/{file}" for file in system.listing(folder) if file.endswith(ending)]
        removed += [path for path in paths if system.remove(path)]
    for file in system.listing(layout.own):
        path = f"{layout.own}/{file}"
        if path != layout.ours and system.remove_tree(path):
            removed.append(path)
    return removed
