"""The two handlers of docs/examples: packed as the page says, and taken through a handler's life by `extensions run`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runner.conftest import TOP

HANDLERS = {"shell": "sda sdb", "python": ["sda", "sdb"]}
NAME = "Contoso.Tools.DiskWatch"
Run = Callable[..., "dict[str, Any]"]


def packed(language: str, folder: Path, version: str) -> str:
    source, package = TOP / "docs/examples/handlers" / language, folder / f"{NAME}-{version}.zip"
    files = sorted(path.name for path in source.iterdir() if path.is_file())
    subprocess.run([sys.executable, "-m", "zipfile", "-c", str(package), *files], cwd=source, check=True)
    return str(package)


@pytest.fixture(params=HANDLERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """run(words…, public=…, protected=…) of version 1.1.0: the report of the run."""

    def report(*words: str, public: Any = None, protected: Any = None) -> dict[str, Any]:
        command = [sys.executable, "-m", "waagent.cli", "extensions", "run", packed(request.param, tmp_path, "1.1.0")]
        for word, settings in (("settings", public), ("protected", protected)):
            if settings is not None:
                (tmp_path / word).write_text(json.dumps(settings))
                command += [f"--{word}", str(tmp_path / word)]
        command += ["--in", str(tmp_path), "--format", "json", "--wait", "5", *words]
        ran = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
        assert ran.stdout, ran.stderr
        told: dict[str, Any] = json.loads(ran.stdout)
        assert (told["result"] == "succeeded") is (ran.returncode == 0)
        return told

    report.language = request.param  # type: ignore[attr-defined]
    return report


def public(run: Run) -> dict[str, Any]:
    return {"disks": HANDLERS[run.language]}  # type: ignore[attr-defined]


def test_a_whole_life(run: Run) -> None:
    told = run("--operation", "install,enable,disable,uninstall", public=public(run), protected={"token": "secret"})
    assert [each["operation"] for each in told["operations"]] == ["install", "enable", "disable", "uninstall"]
    assert told["result"] == "succeeded"
    assert "watching sda sdb with a token of 6 characters" in json.dumps(told["status"])


def test_an_update(run: Run, tmp_path: Path) -> None:
    old = packed(run.language, tmp_path, "1.0.0")  # type: ignore[attr-defined]
    told = run("--from", old, public=public(run))
    assert told["result"] == "succeeded"
    (update,) = [each for each in told["operations"] if each["operation"] == "update"]
    assert "to 1.1.0 from 1.0.0" in update["output"]


def test_without_settings_there_is_nothing_to_report(run: Run) -> None:
    told = run()
    assert told["result"] == "succeeded"
    assert "no settings: nothing to watch" in told["operations"][1]["output"]


def test_settings_in_which_something_is_missing(run: Run) -> None:
    told = run(public={})
    assert told["result"] == "failed"
    assert "disks is missing in the public settings" in json.dumps(told["status"])
