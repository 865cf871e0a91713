"""The linters, as tests: what they say is what a reviewer would otherwise have to say.

They come with the virtual environment of script/test. Elsewhere these tests skip, except in CI.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("local", "network", "config", "final", "periodic", "deprovision")
SHELL = (
    "script/setup", "script/test", "script/demo", "script/screenshot", ".ci/run", "data/systemd/periodic-due",
    "debian/waagent.postinst", "debian/waagent.prerm", "debian/waagent.postrm",
)  # fmt: skip


def lint(tool: str, *words: str, **environment: str) -> None:
    if importlib.util.find_spec(tool) is None:
        line = f"{tool} is not installed for {sys.executable}; script/test brings it"
        if os.environ.get("CI") == "true":
            pytest.fail(line, pytrace=False)
        pytest.skip(line)
    ran = subprocess.run(
        [sys.executable, "-m", tool, *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        pytest.fail(f"{tool} {' '.join(words)}:\n{ran.stdout}", pytrace=False)


def test_ruff() -> None:
    lint("ruff", "check", "--no-cache", "--quiet", ".")


def test_types_of_the_library_and_setup() -> None:
    lint("mypy", "--strict", "waagent", "setup.py", "script/summary.py")


@pytest.mark.parametrize("stage", STAGES)
def test_types_of_the_modules(stage: str) -> None:
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"modules/{stage}/*.py"))
    lint("mypy", "--strict", *files)


def test_types_of_the_bed() -> None:
    lint("mypy", "--strict", "--package", "bed", MYPYPATH="tests:.")


def test_types_of_the_demo() -> None:
    lint("mypy", "--strict", "script/demo.py", MYPYPATH="tests:.")


@pytest.mark.parametrize("script", SHELL)
def test_shell_scripts_parse(script: str) -> None:
    shell = "bash" if (ROOT / script).read_text(encoding="utf-8").startswith("#!/bin/bash") else "sh"
    subprocess.run([shell, "-n", str(ROOT / script)], check=True)
