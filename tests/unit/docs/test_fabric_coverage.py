"""docs/fabric-coverage.md: what it names exists, and every test of the client is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
PAGE = TOP / "docs/fabric-coverage.md"
SHORT = {
    "client-wire": "protocol/test_client_wire",
    "client-plugin": "protocol/test_client_plugin",
    "client-edges": "protocol/test_client_edges",
    "internet": "protocol/test_internet",
    "dhcp-exchange": "protocol/test_dhcp_exchange",
    "watcher": "protocol/test_watcher",
    "over-the-wire": "protocol/test_extensions_over_the_wire",
}
COMPLETE = ("client-wire", "client-plugin", "client-edges", "internet", "dhcp-exchange")
SECTIONS = ["1.1", "1.2", "1.3", "1.4"] + [f"2.{number}" for number in range(1, 9)] + ["3.1", "3.2", "3.3", "3.4", "3.5"]
SECTIONS += ["3.6", "3.7", "3.8", "4.1", "4.2", "5.1", "5.2", "5.3", "5.4", "5.5", "5.7", "6.1", "6.2", "6.3", "6.5", "6.6"]
SECTIONS += ["7.1", "7.2", "7.3", "7.4", "7.5", "7.6"]


def rows() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells if row[0] not in ("Request", "Rule") and not row[0].startswith("---")]


def named() -> Iterator[tuple[str, str]]:
    """(file, test) of all cells; a file holds for the names up to the next one."""
    for row in rows():
        file = ""
        for word in re.findall(r"`(\w+)`|([\w/-]+)(?= `)", row[2]):
            if word[1]:
                file = SHORT.get(word[1], word[1])
            else:
                yield file, word[0]


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TOP / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def test_every_row_names_tests() -> None:
    for row in rows():
        assert len(row) == 3, row
        assert "`test_" in row[2], row


def test_what_is_named_exists() -> None:
    assert [f"{file}: {test}" for file, test in named() if test not in names_in(file)] == []


@pytest.mark.parametrize("short", COMPLETE)
def test_every_test_of_the_client_is_named(short: str) -> None:
    listed = {test for file, test in named() if file == SHORT[short]}
    assert sorted(names_in(SHORT[short]) - listed) == []


def test_every_section_of_the_protocol_is_there() -> None:
    text = " ".join(row[0] + " " + row[1] for row in rows())
    covered = set(re.findall(r"\b\d\.\d\b", text))
    for begin, end in re.findall(r"\b(\d\.\d) to (\d\.\d)\b", text):
        covered |= {f"{begin[0]}.{number}" for number in range(int(begin[2]), int(end[2]) + 1)}
    assert [section for section in SECTIONS if section not in covered] == []
