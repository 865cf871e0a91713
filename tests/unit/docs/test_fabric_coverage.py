"""docs/fabric-coverage.md: every row has its tests, every test of the wire its rows.

That the page names just the tests that name the row is held with the rest of what script/generate-reference writes.
"""

from __future__ import annotations

import pytest

from tests.unit.runner.conftest import TOP

COMPLETE = (
    "client_wire", "client_plugin", "client_edges", "requests", "bad_input", "files", "internet", "dhcp_exchange",
    "history", "simulator_other_agents",
)  # fmt: skip


@pytest.fixture
def wire_rows(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(TOP / "script"))
    import wire_rows  # type: ignore[import-not-found]

    return wire_rows


def test_a_row_stands_in_one_place_and_says_what_it_is(wire_rows) -> None:
    rows = [row for row, _, _ in wire_rows.page()]
    assert sorted({row for row in rows if rows.count(row) > 1}) == []
    assert [row for row in rows if not wire_rows.ROW.fullmatch(row)] == []
    assert [row for row, says, _ in wire_rows.page() if not says] == []


def test_a_row_has_tests_or_says_why_it_has_none(wire_rows) -> None:
    told = wire_rows.PAGE.read_text(encoding="utf-8").partition(wire_rows.WITHOUT)[2]
    reasons = [row for row, _, _ in wire_rows.page() if f"\n| {row} |" in told]
    assert reasons
    tested = wire_rows.held().keys()
    assert [row for row, _, _ in wire_rows.page() if (row in tested) == (row in reasons)] == []


def test_every_row_that_a_test_names_is_on_the_page(wire_rows) -> None:
    assert sorted(wire_rows.held().keys() - {row for row, _, _ in wire_rows.page()} - {""}) == []


@pytest.mark.parametrize("name", COMPLETE)
def test_every_test_of_the_wire_names_a_row(wire_rows, name: str) -> None:
    assert (TOP / f"tests/protocol/test_{name}.py").exists()
    assert wire_rows.held()[""].get(f"protocol/test_{name}", []) == []


def test_a_test_that_names_another_row_makes_the_page_out_of_date(wire_rows, monkeypatch: pytest.MonkeyPatch) -> None:
    before = wire_rows.written()
    monkeypatch.setitem(wire_rows.held(), "1.4/request", {"protocol/test_new": ["test_more"]})
    after = wire_rows.written()
    assert after != before
    assert "| protocol/test_new `test_more` |" in after
