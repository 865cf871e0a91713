"""What a stage is: stages/<stage>.yaml, read and checked.

    summary      one line
    order        int; stages run in this order
    unit         the systemd unit that runs it (data/systemd holds it; a test holds the two together); a stage that
                 runs on demand has none
    after        stages that must have run before in this boot
    runs         boot, timer, or demand (by a verb of its own; each of its steps runs every time)
    sources      where its facts may come from: smbios, media, fabric, metadata
    budget       duration for the whole stage; when it is over the steps left are failures
    on-failure   continue or stop: what a failed step does to the steps after it, unless the step says otherwise
    steps        {name: {limit: …, on-failure: …}} only where a step departs from its own declaration

It does not list its steps: the directories do. An admin's copy in /etc/waagent/stages/ replaces the shipped one,
unless it cannot be used: then the shipped one counts, and the stage says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from waagent.errors import StageError
from waagent.module import FAILURE_RULES
from waagent.runner import durations, places
from waagent.system import System
from waagent.system.vendor import vendor_directory

KEYS = ("summary", "order", "unit", "after", "runs", "sources", "budget", "on-failure", "steps")
STEP_KEYS = ("limit", "on-failure")
RUNS = ("boot", "timer", "demand")
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


def load(system: System, name: str) -> tuple[Stage, str]:
    """Read a stage's file, the admin's before the shipped one; "" or why the admin's does not count.

    Raises StageError with file, line and key where the shipped file cannot be used.
    """
    if name not in places.EVERY_STAGE:
        raise StageError(f"there is no stage {name!r}: the stages are {', '.join(places.EVERY_STAGE)}")
    admin = f"{ADMIN_DIRECTORY}/{name}.yaml"
    odd = ""
    real = str(system.path(admin))
    if os.path.exists(real):
        try:
            return parse(name, _text(real), admin), ""
        except StageError as error:
            odd = f"{error.message}; the shipped stage file counts instead"
    shipped = os.path.join(vendor_directory(system), "stages", f"{name}.yaml")
    return parse(name, _text(shipped), shipped), odd


def _text(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(65536)
    except OSError as error:
        raise StageError(f"cannot read the stage file {file}: {error.strerror}", file=file) from error


def parse(name: str, text: bytes, file: str) -> Stage:
    """Make a Stage of a YAML text. Raises StageError that names file, line, key and what would be right."""
    fields, found = check(name, text)
    if found:
        line, key, told = found[0]
        raise StageError(f"{file}:{line}: {told}", file=file, line=line, key=key)
    return Stage(
        name=name,
        summary=fields["summary"],
        order=fields["order"],
        unit=fields.get("unit", ""),
        after=_texts(fields.get("after")) or (),
        runs=fields.get("runs", "boot"),
        sources=_texts(fields.get("sources")) or (),
        budget=durations.seconds(fields.get("budget", "5m")),
        on_failure=fields.get("on-failure", "continue"),
        steps={
            str(step): Departure(
                durations.seconds(words["limit"]) if "limit" in words else None, words.get("on-failure")
            )
            for step, words in (fields.get("steps") or {}).items()
        },
    )


def check(name: str, text: bytes) -> tuple[dict[str, Any], list[tuple[int, str, str]]]:
    """The mapping of a stage file, and all that is wrong with it: line, key, sentence."""
    import yaml

    try:
        fields = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        told = " ".join(str(getattr(error, "problem", None) or error).split())
        return {}, [(mark.line + 1 if mark else 1, "", f"not YAML: {told}")]
    if not isinstance(fields, dict):
        return {}, [(1, "", f"expected a mapping with the keys {', '.join(KEYS)}")]
    wrong = list(_wrong(name, fields))
    lines = _lines(text) if wrong else {}
    return fields, sorted((lines.get(key, lines.get(key.rpartition(".")[0], 1)), key, told) for key, told in wrong)


def _wrong(name: str, fields: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """Each key that cannot be used, with a sentence that begins with it."""
    yield from _unknown("", fields, KEYS)
    for key in ("summary", "unit"):
        if key == "unit" and key not in fields and fields.get("runs") == "demand":
            continue
        if not isinstance(fields.get(key), str):
            yield key, f"{key}: expected a text"
    order = fields.get("order")
    if not isinstance(order, int) or isinstance(order, bool):
        yield "order", "order: expected a whole number"
    after = _texts(fields.get("after"))
    if after is None:
        yield "after", "after: expected a list of names"
    for other in after or ():
        if other not in places.STAGES or other == name:
            yield "after", f"after: {other!r} is no other stage"
        elif name in places.STAGES and places.STAGES.index(other) > places.STAGES.index(name):
            yield "after", f"after: {other!r} itself comes after {name}: a circle"
    sources = _texts(fields.get("sources"))
    if sources is None:
        yield "sources", "sources: expected a list of names"
    for source in sources or ():
        yield from _choice("sources", source, tuple(SOURCES))
    yield from _choice("runs", fields.get("runs", "boot"), RUNS)
    yield from _choice("on-failure", fields.get("on-failure", "continue"), FAILURE_RULES)
    yield from _duration("budget", fields.get("budget", "5m"))
    yield from _wrong_steps(fields.get("steps") or {})


def _wrong_steps(steps: object) -> Iterator[tuple[str, str]]:
    if not isinstance(steps, dict):
        yield "steps", "steps: expected a mapping of step names"
        return
    for step, words in steps.items():
        if not isinstance(words, dict):
            yield f"steps.{step}", f"steps.{step}: expected a mapping with {', '.join(STEP_KEYS)}"
            continue
        yield from _unknown(f"steps.{step}.", words, STEP_KEYS)
        yield from _duration(f"steps.{step}.limit", words.get("limit", "1s"))
        yield from _choice(f"steps.{step}.on-failure", words.get("on-failure", "continue"), FAILURE_RULES)


def _unknown(where: str, fields: dict[Any, Any], known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    import difflib

    for key in fields:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            meant = f", did you mean {near[0]!r}" if near else f"; known are {', '.join(known)}"
            yield f"{where}{key}", f"unknown key {where}{key}{meant}"


def _choice(key: str, value: object, choices: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if value not in choices:
        yield key, f"{key}: {value!r} is not one of {', '.join(choices)}"


def _duration(key: str, value: object) -> Iterator[tuple[str, str]]:
    try:
        durations.seconds(value)
    except ValueError as error:
        yield key, f"{key}: {error}"


def _texts(value: object) -> tuple[str, ...] | None:
    """A list of names, or one name; None for anything else."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return () if not value else None


def _lines(text: bytes) -> dict[str, int]:
    """The line of each key, nested ones under dotted names."""
    import yaml

    found: dict[str, int] = {}

    def walk(node: Any, above: str) -> None:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            found[f"{above}{key.value}"] = key.start_mark.line + 1
            walk(value, f"{above}{key.value}.")

    walk(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return found
