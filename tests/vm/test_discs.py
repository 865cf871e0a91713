"""The discs and disks of the bed are what their names say: a test on a wrong one would prove nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from bed import discs

MIB = 1024 * 1024
DOCUMENT = "<Environment>é</Environment>"


def probed(path: Path, offset: int = 0) -> dict[str, str]:
    command = ["blkid", "--probe", "--output", "export", "--offset", str(offset), str(path)]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8")
    return dict(line.split("=", 1) for line in ran.stdout.splitlines())


@pytest.mark.parametrize("kind", ["udf", "iso9660"])
def test_dvd_has_the_file_system_that_was_asked_for(tmp_path: Path, kind: str) -> None:
    path = discs.dvd(tmp_path / "dvd", DOCUMENT, kind)
    # blkid names UDF alone where both are; what is absent must not be there in its raw form either.
    assert probed(path)["TYPE"] == kind
    assert (b"NSR02" in path.read_bytes()) == (kind == "udf")
    assert b"CD001" in path.read_bytes()
    assert DOCUMENT.encode() in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_platform_s_disk_has_one_fresh_ntfs_partition(tmp_path: Path) -> None:
    path = discs.platform(tmp_path / "disk", 64 * MIB)
    assert probed(path)["PTTYPE"] == "dos"
    assert probed(path, MIB)["TYPE"] == "ntfs"
    assert "type=7" in subprocess.run(["sfdisk", "--dump", path], capture_output=True, encoding="utf-8").stdout
    assert path.stat().st_size == 64 * MIB
    assert [left.name for left in tmp_path.iterdir()] == ["disk"]


def test_platform_s_large_disk_has_a_reserved_partition_before_that_with_ntfs(tmp_path: Path) -> None:
    path = discs.large(tmp_path / "disk", 64 * MIB)
    assert probed(path)["PTTYPE"] == "gpt"
    assert probed(path, 17 * MIB)["TYPE"] == "ntfs"
    table = subprocess.run(["sfdisk", "--dump", path], capture_output=True, encoding="utf-8").stdout
    assert table.count("type=E3C9E316") == table.count("type=EBD0A0A2") == 1


def test_owner_s_disk_has_the_owner_s_files(tmp_path: Path) -> None:
    path = discs.data(tmp_path / "disk", 32 * MIB, {"orders": "one\n"})
    assert probed(path, MIB)["TYPE"] == "ext4"
    inside = ["debugfs", "-R", "cat /orders", f"{path}?offset={MIB}"]
    assert subprocess.run(inside, capture_output=True, encoding="utf-8").stdout == "one\n"


def test_unknown_data_is_unknown(tmp_path: Path) -> None:
    path = discs.unknown(tmp_path / "disk", 16 * MIB)
    assert probed(path)["PTTYPE"] == "dos"
    assert "TYPE" not in probed(path, MIB)


def test_blank_disk_is_blank_and_takes_no_room(tmp_path: Path) -> None:
    path = discs.blank(tmp_path / "disk", 16 * MIB)
    assert probed(path) == {} and path.stat().st_blocks == 0
