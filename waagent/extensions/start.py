"""What is done for handlers that are on disk already when the agent has been started anew.

Every HandlerEnvironment.json is written again, so that handlers learn of what a newer agent offers, and a missing
events folder is made. State files where agents before 2.2 kept them move to where they belong. Where Lib.Dir is not
the habitual directory, that one becomes a link to it: handlers have its name written into them.

Source: extensions 2.5, 4.10.
"""

from __future__ import annotations

import os
import shutil

from waagent.errors import SystemRefused
from waagent.extensions import handler as handlers
from waagent.extensions.layout import LIB, Layout, split
from waagent.extensions.observe import observe
from waagent.system import System
from waagent.system.files import under

# The record of effects, and what brings the firewall back before any configuration is read.
ALWAYS_THERE = ("effects.", "firewall.")


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


def link_habitual(system: System, layout: Layout) -> list[str]:
    """Have /var/lib/waagent lead to Lib.Dir, with what the agent keeps there in any case.

    Other files stay where they are, and the line that is returned tells of them.
    """
    if layout.lib == LIB:
        return []
    real, quiet = under(system.root, LIB, follow_last=False), system.quietly()
    try:
        if os.path.islink(real):
            there = os.readlink(real)
            if there != layout.lib:
                return [f"{LIB} leads to {there}, not to {layout.lib}; handlers that name it look there"]
        else:
            foreign = [file for file in system.listing(LIB) if not file.startswith(ALWAYS_THERE)]
            if foreign:
                then = f"so it stays; handlers that name it do not look into {layout.lib}"
                return [f"{LIB} holds {foreign[0]}, {then}"]
            _carry(system, LIB, layout.lib)
            quiet.remove_tree(LIB)  # quietly: what is noted is written into this very directory
            system.link(LIB, layout.lib)
    except (SystemRefused, OSError) as error:
        return [f"cannot make {LIB} a link to {layout.lib}: {error}"]
    return []


def _carry(system: System, old: str, new: str) -> None:
    """Add the files of a directory to those of another one."""
    for file in system.listing(old):
        source, target = str(system.path(f"{old}/{file}")), str(system.path(f"{new}/{file}"))
        if not os.path.exists(target):
            shutil.copy2(source, target)
        elif file.endswith(".jsonl"):
            with open(source, "rb") as lines, open(target, "ab") as whole:
                whole.write(lines.read())


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
                    system.write(target, system.read_foreign(path, handlers.MANIFEST_LIMIT), mode=0o600)
        system.remove_tree(old)
    except (SystemRefused, OSError) as error:
        troubles.append(f"cannot move the old states in {old}: {error}")
