"""The scenario lists: every row is held by a test that carries it, @pytest.mark.row(list, number, …).

Marks are read from the sources, so that a row held only by tests in guests counts as well.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[2]
# The lists, and how many rows each has.
LISTS = {"provisioning": 98, "guest-operations": 80, "extensions": 127, "field-demands": 172}
# Lists of which every row is held; of provisioning, those that wait for the work that they ask for.
COMPLETE = ("provisioning", "extensions")
OUTSTANDING: dict[str, frozenset[int]] = {"provisioning": frozenset(), "extensions": frozenset()}
# Demands about accounts, disks, network, boot order, provisioning, deprovisioning and extensions: each is held by a test, or
# there is a reason in docs/rationale.md, under these words.
DEMANDS = (
    4, *range(18, 32), *range(33, 63), *range(66, 76), 86, *range(89, 100), 103, 104, 110, *range(119, 139), 143,
    *range(147, 150), 155, 156, 157, 161, *range(163, 167), 172,
)  # fmt: skip
REASONS = {
    33: "no metric", 34: "no name server of a second interface", 35: "no secondary address", 36: "no hot-plug",
    93: "To live in the initrd", 104: "To bring up a network of its own",
}  # fmt: skip


def marks(tree: ast.AST) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
            words: list[Any] = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found.append((str(words[0]), tuple(words[1:])))
        # A table that makes its own marks: _scenario(number, …) for provisioning.
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_scenario":
            found.append(("provisioning", (ast.literal_eval(node.args[0]),)))
    return found


@cache
def held() -> dict[str, dict[int, list[str]]]:
    rows: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(TESTS.rglob("test_*.py")):
        for table, numbers in marks(ast.parse(file.read_text(encoding="utf-8"))):
            for number in numbers:
                rows[table][number].append(str(file.relative_to(TESTS)))
    return rows


@pytest.mark.parametrize("table", COMPLETE)
def test_every_row_is_held(table: str) -> None:
    missing = set(range(1, LISTS[table] + 1)) - set(held()[table])
    assert missing - OUTSTANDING[table] == set()


@pytest.mark.parametrize("number", DEMANDS)
def test_every_demand_is_met_or_there_is_a_reason(number: int) -> None:
    if number in REASONS:
        assert REASONS[number] in (TESTS.parent / "docs/rationale.md").read_text(encoding="utf-8")
    else:
        assert held()["field-demands"][number]


def test_no_mark_names_a_list_or_row_that_is_none() -> None:
    wrong = [
        f"{files[0]}: {table} {number}"
        for table, rows in held().items()
        for number, files in rows.items()
        if number not in range(1, LISTS.get(table, 0) + 1)
    ]
    assert wrong == []
