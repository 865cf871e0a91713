"""Whether a file system can hold anything, told by those of the real mkfs: fresh, half made, and after use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.machine.conftest import REAL_PATH, real
from waagent.machine import superblock
from waagent.system import System

SIZE = 320 * 1024 * 1024  # the least that mkfs.xfs takes
EXT = ("ext2", "ext3", "ext4")


@pytest.fixture
def made(system: System):
    """mkfs.<kind> on /dev/sdb1, then other programs on it; its path."""

    def make(kind: str, *after: tuple[str, ...]) -> Path:
        path = system.path("/dev/sdb1")
        with open(path, "wb") as stream:
            stream.truncate(SIZE)
        force = "-F" if kind in EXT else "-f"
        for words in ((f"mkfs.{kind}", force), *after):
            real(words[0])
            argv = [*words, str(path)]
            ran = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": REAL_PATH})
            assert ran.returncode == 0, ran.stderr
        return path

    return make


@pytest.mark.parametrize("kind", EXT)
def test_a_fresh_ext_was_never_mounted(system: System, made, kind: str) -> None:
    made(kind)
    assert superblock.never_mounted(system, "/dev/sdb1", kind)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("kind", EXT)
def test_an_ext_that_was_mounted_for_a_moment_says_so(system: System, made, tmp_path: Path, kind: str) -> None:
    path = made(kind)
    point = tmp_path / "point"
    point.mkdir()
    loop = f"mount -o loop -t {kind} {path} {point} && umount {point}"
    ran = subprocess.run(["unshare", "--mount", "sh", "-c", loop], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        pytest.skip(f"no loop device here: {ran.stderr.strip()}")
    assert not superblock.never_mounted(system, "/dev/sdb1", kind)


@pytest.mark.parametrize(
    "after",
    [("tune2fs", "-C", "1"), ("debugfs", "-w", "-R", "set_super_value mtime now"),
     ("debugfs", "-w", "-R", "set_super_value last_mounted /data"),
     ("debugfs", "-w", "-R", "set_super_value lastcheck 20300101000000")],
)  # fmt: skip
def test_every_trace_of_a_use_counts(system: System, made, after: tuple[str, ...]) -> None:
    made("ext4", after)
    assert not superblock.never_mounted(system, "/dev/sdb1", "ext4")


def test_an_xfs_is_in_progress_only_while_it_is_made(system: System, made) -> None:
    made("xfs")
    assert not superblock.never_mounted(system, "/dev/sdb1", "xfs")
    made("xfs", ("xfs_db", "-x", "-c", "sb 0", "-c", "write -c inprogress 1"))
    assert superblock.never_mounted(system, "/dev/sdb1", "xfs")


def test_others_do_not_tell(system: System, made) -> None:
    made("btrfs")
    assert not superblock.never_mounted(system, "/dev/sdb1", "btrfs")


@pytest.mark.parametrize("content", [b"", b"XFSB", bytes(2048), b"\xff" * 2048])
@pytest.mark.parametrize("kind", [*EXT, "xfs", "vfat"])
def test_what_is_no_superblock_tells_nothing(system: System, put, kind: str, content: bytes) -> None:
    assert not superblock.never_mounted(system, "/dev/sdb1", kind)
    put("/dev/sdb1", content)
    assert not superblock.never_mounted(system, "/dev/sdb1", kind)
