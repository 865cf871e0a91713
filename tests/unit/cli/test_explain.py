"""waagent explain (row 92): one table of what can go wrong, for people, the docs and the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Waagent
from waagent import errors
from waagent.cli import catalogue
from waagent.extensions import codes

TOP = Path(__file__).resolve().parents[3]


def reasons() -> set[str]:
    """Every reason that the code gives: those of errors, and those of the engine."""
    found = {
        thing.reason
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, errors.WaagentError)
    }
    for file in sorted((TOP / "waagent/runner").glob("*.py")):
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r'reason="([a-z ]+)"', text))
        found |= set(re.findall(r'Report\(\s*"failed",[^)]*?,\s*"([a-z ]+)"', text))
        found |= set(re.findall(r'"(bug in the step|stage cut off)"', text))
    return found


@pytest.mark.row("field-demands", 92)
def test_row_92_every_reason_is_explained_and_none_is_made_up() -> None:
    assert {entry.code for entry in catalogue.REASONS} == reasons()


@pytest.mark.row("field-demands", 92)
def test_row_92_every_number_is_explained_and_none_is_made_up() -> None:
    numbers = {value for value in vars(codes).values() if isinstance(value, int)}
    assert {int(entry.code) for entry in catalogue.NUMBERS} == numbers


@pytest.mark.row("field-demands", 92)
def test_row_92_no_other_file_of_the_extensions_has_a_number_of_its_own() -> None:
    own = {value for value in vars(codes).values() if isinstance(value, int) and value > 1000}
    for file in sorted((TOP / "waagent/extensions").glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        numbers = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert file.name == "codes.py" or not own & numbers, file


@pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=lambda entry: entry.code)
def test_each_entry_says_what_it_means_and_what_to_do(entry: catalogue.Entry, waagent: Waagent) -> None:
    said = waagent("explain", entry.code)
    assert said.status == 0
    assert said.out.startswith(entry.code) and "what to do: " in said.out and "seen in: " in said.out
    assert entry.meaning and entry.advice and entry.told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["disk", "set-up", "failed"], "disk set-up failed"), (["DiskError"], "disk set-up failed"),
        (["disk-setup-failed"], "disk set-up failed"), (["1007"], "1007"),
        (["result=error|reason=platform unreachable|agent=waagent/3.0.0|vm_id=x"], "platform unreachable"),
        (["reason=step timed out|detail=x"], "step timed out"),
    ],
    ids=str,
)  # fmt: skip
def test_a_code_is_found_as_people_have_it(words: list[str], code: str, waagent: Waagent) -> None:
    said = waagent("explain", *words, "--format", "json")
    assert [entry["code"] for entry in said.json()["codes"]] == [code]


def test_without_a_code_all_are_listed(waagent: Waagent) -> None:
    assert len(waagent("explain").out.splitlines()) == len(catalogue.ENTRIES)


def test_what_nobody_reports_is_an_error(waagent: Waagent) -> None:
    said = waagent("explain", "disk", "set-up", "faild")
    assert said.status == 1 and not said.out and "did you mean 'disk set-up failed'" in said.err
    assert waagent("explain", "4711").status == 1
    assert waagent("explain", "").status == 0
