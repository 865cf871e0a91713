"""Fixtures for tests of modules: the file that MODULE names, loaded, and a Context on a fake Debian.

    MODULE = "local/30-hostname.py"
    def test_…(module, ctx, script): module.run(ctx)

`settle(ctx)` does what the engine does after a step: what was published becomes fact. `declared` gives a test its own
waagent.conf or distribution: declared(conf="…", distro="freebsd").
"""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.modules.scratch import BOOT, EXT4, MKFS, MOUNT, NTFS, POINT, RETYPE, TABLE
from tests.ntfs_volume import volume
from waagent import config as configuration
from waagent.distro import detect
from waagent.distro.profile import DistroProfile, resolve
from waagent.instance.store import _set as set_fact
from waagent.module import Context
from waagent.system import System

TOP = Path(__file__).resolve().parents[2]
VM_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NUMBER = itertools.count()


def load_module(name: str) -> ModuleType:
    path = TOP / "modules" / name
    spec = importlib.util.spec_from_file_location(f"step_{next(NUMBER)}_" + re.sub(r"\W", "_", name), path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def profile_of(root: Path, distro: str = "debian", version: str = "12") -> DistroProfile:
    found = detect.Facts({"ID": distro, "VERSION_ID": version})
    return resolve(str(root), str(TOP / "data" / "distros"), found)


def settle(ctx: Context) -> None:
    """Make what the step published fact, and forget its effects, as the engine does between steps."""
    for key, value in ctx.published.items():
        set_fact(ctx.facts, key, value)
    for key, value in ctx.published_secrets.items():
        set_fact(ctx.secret_facts, key, value)
    ctx.published.clear()
    ctx.published_secrets.clear()
    ctx.notes.clear()
    ctx.events.clear()
    ctx.system.effects.clear()


@pytest.fixture
def module(request: pytest.FixtureRequest) -> ModuleType:
    """The module under test, loaded from the file that MODULE names."""
    return load_module(request.module.MODULE)


@pytest.fixture
def ctx(system: System, tmp_path: Path) -> Context:
    """A Debian 12 with the agent's defaults, a VM id, and nothing provisioned yet."""
    (tmp_path / "root/var/lib/waagent").mkdir(mode=0o711)
    facts: dict[str, Any] = {"vm": {"id": VM_ID, "azure": True}, "provisioning": {"by": "waagent"}}
    return Context(
        system=system,
        config=configuration.from_text(""),
        profile=profile_of(tmp_path / "root"),
        facts=facts,
    )


@pytest.fixture
def declared(ctx: Context, tmp_path: Path) -> Callable[..., Context]:
    """Give the context another configuration or distribution."""

    def change(conf: str = "", distro: str = "debian", version: str = "12") -> Context:
        ctx.config = configuration.from_text(conf)
        ctx.profile = profile_of(tmp_path / "root", distro, version)
        return ctx

    return change


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], None]:
    """Have programs on the fake root, for the code that looks whether they are there."""

    def install(*names: str) -> None:
        folder = tmp_path / "root/usr/bin"
        for name in names:
            (folder / name).write_text("#!/bin/false\n")
            (folder / name).chmod(0o755)

    return install


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Have a file on the fake root."""

    def write(path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        real = tmp_path / "root" / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(content.encode() if isinstance(content, str) else content)
        real.chmod(mode)
        return real

    return write


@pytest.fixture
def disk(ctx, script, put, program):
    """A generation-2 resource disk /dev/sdb with one partition; changes of it are what the programs would do."""
    program("blkid", "mkfs.ext4", "sfdisk", "blockdev")
    base = "/sys/bus/vmbus/devices/x"
    put(f"{base}/device_id", "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}\n")
    put(f"{base}/host0/target0:0:0/0:0:0:1/block/sdb/size")
    put("/sys/block/sdb/size", "41943040")
    put("/sys/block/sdb/device/wwid", "naa.60022480\n")
    put("/dev/sdb", b"\0" * 1024)
    put("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n")
    put(BOOT, "boot 1\n")

    def holds(partition: str, table: str = "dos", content: bytes = b"x" * 1024) -> None:
        put("/sys/block/sdb/sdb1/size")
        put("/dev/sdb1", volume() if "=ntfs" in partition else content)
        script.on("blkid", "-p", "-o", "export", "/dev/sdb", stdout=f"PTTYPE={table}\n")
        script.on("blkid", "-p", "-o", "export", "/dev/sdb1", status=0 if partition else 2, stdout=partition)

    def mounted(device: str = "/dev/sdb1", point: str = POINT, kind: str = "ext4") -> None:
        put("/proc/self/mounts", f"/dev/sda1 / ext4 rw 0 0\n{device} {point} {kind} rw 0 0\n")

    script.on(*MKFS, effect=lambda: holds(EXT4))
    script.on(*MOUNT, effect=mounted)
    script.on(*RETYPE)
    script.on(*TABLE, effect=lambda: holds("PART_ENTRY_UUID=12-01\n"))
    script.on("blockdev", "--rereadpt", "/dev/sdb")
    holds(NTFS)
    holds.mounted = mounted
    return holds
