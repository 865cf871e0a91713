"""Beds with virtual machines. Where a machine cannot run them: tests/bed/gate.py, with WAAGENT_REQUIRE_VM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bed import gate  # noqa: E402
from bed.needs import missing_for_machines  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gate.mark(items, HERE, pytest.mark.vm)


@pytest.fixture(scope="session", autouse=True)
def _machine_can_run_virtual_machines() -> None:
    gate.require("tests in virtual machines", missing_for_machines(), "WAAGENT_REQUIRE_VM")
