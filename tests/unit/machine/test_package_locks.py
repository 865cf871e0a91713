"""Whether a package manager is at work, told by real locks of other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waagent.machine import package_locks
from waagent.system import System

HOLD = """
import fcntl, sys, time
stream = open(sys.argv[1], "r+")
fcntl.lockf(stream, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(("name", "file"), package_locks.LOCKED)
def test_the_holder_of_a_lock_is_named(tmp_path: Path, name: str, file: str) -> None:
    system = System(tmp_path)
    assert package_locks.holder(system) == ""
    process = hold(tmp_path / file.lstrip("/"), 30)
    try:
        assert package_locks.holder(system) == f"{name} (process {process.pid})"
    finally:
        process.kill()
        process.communicate()
    assert package_locks.holder(system) == ""


def test_asking_takes_no_lock_away(tmp_path: Path) -> None:
    file = tmp_path / "var/lib/dpkg/lock"
    process = hold(file, 30)
    try:
        for _ in range(3):
            assert package_locks.holder(System(tmp_path))
    finally:
        process.kill()
        process.communicate()


def test_zypper_is_known_by_its_process(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/zypp.pid").write_text(f"{os.getpid()}\n")
    assert package_locks.holder(System(tmp_path)) == ""
    (tmp_path / f"proc/{os.getpid()}").mkdir(parents=True)
    assert package_locks.holder(System(tmp_path)) == f"zypper (process {os.getpid()})"


def test_it_waits_for_the_end_and_no_longer_than_it_was_told(tmp_path: Path) -> None:
    system = System(tmp_path)
    process = hold(tmp_path / "var/lib/dpkg/lock-frontend", 0.6)
    began = system.clock.monotonic()
    assert package_locks.wait(system, 20) == ""
    assert 0.3 < system.clock.monotonic() - began < 10
    process.communicate()
    process = hold(tmp_path / "var/lib/dpkg/lock-frontend", 30)
    try:
        assert package_locks.wait(system, 0.3) == f"dpkg (process {process.pid})"
    finally:
        process.kill()
        process.communicate()
