"""What is on disk: every directory NAME-VER that is a handler's, with its state and its enabled instances.

A directory counts as a handler's when an agent has left its mark there (config/HandlerState or HandlerStatus, or
HandlerEnvironment.json); anything else in LIB is never looked at again. Whose agent that was, ours.py knows.
Without its manifest no command of it can run: whatever its state says, it is to be installed anew, or just removed.
What cannot be looked at in a directory counts as absent there, and hides nothing of the other directories.

Source: extensions 2.3, 4.9.
"""

from __future__ import annotations

from collections.abc import Mapping

from waagent.extensions import handler as handlers
from waagent.extensions.layout import Layout, split, split_package
from waagent.extensions.plan import Observed, OnDisk, Update
from waagent.system import System


def observe(system: System, layout: Layout, updates: Mapping[str, Update] | None = None) -> Observed:
    found = []
    for directory in system.listing(layout.lib):
        parts = split(directory)
        if parts is None or not _is_marked(system, layout, *parts):
            continue
        name, version = parts
        state = handlers.read_state(system, layout, name, version)
        if not system.exists(layout.manifest(name, version)):
            state = handlers.NOT_INSTALLED
        instances = handlers.instances(system, layout, name, version)
        enabled = frozenset(one for one in instances if instances[one])
        checked = system.exists(layout.validated(name, version))
        found.append(OnDisk(name, version, state, enabled, frozenset(instances) - enabled, checked))
    return Observed(tuple(found), dict(updates or {}))


def _is_marked(system: System, layout: Layout, name: str, version: str) -> bool:
    marks = (layout.state(name, version), layout.handler_status(name, version), layout.environment(name, version))
    return any(system.exists(mark) for mark in marks)


def packages(system: System, layout: Layout) -> list[tuple[str, str]]:
    """Name and version of every package file that lies in LIB."""
    parts = [split_package(file) for file in system.listing(layout.lib)]
    return [part for part in parts if part is not None]
