"""A package becomes a base directory: as a whole, on the disk, without loss, on a disk that is full too."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, single

NAME, GOOD = "Contoso.Test.Probe", "Contoso.Test.Good"
KIB = 1024


def mount(*arguments: str) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a small file system")


@contextmanager
def small(folder: str, options: str) -> Iterator[None]:
    os.makedirs(folder, exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


# -- power cuts ----------------------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 165)
def test_what_is_installed_survives_a_power_cut(bed: Bed, tmp_path: Path) -> None:
    """What the disk of a mounted ext4 holds right after the last step is what a power cut would leave."""
    disk, cut, after = tmp_path / "disk", tmp_path / "cut", tmp_path / "after"
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    disk.touch()
    os.truncate(disk, 32 * KIB * KIB)
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    # Nothing reaches the disk by itself for as long as the test takes.
    mount("-o", "loop,commit=300", str(disk), bed.layout.lib)
    try:
        os.chmod(bed.layout.lib, 0o711)
        bed.publish(NAME, "1.0.0", {"enable": "status success fine"}, extra={"data/table": b"x" * 5000})
        assert not bed.process(single(NAME)).failed
        shutil.copyfile(disk, cut)
    finally:
        subprocess.run(["umount", bed.layout.lib], check=True)
    after.mkdir()
    mount("-o", "loop", str(cut), str(after))
    try:
        base = after / f"{NAME}-1.0.0"
        assert (base / "config/HandlerState").read_text() == "Enabled"
        for name in (
            "HandlerManifest.json",
            "HandlerEnvironment.json",
            "config/0.settings",
            "bin/run.sh",
            "bin/enable.sh",
        ):
            assert (base / name).stat().st_size, name
        assert (base / "bin/run.sh").stat().st_mode & stat.S_IXUSR
        assert (base / "data/table").read_bytes() == b"x" * 5000
    finally:
        subprocess.run(["umount", str(after)], check=True)


# -- kills ---------------------------------------------------------------------------------------------------

# Dies at the nth rename of a tree.
KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.unit.extensions.conftest import Bed, single
bed = Bed(Path({folder!r}))
bed.publish({name!r}, "1.0.0")
renames = []
rename = bed.system.rename
def counted(path, to):
    renames.append(path)
    if len(renames) == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(path, to)
bed.system.rename = counted
bed.incarnation = 7
bed.process(single({name!r}, sequence=3))
"""


@pytest.mark.parametrize("nth", [1, 2])
def test_records_survive_a_kill_between_the_old_tree_and_the_new_one(bed: Bed, nth: int) -> None:
    bed.publish(NAME, "1.0.0", {"install": "exit 1"}, extra={"old.txt": b"1"})
    bed.process(single(NAME))
    base = bed.base(NAME, "1.0.0")
    records = {"mrseq": "4", "status/4.status": "[]", "config/4.settings": "{}"}
    for name, text in records.items():
        (base / name).write_text(text)
    program = KILLED.format(path=sys.path, folder=str(bed.folder), name=NAME, nth=nth)
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME, sequence=5))
    assert {name: (base / name).read_text() for name in records} == records
    assert not (base / "old.txt").exists()
    assert bed.entry(NAME)["status"] == "Ready"
    assert [name for name in os.listdir(bed.layout.lib) if name.startswith(".")] == []


