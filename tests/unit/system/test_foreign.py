"""Files that somebody else may have made are read when they are files, and never waited for."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from waagent.system import System, foreign


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """What hangs fails, after five seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    content, found = foreign.read(str(tmp_path / "a"), 4)
    assert (content, found.st_size) == (b"0123", 10)
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert foreign.read("a", 100, folder=folder)[0] == b"0123456789"
    os.close(folder)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # names of sockets are short
        server.bind("socket")
    (tmp_path / "to-a-pipe").symlink_to("pipe")
    for name, kind in (
        ("pipe", "a named pipe"), ("directory", "a directory"), ("socket", "a socket"), ("to-a-pipe", "a named pipe"),
    ):  # fmt: skip
        with pytest.raises(OSError, match=f"it is {kind}"):
            foreign.read(str(tmp_path / name), 100)
    with pytest.raises(OSError, match="it is a device"):
        foreign.read("/dev/zero", 100)


def test_a_pipe_with_a_writer_is_no_file_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    keeper = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(OSError, match="a named pipe"):
        foreign.read(str(tmp_path / "pipe"), 100)
    os.close(keeper)


def test_a_link_is_followed_to_a_file_beside_it_and_no_further(tmp_path: Path) -> None:
    inside, outside = tmp_path / "status", tmp_path / "secret"
    inside.mkdir()
    outside.write_text("secret")
    (inside / "current").write_text("fine")
    (inside / "7.status").symlink_to("current")
    (inside / "8.status").symlink_to(inside / "current")
    (inside / "twice").symlink_to("7.status")
    (inside / "gone").symlink_to("nothing")
    assert foreign.read(str(inside / "7.status"), 100)[0] == b"fine"
    assert foreign.read(str(inside / "8.status"), 100)[0] == b"fine"
    with pytest.raises(FileNotFoundError):
        foreign.read(str(inside / "gone"), 100)
    with pytest.raises(OSError, match="a link to a link"):
        foreign.read(str(inside / "twice"), 100)
    folder = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    for number, target in enumerate((outside, "../secret", "..", "/dev/zero", ".")):
        (inside / f"out{number}").symlink_to(target)
        for path, at in ((str(inside / f"out{number}"), None), (f"out{number}", folder)):
            with pytest.raises(OSError, match=r"another directory|a directory"):
                foreign.read(path, 100, folder=at)
    assert foreign.read("7.status", 100, folder=folder)[0] == b"fine"
    os.close(folder)


def test_the_machine_reads_them_below_its_root_and_as_planned(tmp_path: Path) -> None:
    system = System(tmp_path, planning=True)
    (tmp_path / "a").write_text("there")
    assert system.read_foreign("/a", 100) == b"there"
    system.write("/a", "planned")
    assert system.read_foreign("/a", 4) == b"plan"
    system.remove("/a")
    with pytest.raises(FileNotFoundError):
        system.read_foreign("/a", 100)
