"""Beds for container tests, and the one place that says why they cannot run.

bed          one per file: the tests of a file share its guest, in order
fresh_bed    one per test

A machine that cannot run beds skips these tests with one line; with CI=true or
WAAGENT_REQUIRE_CONTAINER=1 the same line is a failure, so that no gate passes by skipping.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bed import Bed, missing  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.container)


@pytest.fixture(scope="session", autouse=True)
def _machine_can_run_beds() -> None:
    lines = missing()
    if not lines:
        return
    why = f"container tests cannot run here: {'; '.join(lines)}"
    if os.environ.get("CI") == "true" or os.environ.get("WAAGENT_REQUIRE_CONTAINER") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed() as made:
        yield made


@pytest.fixture
def fresh_bed() -> Iterator[Bed]:
    with Bed() as made:
        yield made
