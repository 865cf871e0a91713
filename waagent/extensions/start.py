"""What is done for handlers that are on disk already when the agent has been started anew.

Every HandlerEnvironment.json is written again, so that handlers learn of what a newer agent offers, and a missing
events folder is made. State files where agents before 2.2 kept them move to where they belong.

Source: extensions 2.5, 4.10.
"""

from __future__ import annotations

from waagent.errors import SystemRefused
from waagent.extensions import handler as handlers
from waagent.extensions.layout import Layout, split
from waagent.extensions.observe import observe
from waagent.system import System


def refresh(system: System, layout: Layout) -> list[str]:
    """Returns what could not be done, one line each."""
    troubles: list[str] = []
    _move_old_states(system, layout, troubles)
    for one in observe(system, layout).handlers:
        if not system.exists(layout.manifest(one.name, one.version)):
            continue
        try:
            handlers.write_environment(system, layout, one.name, one.version)
        except SystemRefused as error:
            troubles.append(str(error))
    return troubles


def _move_old_states(system: System, layout: Layout, troubles: list[str]) -> None:
    old = f"{layout.lib}/handler_state"
    if not system.is_directory(old):
        return
    try:
        for directory in system.listing(old):
            parts = split(directory)
            if parts is None or not system.is_directory(layout.base(*parts)):
                continue
            for source, target in (("state", layout.state(*parts)), ("status", layout.handler_status(*parts))):
                path = f"{old}/{directory}/{source}"
                if system.exists(path) and not system.exists(target):
                    handlers.make_folders(system, layout, *parts)
                    system.write(target, system.read(path), mode=0o600)
        system.remove_tree(old)
    except (SystemRefused, OSError) as error:
        troubles.append(f"cannot move the old states in {old}: {error}")
