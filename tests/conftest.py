"""Fixtures of the fake root: a System on a directory, with programs that a test declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from waagent.system import Result, System


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A value of megabytes is no name: pytest would send it about with each result."""
    if isinstance(val, (str, bytes)) and len(val) > 100:
        return f"{argname} of {len(val)}"
    return None


class Script:
    """Answers the commands that a test declares and fails on any other.

    on(*argv, status=0, stdout="", stderr="", effect=None) declares one; effect() runs when it is called.
    ran is the list of what was run, in order; inputs the standard input of each, limits how long it might take.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.inputs: list[bytes | None] = []
        self.limits: list[float] = []
        self._answers: dict[tuple[str, ...], tuple[int, str, str, Callable[[], object] | None]] = {}

    def on(
        self,
        *argv: str,
        status: int = 0,
        stdout: str = "",
        stderr: str = "",
        effect: Callable[[], object] | None = None,
    ) -> None:
        self._answers[argv] = (status, stdout, stderr, effect)

    def execute(
        self, argv: tuple[str, ...], stdin: bytes | None, limit: float, env: Mapping[str, str] | None
    ) -> Result:
        assert argv in self._answers, f"the test does not declare: {' '.join(argv)}"
        self.ran.append(argv)
        self.inputs.append(stdin)
        self.limits.append(limit)
        status, stdout, stderr, effect = self._answers[argv]
        if effect is not None:
            effect()
        return Result(argv, status, stdout, stderr, 0.0)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def system(tmp_path: Path, script: Script) -> System:
    """A machine that is a temporary directory with the usual top-level folders."""
    root = tmp_path / "root"
    for folder in ("etc", "run", "tmp", "usr/bin", "var/lib", "var/log", "proc/sys/kernel", "dev", "home"):
        (root / folder).mkdir(parents=True)
    return System(root, execute=script.execute)
