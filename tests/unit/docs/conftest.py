from __future__ import annotations

from tests.unit.runner.conftest import machine

__all__ = ["machine"]
