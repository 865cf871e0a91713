"""Beds for container tests, and the one place that says why they cannot run.

bed          one per file: the tests of a file share its guest, in order
fresh_bed    one per test

Where a machine cannot run beds: tests/bed/gate.py, with WAAGENT_REQUIRE_CONTAINER.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bed import Bed, gate, missing  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gate.mark(items, HERE, pytest.mark.container)


@pytest.fixture(scope="session", autouse=True)
def _machine_can_run_beds() -> None:
    gate.require("container tests", missing(), "WAAGENT_REQUIRE_CONTAINER")


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed() as made:
        yield made


@pytest.fixture
def fresh_bed() -> Iterator[Bed]:
    with Bed() as made:
        yield made
