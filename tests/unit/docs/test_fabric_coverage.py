"""docs/fabric-coverage.md and the tests name each other: every row its tests, every test of the wire its rows.

A test names rows by @pytest.mark.wire("3.4/410", …), or by a table whose keys are rows: parametrize("row", TABLE).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
PAGE = TOP / "docs/fabric-coverage.md"
ROW = re.compile(r"(?:1[01]|[39]|\d\.\d)/[\w.-]+")
COMPLETE = (
    "client_wire", "client_plugin", "client_edges", "requests", "files", "internet", "dhcp_exchange", "history",
    "simulator_other_agents",
)  # fmt: skip


def page() -> Iterator[tuple[str, str, str]]:
    """(row, what it says, tests or why there are none) of every line of a table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and cells[0] != "Row" and not cells[0].startswith("---"):
            assert len(cells) == 3, line
            yield cells[0], cells[1], cells[2]


def named(tests: str) -> set[str]:
    """{"protocol/test_client_wire test_versions", …} of a cell: a file holds for the names up to the next one."""
    found, file = set(), ""
    for test, other in re.findall(r"`(test_\w+)`|([\w/]+)(?= `)", tests):
        file = other or file
        if test:
            found.add(f"{file} {test}")
    return found


@cache
def held() -> dict[str, set[str]]:
    """Row -> the tests that name it; a test that names none is under ""."""
    found: dict[str, set[str]] = {"": set()}
    for path in sorted((TOP / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = dict(tables_of(tree))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = f"{path.relative_to(TOP / 'tests').with_suffix('')} {node.name}"
                for row in set(rows_of(node, tables)) or {""}:
                    found.setdefault(row, set()).add(name)
    return found


def tables_of(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def rows_of(test: ast.FunctionDef, tables: dict[str, ast.expr]) -> Iterator[str]:
    for decorator in test.decorator_list:
        for node in ast.walk(decorator):
            inside = ast.walk(tables[node.id]) if isinstance(node, ast.Name) and node.id in tables else [node]
            for one in inside:
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield from (word for word in one.value.split() if ROW.fullmatch(word))


def test_a_row_stands_in_one_place() -> None:
    rows = [row for row, _, _ in page()]
    assert sorted(row for row in rows if rows.count(row) > 1) == []
    assert [row for row in rows if not ROW.fullmatch(row)] == []
    assert [row for row, says, tests in page() if not says or not tests] == []


def test_every_row_names_the_tests_that_name_it() -> None:
    wrong = []
    for row, _, tests in page():
        missing, gone = held().get(row, set()) - named(tests), named(tests) - held().get(row, set())
        wrong += [f"{row} lacks {test}" for test in missing] + [f"{row} names {test}, which does not name it" for test in gone]
    assert wrong == []


def test_every_row_that_a_test_names_is_on_the_page() -> None:
    assert sorted(held().keys() - {row for row, _, _ in page()} - {""}) == []


@pytest.mark.parametrize("name", COMPLETE)
def test_every_test_of_the_wire_names_a_row(name: str) -> None:
    assert [test for test in sorted(held()[""]) if test.startswith(f"protocol/test_{name} ")] == []


def test_a_row_without_a_test_says_why() -> None:
    without = {row for row, _, tests in page() if not named(tests)}
    told = PAGE.read_text(encoding="utf-8").partition("\n## Rows without a test\n")[2]
    assert [row for row in sorted(without) if f"\n| {row} |" not in told] == []
