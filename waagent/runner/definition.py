"""What a stage is: stages/<stage>.yaml, read and checked.

    summary      one line
    order        int; stages run in this order
    unit         the systemd unit that runs it (data/systemd holds it; a test holds the two together)
    after        stages that must have run before in this boot
    runs         boot, or timer
    sources      where its facts may come from: smbios, media, fabric, metadata
    budget       duration for the whole stage; when it is over the steps left are failures
    on-failure   continue or stop: what a failed step does to the steps after it, unless the step says otherwise
    steps        {name: {limit: …, on-failure: …}} only where a step departs from its own declaration

It does not list its steps: the directories do. An admin's copy in /etc/waagent/stages/ replaces the shipped one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from waagent.errors import StageError
from waagent.runner import durations, places
from waagent.system import System
from waagent.system.vendor import vendor_directory

KEYS = ("summary", "order", "unit", "after", "runs", "sources", "budget", "on-failure", "steps")
STEP_KEYS = ("limit", "on-failure")
# The facts each source fills; a step of a stage without the source may not publish them.
SOURCES = {"smbios": "vm", "media": "ovf", "fabric": "fabric", "metadata": "imds"}
ADMIN_DIRECTORY = "/etc/waagent/stages"


@dataclass(frozen=True)
class Departure:
    """What a stage file changes about one step; None where it keeps the step's own word."""

    limit: float | None = None
    on_failure: str | None = None


@dataclass(frozen=True)
class Stage:
    name: str
    summary: str
    order: int
    unit: str
    after: tuple[str, ...] = ()
    runs: str = "boot"
    sources: tuple[str, ...] = ()
    budget: float = 300.0
    on_failure: str = "continue"
    steps: dict[str, Departure] = field(default_factory=dict)

    def may_publish(self, key: str) -> bool:
        """Whether a step of this stage may set the fact `key`: no source's facts but its own stage's sources'."""
        tree = key.split(".", 1)[0]
        return all(tree != facts or source in self.sources for source, facts in SOURCES.items())


def load(system: System, name: str) -> Stage:
    """Read a stage's file, the admin's before the shipped one. Raises StageError with file and key."""
    if name not in places.STAGES:
        raise StageError(f"there is no stage {name!r}: the stages are {', '.join(places.STAGES)}")
    admin = str(system.path(f"{ADMIN_DIRECTORY}/{name}.yaml"))
    shipped = os.path.join(vendor_directory(system), "stages", f"{name}.yaml")
    file = admin if os.path.exists(admin) else shipped
    try:
        with open(file, "rb") as stream:
            text = stream.read(65536)
    except OSError as error:
        raise StageError(f"cannot read the stage file {file}: {error.strerror}", file=file) from error
    return parse(name, text, file)


def parse(name: str, text: bytes, file: str) -> Stage:
    """Make a Stage of a YAML text. Raises StageError that names file, key and what would be right."""
    import yaml

    try:
        fields = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise StageError(f"{file}: not YAML: {' '.join(str(error).split())}", file=file) from error
    if not isinstance(fields, dict):
        raise StageError(f"{file}: expected a mapping with the keys {', '.join(KEYS)}", file=file)
    _only(file, "", fields, KEYS)
    for key in ("summary", "unit"):
        if not isinstance(fields.get(key), str):
            raise StageError(f"{file}: {key}: expected a text", file=file, key=key)
    order = fields.get("order")
    if not isinstance(order, int) or isinstance(order, bool):
        raise StageError(f"{file}: order: expected a whole number", file=file, key="order")
    after = _texts(file, fields, "after")
    for other in after:
        if other not in places.STAGES or other == name:
            raise StageError(f"{file}: after: {other!r} is no other stage", file=file, key="after")
    sources = _texts(file, fields, "sources")
    for source in sources:
        if source not in SOURCES:
            raise StageError(
                f"{file}: sources: {source!r} is not one of {', '.join(SOURCES)}", file=file, key="sources"
            )
    return Stage(
        name=name,
        summary=fields["summary"],
        order=order,
        unit=fields["unit"],
        after=after,
        runs=_choice(file, fields, "runs", ("boot", "timer"), "boot"),
        sources=sources,
        budget=_duration(file, "budget", fields.get("budget", "5m")),
        on_failure=_choice(file, fields, "on-failure", ("continue", "stop"), "continue"),
        steps=_departures(file, fields.get("steps") or {}),
    )


def _departures(file: str, fields: Any) -> dict[str, Departure]:
    if not isinstance(fields, dict):
        raise StageError(f"{file}: steps: expected a mapping of step names", file=file, key="steps")
    found = {}
    for step, words in fields.items():
        if not isinstance(words, dict):
            raise StageError(f"{file}: steps.{step}: expected a mapping with {', '.join(STEP_KEYS)}", file=file)
        _only(file, f"steps.{step}.", words, STEP_KEYS)
        limit = _duration(file, f"steps.{step}.limit", words["limit"]) if "limit" in words else None
        rule = _choice(file, words, "on-failure", ("continue", "stop"), "") or None
        found[str(step)] = Departure(limit, rule)
    return found


def _only(file: str, where: str, fields: dict[Any, Any], known: tuple[str, ...]) -> None:
    import difflib

    for key in fields:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = f", did you mean {near[0]!r}" if near else f"; known are {', '.join(known)}"
            raise StageError(f"{file}: unknown key {where}{key}{meant}", file=file, key=str(key))


def _texts(file: str, fields: dict[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key) or []
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise StageError(f"{file}: {key}: expected a list of names", file=file, key=key)


def _choice(file: str, fields: dict[str, Any], key: str, choices: tuple[str, ...], default: str) -> str:
    value = fields.get(key, default)
    if value != default and value not in choices:
        raise StageError(f"{file}: {key}: {value!r} is not one of {', '.join(choices)}", file=file, key=key)
    return str(value)


def _duration(file: str, key: str, value: object) -> float:
    try:
        return durations.seconds(value)
    except ValueError as error:
        raise StageError(f"{file}: {key}: {error}", file=file, key=key) from error
