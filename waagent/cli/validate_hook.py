"""What is wrong with a hook or module: check(file, content, system) -> [(line, sentence, is it only a note)].

The rules are those by which the engine refuses files, plus what it could only find out by running them: an
interpreter that is not there, line ends of another system, a syntax error.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

from waagent.errors import StageError
from waagent.runner import declaration, places, refusal, steps
from waagent.system import System

# Interpreters that can check a program without running it.
SYNTAX = {"sh": "-n", "bash": "-n", "dash": "-n", "ash": "-n", "ksh": "-n", "zsh": "-n", "perl": "-c", "ruby": "-c"}

Found = tuple[int, str, bool]


def check(file: str, content: bytes, system: System) -> list[Found]:
    """All that is wrong, or worth knowing."""
    path = os.path.realpath(file)
    name = os.path.basename(file)
    reason = refusal.of_name(name)
    if reason is not None:
        return [(0, reason, False)]
    if not content:
        return [(0, f"empty: it masks the step {_name(name)!r} of a lower directory", True)]
    found = [*_permissions(path, system, program=not name.endswith(".py"))]
    found += _python(content, file) if name.endswith(".py") else _program(content, path)
    found += _place(file, system)
    return found


def _permissions(path: str, system: System, *, program: bool) -> Iterator[Found]:
    """Owner and mode; where the engine looks for steps, also of the directories above."""
    folder = os.path.dirname(path)
    at_home = _is_place(folder, system)
    reason = refusal.of_file(path, system.root if at_home else folder, program=program)
    if reason is not None:
        yield (0, reason, False)
    reason = refusal.of_directory(folder, system.root) if at_home else None
    if reason is not None:
        yield (0, reason, False)


def _is_place(folder: str, system: System) -> bool:
    stage = os.path.basename(folder)
    return any(os.path.realpath(place.real) == folder for place in places.step_places(system, stage))


def _python(content: bytes, file: str) -> Iterator[Found]:
    try:
        declared = declaration.of_python(content, file)
    except StageError as error:
        at = re.search(r"line (\d+)", error.message)
        line = int(at[1]) if at else _line_of(content, rb"^MODULE\b")
        yield (line, re.sub(r"^line \d+: ", "", error.message), False)
        return
    if not declared.module.summary:
        yield (_line_of(content, rb"^MODULE\b"), "MODULE has no summary; `waagent steps` would show none", True)
    if content.startswith(b"#!"):
        yield (1, "a Python step is loaded by the agent, so its #! line means nothing", True)


def _program(content: bytes, path: str) -> Iterator[Found]:
    first = content.split(b"\n", 1)[0]
    if not first.startswith(b"#!"):
        if not content.startswith(b"\x7fELF"):
            yield (1, "no interpreter line; begin it with #!/bin/sh or the like", False)
        return
    if first.endswith(b"\r"):
        yield (1, "its first line ends in a carriage return; convert line ends (sed -i 's/\\r$//')", False)
        return
    words = first[2:].split()
    interpreter = words[0].decode("utf-8", "replace") if words else ""
    if not interpreter or not os.path.exists(interpreter):
        yield (1, f"interpreter {interpreter or '(none)'} not found", False)
        return
    line = _line_of(content, rb"^[ \t]*(?:#|//|--|;|%)[ \t]*waagent:")
    if line:
        yield from _header(content, path, line)
    if os.path.basename(interpreter) == "env" and len(words) > 1:
        interpreter = words[1].decode("utf-8", "replace")
    yield from _syntax(interpreter, path)


def _header(content: bytes, path: str, line: int) -> Iterator[Found]:
    try:
        declared = declaration.of_program(content, path, None)
    except StageError as error:
        yield (line, error.message, False)
        return
    if content.find(b"waagent:") >= declaration.HEAD:
        yield (line, f"the header is not read: it has to stand in the first {declaration.HEAD} bytes", False)
    elif not declaration.has_header(content):
        yield (line, "this line looks like a header and is none: write # waagent: {key: value, …}", False)
    elif declared.module.on and declared.module.every is None and declared.module.frequency == "per-boot":
        yield (line, "with frequency per-boot it runs at the first event of a boot alone; say always", True)


def _syntax(interpreter: str, path: str) -> Iterator[Found]:
    option = SYNTAX.get(os.path.basename(interpreter))
    if option is None:
        return
    try:
        ran = subprocess.run(
            [interpreter, option, path], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if ran.returncode:
        told = (ran.stderr or ran.stdout).decode("utf-8", "replace").strip().splitlines() or ["syntax error"]
        at = re.search(r"(?:line |:\s*)(\d+)", told[0].replace(path, ""))
        yield (int(at[1]) if at else 0, f"{os.path.basename(interpreter)} cannot parse it: {told[0]}", False)


def _place(file: str, system: System) -> Iterator[Found]:
    """What the file does in the stage whose directory it lies in."""
    folder = os.path.dirname(os.path.abspath(file))
    stage = os.path.basename(folder)
    if not _is_place(os.path.realpath(folder), system):
        return
    if stage not in places.EVERY_STAGE and not stage.startswith("on-"):
        told = f"there is no stage {stage!r}, so it never runs: the stages are {', '.join(places.EVERY_STAGE)}"
        yield (0, told, False)
        return
    listing = steps.discover(system, stage)
    name = _name(os.path.basename(file))
    for step in listing.steps:
        if step.name == name and os.path.basename(step.path) == os.path.basename(file):
            yield from ((0, f"replaces {lower}", True) for lower in step.replaces)
            yield from ((0, note, False) for note in listing.notes if note.startswith(f"{step.path}:"))
    for refused in listing.refused:
        if os.path.basename(refused.path) == os.path.basename(file) and "times:" in refused.reason:
            yield (0, refused.reason, False)


def _name(file: str) -> str:
    match = refusal.NAME.match(file)
    return match["name"] if match else file


def _line_of(content: bytes, pattern: bytes) -> int:
    match = re.search(pattern, content, re.MULTILINE)
    return content.count(b"\n", 0, match.start()) + 1 if match else 0
