"""waagent collect-logs and its old word: the archive, the exit statuses, no secret of this instance in it."""

from __future__ import annotations

import zipfile

import pytest

from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import Machine
from waagent.cli import __main__ as cli
from waagent.logs import scope

FOLDER = "var/lib/waagent/logcollector"


def test_an_archive_is_made_and_named(booted: Machine, waagent: Waagent) -> None:
    (booted.root / "var/log").mkdir(parents=True, exist_ok=True)
    (booted.root / "var/log/syslog").write_text("the word is sesame street\n")
    said = waagent("collect-logs")
    assert said.status == 0
    assert "/var/lib/waagent/logcollector/logs.zip" in said.out
    assert "/var/lib/waagent/logcollector/results.txt" in said.out
    archive = zipfile.ZipFile(booted.root / FOLDER / "logs.zip")
    assert archive.read("var/log/syslog") == b"the word is ***REDACTED***\n"
    assert {"etc/waagent.conf", "results.txt"} <= set(archive.namelist())
    assert "normal mode" in archive.read("results.txt").decode()


def test_full(booted: Machine, waagent: Waagent) -> None:
    (booted.root / "etc/fstab").write_text("# none\n")
    assert waagent("collect-logs", "--full").status == 0
    assert "etc/fstab" in zipfile.ZipFile(booted.root / FOLDER / "logs.zip").namelist()


@pytest.mark.row("guest-operations", 68)
@pytest.mark.parametrize("status", [scope.NO_CGROUPS, scope.TOO_MUCH, scope.MISPLACED])
def test_confinement_has_statuses_of_its_own(
    booted: Machine, waagent: Waagent, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def refuse(self: scope.Confinement) -> None:
        raise scope.NotConfined("cannot collect logs below their limits: why", status=status)

    monkeypatch.setattr(scope.Confinement, "check", refuse)
    said = waagent("collect-logs", "--confined")
    assert (said.status, said.out) == (status, "")
    assert "below their limits: why" in said.err


def test_an_archive_that_cannot_be_made(booted: Machine, waagent: Waagent) -> None:
    (booted.root / FOLDER).parent.mkdir(parents=True, exist_ok=True)
    (booted.root / FOLDER / "logs.zip.new").mkdir(parents=True)
    said = waagent("collect-logs")
    assert said.status == 1
    assert "cannot collect logs into" in said.err


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (["-collect-logs"], ("collect-logs",)),
        (["--collect-logs", "-full"], ("collect-logs", "--full")),
        (["-full", "collect-logs"], ("collect-logs", "--full")),
        (["collect-logs", "-full"], ("collect-logs", "--full")),
        (["collect-logs", "--full"], ("collect-logs", "--full")),
    ],
)
def test_the_old_words(monkeypatch: pytest.MonkeyPatch, words: list[str], verb: tuple[str, ...]) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(cli, "_run", lambda name, rest: started.append((name, *rest)) or 0)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert cli.main(words) == 0
    assert started == [verb]