def test_of_what_is_kept_devices_and_pipes_are_not_copied(bed: Bed) -> None:
    """And what was there wins over the package's, whatever it is; nothing is followed."""
    bed.publish(NAME, "1.0.0", {"install": "exit 1"})
    bed.process(single(NAME))
    base, outside = bed.base(NAME, "1.0.0"), bed.folder / "outside"
    outside.mkdir()
    os.mkfifo(base / "mrseq")
    os.mkfifo(base / "config/pipe")
    (base / "config/link").symlink_to(outside)
    (base / "config/kept").write_text("old")
    (base / "config/tree").write_text("now a file")
    os.utime(base / "config/kept", (1000, 1000))
    (base / "status/deep").mkdir()
    os.utime(base / "status/deep", (2000, 2000))
    if os.geteuid() == 0:
        os.mknod(base / "config/zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    extra = {"config/link/file": b"new", "config/kept": b"new", "config/tree/file": b"new", "config/more": b"new"}
    bed.publish(NAME, "1.0.0", extra=extra)
    assert not bed.process(single(NAME)).failed
    assert bed.entry(NAME)["status"] == "Ready"
    kept = {path.name for path in (base / "config").iterdir()} & {"pipe", "zero", "link", "kept", "tree", "more"}
    assert kept == {"link", "kept", "tree", "more"}
    assert (os.readlink(base / "config/link"), list(outside.iterdir())) == (str(outside), [])
    assert [(base / "config" / name).read_text() for name in ("kept", "tree", "more")] == ["old", "now a file", "new"]
    assert ((base / "config/kept").stat().st_mtime, (base / "status/deep").stat().st_mtime) == (1000, 2000)
    assert not (base / "mrseq").exists()


def test_a_tree_that_was_being_deleted_does_not_come_back(bed: Bed) -> None:
    stale, replaced = (Path(getattr(bed.layout, kind)(NAME, "1.0.0")) for kind in ("stale", "replaced"))
    (stale / "config").mkdir(parents=True)
    bed.process()
    assert not stale.exists()
    bed.publish(GOOD, "1.0.0")
    bed.process(single(GOOD))
    Path(bed.layout.replaced(GOOD, "1.0.0")).mkdir()  # the fresh one has its place: this was on its way out
    bed.process(single(GOOD))
    assert not replaced.exists()
    assert [name for name in os.listdir(bed.layout.lib) if name.startswith(".")] == []
    assert bed.state(GOOD, "1.0.0") == "Enabled"


# -- full disks ----------------------------------------------------------------------------------------------


@pytest.mark.row("extensions", 85)
@pytest.mark.parametrize("kind", ["announced", "blocks", "inodes"])
def test_85_a_disk_that_fills_up_during_extraction(bed: Bed, kind: str) -> None:
    """Blocks and inodes run out in the middle of it: files of one byte take a page each, which no zip announces."""
    options, extra = {
        "announced": ("size=512k", {"big": b"x" * 600 * KIB}),
        "blocks": ("size=512k", {f"data/{number}": b"x" for number in range(200)}),
        "inodes": ("size=8m,nr_inodes=100", {f"data/{number}": b"x" for number in range(200)}),
    }[kind]
    with small(bed.layout.lib, options):
        bed.publish(NAME, "1.0.0", extra=extra)
        bed.publish(GOOD, "1.0.0", {"enable": "status success fine"})
        summary = bed.process(single(NAME), single(GOOD))
        assert [fate.label for fate in summary.failed] == [NAME]
        entry = bed.entry(NAME)
        assert (entry["status"], entry["code"]) == ("NotReady", 1001)
        told = "are free" if kind == "announced" else "No space left on device"
        assert told in entry["formattedMessage"]["message"]
        left = {
            str(path.relative_to(bed.layout.lib)) for path in Path(bed.layout.lib).rglob("*") if NAME in str(path)
        }
        assert not [path for path in left if path.endswith(".zip") or path.startswith(".")]
        assert not Path(bed.base(NAME, "1.0.0"), "data").exists()
        assert not Path(bed.layout.manifest(NAME, "1.0.0")).exists()
        assert bed.entry(GOOD)["status"] == "Ready"
        subprocess.run(["mount", "-o", "remount,size=16m,nr_inodes=10000", bed.layout.lib], check=True)
        assert not bed.process(single(NAME), single(GOOD)).failed
        assert bed.entry(NAME)["status"] == "Ready"
        assert [line.split()[0] for line in bed.ran() if NAME in line] == ["install", "enable"]


@pytest.mark.row("extensions", 81)
@pytest.mark.parametrize("known", [True, False], ids=["continued", "of-nobody"])
def test_81_what_a_killed_download_left_is_never_taken_for_a_package(bed: Bed, known: bool) -> None:
    """Under the name of a package that an image brought, of one that had arrived, and of one that was arriving."""
    content = bed.publish(NAME, "1.0.0")
    fetched = bed.layout.prefetched(NAME, "1.0.0")
    for path in (bed.layout.package(NAME, "1.0.0"), fetched, f"{fetched}.part"):
        Path(path).write_bytes(content[:40])
    if known:
        Path(f"{fetched}.origin").write_text('{"place": "x", "tag": "\\"1\\"", "total": 50, "digest": ""}')
    bed.process(single(NAME))
    assert bed.fetched == [f"{NAME} 1.0.0"]
    assert bed.entry(NAME)["status"] == "Ready"
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()
    assert not Path(fetched).exists()
    bed.process(single(NAME))
    left = [name for name in os.listdir(bed.layout.lib) if name.startswith(".")]
    assert len(left) == 2 * known, left  # for a day, as its place may be asked again


def test_what_has_begun_to_arrive_of_another_version_goes_when_this_one_is_wanted(bed: Bed) -> None:
    bed.publish(NAME, "1.1.0")
    for name, number in ((NAME, "1.0.0"), (GOOD, "1.0.0")):
        path = bed.layout.prefetched(name, number)
        Path(f"{path}.part").write_bytes(b"x")
        Path(f"{path}.origin").write_text('{"place": "x", "tag": "\\"1\\"", "total": 50, "digest": ""}')
    bed.process(single(NAME, "1.1.0"))
    left = sorted(name for name in os.listdir(bed.layout.lib) if name.startswith("."))
    assert left == [f".{GOOD}-1.0.0.fetched.origin", f".{GOOD}-1.0.0.fetched.part"]
    os.utime(f"{bed.layout.prefetched(GOOD, '1.0.0')}.part", (1, 1))  # nobody has wanted it for a day
    bed.process(single(NAME, "1.1.0"))
    assert not [name for name in os.listdir(bed.layout.lib) if name.startswith(".")]
