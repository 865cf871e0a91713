"""The id that a file system gets, so that it is known again: the option of each real mkfs, and what blkid reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.machine.conftest import REAL_PATH, real
from waagent.distro.profile import DistroProfile
from waagent.machine import disks
from waagent.system import System

ID = "6f2e6c1a-8d0b-4c55-9a44-0d3f5ee2a001"


@pytest.mark.parametrize("filesystem", ["ext3", "ext4", "xfs", "btrfs"])
def test_a_file_system_has_the_id_that_it_was_given(
    system: System, profile: DistroProfile, program, tmp_path: Path, filesystem: str
) -> None:
    real(f"mkfs.{filesystem}", "blkid")
    program(f"mkfs.{filesystem}")
    disk = tmp_path / "disk"
    with open(disk, "wb") as stream:
        stream.truncate(400 * 1024 * 1024)
    command = [word.replace("{device}", str(disk)) for word in disks.require_mkfs(system, profile, filesystem, ID)]
    run = {"check": True, "capture_output": True, "text": True, "env": {"PATH": REAL_PATH}}
    subprocess.run(command, **run)
    found = subprocess.run(["blkid", "-p", "-o", "export", str(disk)], **run).stdout.splitlines()
    assert f"UUID={ID}" in found and f"TYPE={filesystem}" in found
