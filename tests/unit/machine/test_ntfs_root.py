"""What is in the root of an NTFS volume: told for certain, or an error; volumes of the real mkntfs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.ntfs_volume import PLATFORM, volume
from tests.unit.machine.conftest import real
from waagent.errors import DiskError
from waagent.machine import ntfs_root
from waagent.system import System


@pytest.fixture
def made(tmp_path: Path):
    """A volume of mkntfs with these files in its root, on /dev/sdb1; at: behind so many bytes of a disk."""
    real("mkntfs", "ntfscp")

    def make(system: System, *files: str, at: int = 0, options: tuple[str, ...] = ()) -> None:
        path, small = tmp_path / "volume", tmp_path / "small"
        with open(path, "wb") as stream:
            stream.truncate(4 * 1024 * 1024)
        small.write_text("small\n")
        run = {"check": True, "capture_output": True, "env": {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin"}}
        subprocess.run(["mkntfs", "-Q", "-F", "-q", *options, "-L", "Temporary Storage", str(path)], **run)
        for name in files:
            subprocess.run(["ntfscp", "-q", str(path), str(small), name], **run)
        with open(system.path("/dev/sdb1"), "wb") as stream:
            stream.seek(at)
            with open(path, "rb") as content:
                shutil.copyfileobj(content, stream)

    return make


@pytest.mark.parametrize("options", [(), ("-c", "65536"), ("-c", "512"), ("-s", "4096", "-c", "4096")])
def test_a_fresh_volume_has_only_its_own_records(system: System, made, options: tuple[str, ...]) -> None:
    made(system, options=options)
    assert ntfs_root.names(system, "/dev/sdb1") == []


def test_files_are_seen(system: System, made) -> None:
    made(system, "DATALOSS_WARNING_README.txt", "thesis.doc", "Übung.txt")
    assert ntfs_root.names(system, "/dev/sdb1") == ["DATALOSS_WARNING_README.txt", "thesis.doc", "Übung.txt"]


def test_all_of_many_files_are_seen(system: System, made) -> None:
    """Their index has blocks of its own."""
    names = [f"order number {number} of the owner.txt" for number in range(60)]
    made(system, *names, at=1024 * 1024)
    assert ntfs_root.names(system, "/dev/sdb1", 1024 * 1024) == sorted(names)


def test_the_volume_of_these_tests_is_one(system: System, put) -> None:
    put("/dev/sdb1", volume())
    assert ntfs_root.names(system, "/dev/sdb1") == sorted(PLATFORM)
    put("/dev/sdb1", volume(["thesis.doc"]))
    assert ntfs_root.names(system, "/dev/sdb1") == ["thesis.doc"]


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"x" * 8192, volume()[:4096], volume()[:512].ljust(16384, b"\0")])
def test_what_is_not_whole_is_an_error(system: System, put, content: bytes) -> None:
    put("/dev/sdb1", content)
    with pytest.raises(DiskError, match=r"cannot look into /dev/sdb1: its NTFS is damaged"):
        ntfs_root.names(system, "/dev/sdb1")
    with pytest.raises(DiskError, match=r"cannot look into /dev/sdc1: No such file"):
        ntfs_root.names(system, "/dev/sdc1")


@pytest.mark.parametrize(("large", "leads"), [(True, True), (True, False), (False, True)])
def test_an_index_whose_blocks_are_missing_is_not_empty(system: System, put, large: bool, leads: bool) -> None:
    put("/dev/sdb1", volume((), large=large, leads=leads))
    with pytest.raises(DiskError, match=r"its NTFS is damaged \(.* block"):
        ntfs_root.names(system, "/dev/sdb1")


def test_an_index_whose_bitmap_denies_its_blocks_is_not_empty(system: System, made) -> None:
    """The names are in blocks, and the bitmap says that none is in use."""
    made(system, *(f"order number {number} of the owner.txt" for number in range(60)))
    place = 4 * 4096 + 5 * 1024  # where mkntfs has the root's record
    content = bytearray(system.read("/dev/sdb1"))
    bitmap = content.index(b"\xb0\0\0\0", place, place + 1024)
    where = struct.unpack_from("<H", content, bitmap + 20)[0]
    content[bitmap + where : bitmap + where + 8] = bytes(8)
    system.path("/dev/sdb1").write_bytes(content)
    with pytest.raises(DiskError, match="an index that lacks a block"):
        ntfs_root.names(system, "/dev/sdb1")


# What says where the names are: the boot sector from its signature to the sizes, the root's record.
PLACES = [*range(3, 69), 510, 511, *range(2048 + 5120, 2048 + 5120 + 1024)]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=some.dictionaries(some.sampled_from(PLACES), some.integers(0, 255), min_size=1, max_size=8))
def test_no_damage_is_more_than_an_error(system: System, put, changes: dict[int, int]) -> None:
    content = bytearray(volume(["thesis.doc"]))
    for place, value in changes.items():
        content[place] = value
    put("/dev/sdb1", bytes(content))
    try:
        ntfs_root.names(system, "/dev/sdb1")
    except DiskError:
        pass


def test_no_bit_that_flips_hides_a_file(system: System, put) -> None:
    whole = volume(["thesis.doc"])
    place = put("/dev/sdb1", whole)
    hidden = []
    with open(place, "r+b", buffering=0) as stream:
        for at in PLACES:
            for bit in range(8):
                stream.seek(at)
                stream.write(bytes([whole[at] ^ 1 << bit]))
                try:
                    if not ntfs_root.names(system, "/dev/sdb1"):
                        hidden.append((at, bit))
                except DiskError:
                    pass
            stream.seek(at)
            stream.write(whole[at : at + 1])
    assert hidden == []
