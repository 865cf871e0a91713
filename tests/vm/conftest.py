"""Beds with virtual machines, and the one place that says why they cannot run.

A machine that cannot run them skips these tests with one line; with CI=true or WAAGENT_REQUIRE_VM=1 the same line is
a failure, so that no gate passes by skipping.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bed.needs import missing_for_machines  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session", autouse=True)
def _machine_can_run_virtual_machines() -> None:
    lines = missing_for_machines()
    if not lines:
        return
    why = f"tests in virtual machines cannot run here: {'; '.join(lines)}"
    if os.environ.get("CI") == "true" or os.environ.get("WAAGENT_REQUIRE_VM") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
