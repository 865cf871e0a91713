"""What the directories of tests with guests have in common: a mark for each test, and what happens where none can run.

    mark(items, here, marker)            for pytest_collection_modifyitems of the conftest.py in `here`
    require(what, lines, variable)       for a session fixture: `lines` of needs.py say what is missing

A machine that cannot run them skips these tests with one line; with CI=true or `variable`=1 the same line is a failure,
so that no gate passes by skipping.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest


def mark(items: Iterable[pytest.Item], here: Path, marker: pytest.MarkDecorator) -> None:
    for item in items:
        if here in item.path.parents:
            item.add_marker(marker)


def require(what: str, lines: list[str], variable: str) -> None:
    if not lines:
        return
    why = f"{what} cannot run here: {'; '.join(lines)}"
    if os.environ.get("CI") == "true" or os.environ.get(variable) == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
