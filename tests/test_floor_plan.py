"""Who may import whom (docs/contributing.md): rooms, floors, and no circles between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
PACKAGE = TOP / "waagent"

# Lowest first. A room may import rooms of lower floors, and of its own floor only what SAME_FLOOR allows.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"system"}),
    frozenset({"config", "distro", "instance", "events"}),
    frozenset({"machine", "fabric"}),
    frozenset({"provisioning", "extensions", "telemetry", "logs", "update"}),
    frozenset({"module", "runner", "watcher"}),
    frozenset({"cli"}),
)
SAME_FLOOR = {("runner", "module")}
# The simulator stands apart: it imports nothing of the agent, and only the command line may start it.
APART = "simulator"
# Types alone, under TYPE_CHECKING, are no import at run time; they follow the same rule all the same.


def rooms() -> set[str]:
    names = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    return {name for name in names if not name.startswith("__") and name != "py"}


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything of the agent that a file imports, `from waagent import x` included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "waagent":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{file}:{node.lineno}: an import that climbs out of its room"
            if node.level == 1:  # the same room
                continue
            if node.module == "waagent":
                for alias in node.names:
                    yield node.lineno, f"waagent.{alias.name}"
            elif node.module and node.module.startswith("waagent."):
                yield node.lineno, node.module


def room_of(name: str) -> str | None:
    """The room a dotted name belongs to; None for the package itself (its version)."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].startswith("__") else None


def floor(room: str) -> int:
    for number, names in enumerate(FLOORS):
        if room in names:
            return number
    raise AssertionError(f"room {room!r} stands on no floor: put it into FLOORS")


def allowed(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    if importer == APART:
        return False
    if imported == APART:
        return importer == "cli"
    return floor(imported) < floor(importer) or (importer, imported) in SAME_FLOOR


def test_every_room_stands_on_a_floor() -> None:
    for room in rooms() - {APART}:
        floor(room)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(TOP)))
def test_rooms_import_downwards_only(file: Path) -> None:
    parts = file.relative_to(PACKAGE).parts
    importer = parts[0].removesuffix(".py") if len(parts) == 1 else parts[0]
    if importer == "__init__":
        assert not list(imports(file)), "waagent/__init__.py imports nothing: every process pays for it"
        return
    for line, name in imports(file):
        room = room_of(name)
        assert room is None or allowed(importer, room), f"{file}:{line}: {importer} may not import {name}"


@pytest.mark.parametrize(
    "file", sorted((TOP / "modules").glob("*/*.py")), ids=lambda path: str(path.relative_to(TOP / "modules"))
)
def test_modules_import_the_contract_and_mechanisms_only(file: Path) -> None:
    for line, name in imports(file):
        room = room_of(name)
        assert room is None or room == "module" or floor(room) <= 4, f"{file}:{line}: a step may not import {name}"


def test_the_plan_catches_what_it_forbids() -> None:
    assert not allowed("machine", "fabric")
    assert not allowed("fabric", "machine")
    assert not allowed("system", "config")
    assert not allowed("module", "runner")
    assert not allowed("simulator", "errors")
    assert not allowed("extensions", "provisioning")
    assert allowed("runner", "module")
    assert allowed("cli", "simulator")
