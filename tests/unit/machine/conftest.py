"""Fixtures of the mechanisms: accounts, files and programs on the fake root, and the real programs where they help."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modules.conftest import profile_of
from waagent.distro.profile import DistroProfile
from waagent.machine.users import Account
from waagent.system import System

REAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def profile(tmp_path: Path) -> DistroProfile:
    return profile_of(tmp_path / "root")


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    def write(path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        real = tmp_path / "root" / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(content.encode() if isinstance(content, str) else content)
        real.chmod(mode)
        return real

    return write


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., None]:
    def install(*names: str) -> None:
        for name in names:
            path = tmp_path / "root/usr/bin" / name
            path.write_text("#!/bin/false\n")
            path.chmod(0o755)

    return install


@pytest.fixture
def account(system: System, put: Callable[..., Path]) -> Account:
    """An account whose uid is the tester's, so that giving it files works for anybody."""
    uid, gid = os.getuid(), os.getgid()
    put("/etc/passwd", f"root:x:0:0:root:/root:/bin/bash\nada:x:{uid}:{gid}::/home/ada:/bin/sh\n")
    put("/etc/login.defs", "UID_MIN 0\n")
    (system.path("/home") / "ada").mkdir()
    return Account("ada", uid, gid, "/home/ada", "/bin/sh")


def real(*programs: str) -> None:
    """Skip where one of the real programs is missing."""
    for name in programs:
        if shutil.which(name, path=REAL_PATH) is None:
            pytest.skip(f"there is no {name} here")


@pytest.fixture
def channel(put):
    """A storage channel of the VMBus with disks: channel(GUID, {"0:0:1": "sdb"}) (host:channel:target left to it)."""
    numbers = iter(range(100))

    def make(guid: str, luns: dict[str, str]) -> None:
        number = next(numbers)
        base = f"/sys/bus/vmbus/devices/{number:04d}-guid"
        put(f"{base}/device_id", f"{guid}\n")
        for lun, name in luns.items():
            put(f"{base}/host{number}/target{number}:0:0/{number}:0:0:{lun}/block/{name}/size", "0")
            put(f"/sys/block/{name}/size", "41943040")
            put(f"/dev/{name}")

    return make
