"""docs/fabric-coverage.md: which tests hold which row of the wire protocol.

    page()      (row, what it says, tests or why there are none) of every line of a table
    held()      row -> the tests that name it, {"protocol/test_client_wire": ["test_versions"]}; "" has all others
    written()   the page with the column of the tests as it has to be

A test names rows by @pytest.mark.wire("3.4/410", …), or by a table whose keys are rows: parametrize("row", TABLE).
Rows and what they say are written by hand; rows below WITHOUT say why nothing tests them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs/fabric-coverage.md"
WITHOUT = "## Rows without a test"
ROW = re.compile(r"(?:1[01]|[39]|\d\.\d)/[\w.-]+")
HEADS = ("Row", "---")


def page() -> Iterator[tuple[str, str, str]]:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if cells := _cells(line):
            yield cells


@cache
def held() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {"": {}}
    for path in sorted((TOP / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = dict(_tables(tree))
        file = str(path.relative_to(TOP / "tests").with_suffix(""))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for row in set(_rows(node, tables)) or {""}:
                    found.setdefault(row, {}).setdefault(file, []).append(node.name)
    return found


def written() -> str:
    lines, without = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        without = without or line == WITHOUT
        cells = None if without else _cells(line)
        lines.append(f"| {cells[0]} | {cells[1]} | {_named(cells[0])} |" if cells else line)
    return "\n".join(lines) + "\n"


def _named(row: str) -> str:
    files = sorted(held().get(row, {}).items())
    return ", ".join(f"{file} " + ", ".join(f"`{test}`" for test in tests) for file, tests in files) or "none"


def _cells(line: str) -> tuple[str, str, str] | None:
    parts = line.strip().strip("|").split("|")
    if not line.startswith("|") or parts[0].strip().startswith(HEADS) or len(parts) != 3:
        return None
    row, says, tests = (part.strip() for part in parts)
    return row, says, tests


def _tables(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _rows(test: ast.FunctionDef, tables: dict[str, ast.expr]) -> Iterator[str]:
    for decorator in test.decorator_list:
        for node in ast.walk(decorator):
            inside = ast.walk(tables[node.id]) if isinstance(node, ast.Name) and node.id in tables else [node]
            for one in inside:
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield from (word for word in one.value.split() if ROW.fullmatch(word))
