"""What the watcher leaves for the units of its workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waagent.watcher.environment import ENVIRONMENT, leave_environment, left_environment


def left(run: Path, **given: str) -> str:
    leave_environment(given, str(run))
    return (run / ENVIRONMENT).read_text(encoding="utf-8")


def test_it_is_written_as_systemd_reads_it_and_for_root_alone(tmp_path: Path) -> None:
    run, site = tmp_path / "run", 'two  words, $HOME, "quoted", `date`, back\\slash, naïve'
    assert left(run, http_proxy="http://ada:p%40ss@proxy.example:3128/", SITE=site, EMPTY="") == (
        'EMPTY=""\n'
        'SITE="two  words, \\$HOME, \\"quoted\\", \\`date\\`, back\\\\slash, naïve"\n'
        'http_proxy="http://ada:p%40ss@proxy.example:3128/"\n'
    )
    assert left_environment(str(run)) == {"http_proxy": "http://ada:p%40ss@proxy.example:3128/", "SITE": site, "EMPTY": ""}
    assert (run / ENVIRONMENT).stat().st_mode & 0o777 == 0o600
    assert left(run, SITE="another") == 'SITE="another"\n'
    assert os.listdir(run) == [ENVIRONMENT]
    assert left_environment(str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(
    "name", ["NOTIFY_SOCKET", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "WAAGENT_VERBOSE", "SYSTEMD_EXEC_PID"]
)
def test_what_is_between_systemd_and_one_unit_stays_there(tmp_path: Path, name: str) -> None:
    assert left(tmp_path, **{name: "1"}) == ""


@pytest.mark.parametrize(("name", "value"), [("A", "two\nB=lines"), ("BASH_FUNC_x%%", "() { :; }"), ("A-B", "1"), ("A", "\x1b[0m")])
def test_what_would_not_come_back_as_it_was_stays_behind(tmp_path: Path, name: str, value: str) -> None:
    assert left(tmp_path, **{name: value, "GOOD": "1"}) == 'GOOD="1"\n'
