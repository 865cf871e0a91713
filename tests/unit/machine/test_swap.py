"""Swap files: of the right size, private, in use, and never at the price of a full disk."""

from __future__ import annotations

import os
import stat

import pytest

from tests.conftest import Script
from waagent.errors import DiskError
from waagent.machine import mounts, swap
from waagent.system import System

PATH = "/mnt/resource/swapfile"
SIZE = 100 * swap.MIB
DD = ("dd", "if=/dev/zero", f"of={PATH}", "bs=1M", "count=100", "conv=notrunc,fsync")


@pytest.fixture
def disk(put, script: Script, monkeypatch):
    """A mounted resource disk with much room."""
    monkeypatch.setattr(mounts, "free", lambda system, directory: 4 * 1024**3)

    def mounted(filesystem: str = "ext4", size: int = SIZE) -> None:
        put("/mnt/resource/x")
        put("/proc/self/mounts", f"/dev/sda1 / ext4 rw 0 0\n/dev/sdb1 /mnt/resource {filesystem} rw 0 0\n")
        script.on(*DD, effect=lambda: grow(size))
        script.on("fallocate", "-l", str(SIZE), PATH, effect=lambda: grow(size))
        script.on("mkswap", PATH)
        script.on("swapon", PATH, effect=lambda: put("/proc/swaps", f"Filename Type\n{PATH} file\n"))
        script.on("swapoff", PATH, effect=lambda: put("/proc/swaps", "Filename Type\n"))

    def grow(size: int) -> None:
        real = put("/mnt/resource/x").parent / "swapfile"
        with open(real, "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)

    return mounted


@pytest.mark.row("provisioning", 79)
def test_row_79_the_file_has_exactly_the_size_and_is_roots(system: System, script: Script, disk) -> None:
    disk()
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran == [DD, ("mkswap", PATH), ("swapon", PATH)]
    status = system.path(PATH).stat()
    assert (status.st_size, status.st_mode & 0o777) == (104857600, 0o600)
    assert not swap.ensure(system, PATH, SIZE)


@pytest.mark.row("provisioning", 80)
def test_row_80_swap_larger_than_the_disk_is_refused_cleanly(
    system: System, script: Script, disk, monkeypatch
) -> None:
    disk()
    monkeypatch.setattr(mounts, "free", lambda system, directory: SIZE)
    with pytest.raises(DiskError, match="it would take 100 MiB and 100 MiB are free on /mnt/resource"):
        swap.ensure(system, PATH, SIZE)
    assert script.ran == [] and not system.exists(PATH)


@pytest.mark.row("provisioning", 81)
def test_row_81_another_size_replaces_the_file(system: System, script: Script, disk, put) -> None:
    disk()
    put(PATH, b"x" * 4096)
    put("/proc/swaps", f"Filename Type\n{PATH} file\n")
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran[0] == ("swapoff", PATH)
    assert system.path(PATH).stat().st_size == SIZE


@pytest.mark.row("provisioning", 82)
def test_row_82_a_mode_that_shows_it_to_others_is_put_right(system: System, script: Script, disk, put) -> None:
    disk()
    swap.ensure(system, PATH, SIZE)
    system.path(PATH).chmod(0o644)
    script.ran.clear()
    assert swap.ensure(system, PATH, SIZE)
    assert system.path(PATH).stat().st_mode & 0o777 == 0o600
    assert script.ran == []


@pytest.mark.parametrize("how", ["owner", "link", "second name"])
def test_what_somebody_put_in_its_place_never_holds_the_machines_memory(
    system: System, script: Script, disk, put, how: str
) -> None:
    """The root directory of a temporary disk is often open to all."""
    disk()
    theirs = put("/home/eve/file", mode=0o600)
    with open(theirs, "r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, SIZE)
    place = system.path("/mnt/resource") / "swapfile"
    if how == "link":
        place.symlink_to(theirs)
    elif how == "second name":
        os.link(theirs, place)
    elif os.geteuid() == 0:
        theirs.rename(place)
        os.chown(place, 4321, 4321)
    else:
        pytest.skip("only root may give a file away")
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran == [DD, ("mkswap", PATH), ("swapon", PATH)]
    status = place.lstat()
    assert (status.st_uid, status.st_nlink, stat.S_ISREG(status.st_mode)) == (os.geteuid(), 1, True)


@pytest.mark.row("provisioning", 83)
def test_row_83_no_size_is_an_error(system: System) -> None:
    with pytest.raises(DiskError, match="SwapSizeMB is 0"):
        swap.ensure(system, PATH, 0)


@pytest.mark.row("provisioning", 84)
def test_row_84_btrfs_gets_a_file_without_copy_on_write(system: System, script: Script, disk) -> None:
    disk("btrfs")
    script.on("chattr", "+C", PATH)
    swap.ensure(system, PATH, SIZE)
    assert script.ran[:2] == [("chattr", "+C", PATH), ("fallocate", "-l", str(SIZE), PATH)]


def test_where_allocation_is_not_possible_zeros_are_written(system: System, script: Script, disk) -> None:
    disk("ext3")
    script.on("fallocate", "-l", str(SIZE), PATH, status=1)
    swap.ensure(system, PATH, SIZE)
    assert DD in script.ran


@pytest.mark.parametrize("filesystem", ["ntfs3", "tmpfs", "overlay"])
def test_a_file_system_that_cannot_hold_one_is_told(system: System, script: Script, disk, filesystem: str) -> None:
    disk(filesystem)
    with pytest.raises(DiskError, match=f"{filesystem} cannot hold one"):
        swap.ensure(system, PATH, SIZE)
    assert script.ran == []


def test_a_file_of_the_right_size_without_signature_was_cut_off(system: System, script: Script, disk, put) -> None:
    disk()
    with open(put(PATH, mode=0o600), "r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, SIZE)
    made = []
    script.on("mkswap", PATH, effect=lambda: made.append(1))

    def swapon() -> None:
        if not made:
            script.on("swapon", PATH)

    script.on("swapon", PATH, status=1, effect=swapon)
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran == [("swapon", PATH), ("mkswap", PATH), ("swapon", PATH)]


def test_a_file_with_holes_is_made_anew(system: System, script: Script, disk, put) -> None:
    """As a restored backup has them. The kernel refuses it, whatever its signature."""
    disk()
    with open(put(PATH, mode=0o600), "r+b") as stream:
        stream.truncate(SIZE)
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran == [DD, ("mkswap", PATH), ("swapon", PATH)]
    assert not swap.ensure(system, PATH, SIZE)


def test_a_failure_leaves_no_half_file(system: System, script: Script, disk) -> None:
    disk()
    script.on(*DD, status=1, stderr="dd: No space left on device")
    with pytest.raises(DiskError, match=r"No space left on device.*it is removed"):
        swap.ensure(system, PATH, SIZE)
    assert not system.exists(PATH)


@pytest.mark.parametrize("status", [0, 1])
def test_under_selinux_the_file_has_the_type_that_swapon_wants(system: System, script: Script, disk, put, program, status):
    disk()
    put("/sys/fs/selinux/enforce", "1")
    program("chcon")
    script.on("chcon", "-t", "swapfile_t", PATH, status=status, stderr="chcon: failed to change context")
    assert swap.ensure(system, PATH, SIZE)
    assert script.ran[:2] == [("chcon", "-t", "swapfile_t", PATH), DD]


# -- encrypted -----------------------------------------------------------------------------------------------------

OPEN = (*swap.ENCRYPT, PATH, "waagent-swap")


@pytest.fixture
def mapped(system: System, disk, script: Script, put):
    """A mounted disk, and a cryptsetup that makes /dev/mapper/waagent-swap."""
    disk()

    def mapping() -> None:
        put("/dev/dm-0")
        system.path("/dev/mapper").mkdir(exist_ok=True)
        if not system.exists(swap.MAPPED):
            (system.path("/dev/mapper") / "waagent-swap").symlink_to("../dm-0")

    def close() -> None:
        (system.path("/dev/mapper") / "waagent-swap").unlink()

    script.on(*OPEN, effect=mapping)
    script.on("mkswap", swap.MAPPED)
    script.on("swapon", swap.MAPPED, effect=lambda: put("/proc/swaps", "Filename Type\n/dev/dm-0 partition\n"))
    script.on("swapoff", swap.MAPPED, effect=lambda: put("/proc/swaps", "Filename Type\n"))
    script.on("cryptsetup", "close", "waagent-swap", effect=close)
    return mapping


def test_encrypted_swap_is_a_mapping_with_a_key_that_nobody_knows(system: System, script: Script, mapped) -> None:
    assert swap.ensure(system, PATH, SIZE, encrypted=True)
    assert script.ran == [DD, OPEN, ("mkswap", swap.MAPPED), ("swapon", swap.MAPPED)]
    assert "/dev/urandom" in OPEN
    assert not swap.ensure(system, PATH, SIZE, encrypted=True)


def test_after_a_restart_the_same_file_gets_another_key(system: System, script: Script, mapped, put) -> None:
    swap.ensure(system, PATH, SIZE, encrypted=True)
    put("/proc/swaps", "Filename Type\n")
    (system.path("/dev/mapper") / "waagent-swap").unlink()
    script.ran.clear()
    assert swap.ensure(system, PATH, SIZE, encrypted=True)
    assert script.ran == [OPEN, ("mkswap", swap.MAPPED), ("swapon", swap.MAPPED)]


@pytest.mark.parametrize("encrypted", [True, False])
def test_encryption_is_switched_on_and_off(system: System, script: Script, mapped, encrypted: bool) -> None:
    swap.ensure(system, PATH, SIZE, encrypted=not encrypted)
    script.on("swapon", PATH, status=0 if encrypted else 1, effect=lambda: script.on("swapon", PATH))
    script.ran.clear()
    assert swap.ensure(system, PATH, SIZE, encrypted=encrypted)
    assert script.ran[0] == ("swapoff", PATH if encrypted else swap.MAPPED)
    assert (OPEN in script.ran) == encrypted
    assert (("cryptsetup", "close", "waagent-swap") in script.ran) == (not encrypted)


@pytest.mark.row("provisioning", 81)
def test_row_81_encrypted_swap_of_another_size_is_made_anew(system: System, script: Script, mapped, put) -> None:
    swap.ensure(system, PATH, SIZE, encrypted=True)
    with open(system.path(PATH), "r+b") as stream:
        stream.truncate(4096)
    script.ran.clear()
    assert swap.ensure(system, PATH, SIZE, encrypted=True)
    assert script.ran[:2] == [("swapoff", swap.MAPPED), ("cryptsetup", "close", "waagent-swap")]
    assert DD in script.ran


def test_what_cannot_be_encrypted_is_not_used(system: System, script: Script, mapped) -> None:
    script.on(*OPEN, status=1, stderr="Cannot use device: loop is not available")
    with pytest.raises(DiskError, match=r"cannot encrypt the swap file.*loop is not available.*there is no swap space"):
        swap.ensure(system, PATH, SIZE, encrypted=True)
    assert ("swapon", PATH) not in script.ran


def test_what_is_in_use_and_cannot_be_spared_stays(system: System, script: Script, disk, put) -> None:
    disk()
    put(PATH, b"x" * 4096)
    put("/proc/swaps", f"Filename Type\n{PATH} file\n")
    script.on("swapoff", PATH, status=255, stderr="swapoff: Cannot allocate memory")
    with pytest.raises(DiskError, match=r"cannot take the swap file .* out of use: .*it stays as it is"):
        swap.ensure(system, PATH, SIZE)
    assert system.exists(PATH)


def test_a_file_that_is_not_wanted_any_more_goes(system: System, script: Script, disk) -> None:
    disk()
    assert not swap.drop(system, PATH)
    swap.ensure(system, PATH, SIZE)
    assert swap.drop(system, PATH)
    assert not system.exists(PATH) and swap.active(system) == []
