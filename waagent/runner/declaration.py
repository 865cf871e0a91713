"""What a step's file says about itself, read without running any of it.

A Python step is parsed, and the literal arguments of its `MODULE = Module(…)` are taken. A program may carry one
header line near its top, a YAML flow mapping behind a comment sign:

    # waagent: {frequency: per-instance, limit: 30s, before: hostname, on-failure: stop}

keys: summary, frequency, every, watching, on, when, limit, on-failure, before, after, secrets, distros.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from typing import Any, NamedTuple

from waagent.errors import StageError
from waagent.module import Module
from waagent.runner import durations

HEAD = 4096
_HEADER = re.compile(rb"^[ \t]*(?:#|//|--|;|%)[ \t]*waagent:[ \t]*(\{.*\})[ \t]*\r?$", re.MULTILINE)
KEYS = (
    "summary", "frequency", "every", "watching", "on", "when", "limit", "on-failure", "before", "after", "secrets",
    "distros",
)  # fmt: skip
_LISTS = ("watching", "on", "when", "secrets", "distros", "reads", "imports")


class Declaration(NamedTuple):
    """A Module, and the step it wants to stand before or after."""

    module: Module
    before: str = ""
    after: str = ""


def of_python(source: bytes, file: str) -> Declaration:
    """Take MODULE out of a Python step. Raises StageError when it is missing or not written with literals."""
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise StageError(f"not Python: {error.args[0]}" + (f" (line {line})" if line else ""), file=file) from error
    found: ast.Call | None = None
    has_run = False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            has_run = True
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "MODULE":
            value = getattr(node, "value", None)
            found = value if isinstance(value, ast.Call) else None
    if found is None or not has_run:
        raise StageError("a Python step needs MODULE = Module(…) and run(ctx); see waagent.module", file=file)
    if found.args:
        raise StageError(f"line {found.lineno}: write Module(…) with names only: Module(summary=…)", file=file)
    words: dict[str, Any] = {}
    for keyword in found.keywords:
        try:
            words[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError as error:
            raise StageError(
                f"line {keyword.value.lineno}: {keyword.arg} of MODULE has to be a literal, so that steps can be "
                "listed without running them",
                file=file,
            ) from error
    return Declaration(_module(words, file))


def of_program(head: bytes, file: str, inherited: Module | None, limit: float = 60.0) -> Declaration:
    """Take the header out of a program's first 4 KiB.

    A program that replaces a module has that module's declaration but for what its header says; `limit` is what
    holds where neither says it. Raises StageError for a header that cannot be used.
    """
    base = inherited or Module(summary="", limit=limit)
    match = _HEADER.search(head[:HEAD])
    if match is None:
        return Declaration(base)
    import yaml

    try:
        words = yaml.load(match.group(1), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError) as error:
        raise StageError(f"its waagent header is not a YAML mapping: {' '.join(str(error).split())}") from error
    unknown = [str(key) for key in words if key not in KEYS]
    if unknown:
        raise StageError(f"its waagent header has an unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
    before, after = str(words.pop("before", "")), str(words.pop("after", ""))
    if "on-failure" in words:
        words["on_failure"] = words.pop("on-failure")
    fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    return Declaration(_module({**fields, **words}, file), before, after)


def has_header(content: bytes) -> bool:
    """Whether a program carries a header line that counts."""
    return _HEADER.search(content[:HEAD]) is not None


def _module(words: dict[str, Any], file: str) -> Module:
    for key in _LISTS:
        if isinstance(words.get(key), str):
            words[key] = (words[key],)
        elif key in words:
            words[key] = tuple(str(item) for item in words[key])
    try:
        if "limit" in words:
            words["limit"] = durations.seconds(words["limit"])
        every = words.get("every")
        if isinstance(every, str) and every[:1].isdigit():
            words["every"] = int(durations.seconds(every))
        return Module(**words)
    except (TypeError, ValueError) as error:
        told = str(error).replace("__init__() ", "").replace("Module.", "")
        raise StageError(f"its declaration cannot be used: {told}", file=file) from error
