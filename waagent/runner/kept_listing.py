"""A stage and its steps as they were found last, for a stage that runs again and again in one boot.

Finding them anew means to parse each Python step and the stage's YAML. What was found is kept
(waagent/system/kept.py) for as long as nothing has changed: the stage's files, the directories of steps, the files
in them, and who may write to the directories above them. Where a step is a link it is found anew each time.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from waagent.module import Module
from waagent.runner import definition, places, steps
from waagent.runner.definition import Departure, Stage
from waagent.runner.steps import Listing, Masked, Refused, Step
from waagent.system import System, kept
from waagent.system.vendor import vendor_directory


def find(system: System, name: str) -> tuple[Stage, Listing]:
    """The stage and its steps; the listing `is_news` when it was not kept. StageError for an unusable one."""
    made_from = _stamp(system, name) if name in places.REPEATED and not system.planning else None
    if made_from is not None:
        found = _of(kept.read(system.root, f"stage.{name}", made_from))
        if found is not None:
            return found
    stage, odd = definition.load(system, name)
    listing = steps.discover(system, name)
    if odd:
        listing = dataclasses.replace(listing, notes=(odd, *listing.notes))
    if made_from is not None:
        value = {"stage": dataclasses.asdict(stage), "listing": dataclasses.asdict(listing)}
        kept.write(system, f"stage.{name}", made_from, value)
    return stage, listing


def _stamp(system: System, name: str) -> kept.Stamp | None:
    """What both are made from; None where that cannot be told by looking at the files alone."""
    vendor = vendor_directory(system)
    admin = os.path.join(system.root, definition.ADMIN_DIRECTORY[1:], f"{name}.yaml")
    paths = [os.path.dirname(__file__), admin, os.path.join(vendor, "stages", f"{name}.yaml")]
    above: list[Any] = []
    for place in places.step_places(system, name):
        listed = kept.folder(place.real)
        if any(os.path.islink(path) and os.readlink(path) != "/dev/null" for path in listed):
            return None
        paths += listed
        above += _above(place.top, place.real)
    return kept.stamp(paths, above)


def _above(top: str, real: str) -> list[list[Any]]:
    """Owner and mode of the directories down to this one: they change with every file that is put there."""
    if not os.path.lexists(real):
        return []
    found = []
    path = real
    while path not in (top, "/"):
        path = os.path.dirname(path)
        try:
            status = os.lstat(path)
            found.append([path, status.st_mode, status.st_uid])
        except OSError:
            found.append([path, 0, 0])
    try:
        found.append([real, os.statvfs(real).f_flag, 0])  # noexec refuses every program
    except OSError:
        found.append([real, 0, 0])
    return found


def _of(value: Any) -> tuple[Stage, Listing] | None:
    """Both, of what was kept."""
    try:
        stage, listing = value["stage"], value["listing"]
        departures = {name: Departure(**words) for name, words in stage.pop("steps").items()}
        return (
            Stage(**_tuples(stage), steps=departures),
            Listing(
                listing["stage"],
                tuple(_step(words) for words in listing["steps"]),
                tuple(Masked(**_tuples(words)) for words in listing["masked"]),
                tuple(Refused(**words) for words in listing["refused"]),
                tuple(listing["notes"]),
                is_news=False,
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _step(words: dict[str, Any]) -> Step:
    module = Module(**_tuples(words.pop("module")))
    return Step(module=module, **_tuples(words))


def _tuples(words: dict[str, Any]) -> dict[str, Any]:
    """What JSON made lists of."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in words.items()}
