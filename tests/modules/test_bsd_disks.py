"""The resource disk and swap on BSD, with the commands of those systems and what they print."""

from __future__ import annotations

import os
import struct

import pytest

from tests.modules.conftest import load_module, settle
from tests.ntfs_volume import volume
from waagent.errors import DiskError
from waagent.machine import bsd_disks, mounts

POINT = "/mnt/resource"
SYSCTL = """dev.storvsc.1.%parent: vmbus0
dev.storvsc.1.%pnpinfo: classid=32412632-86cb-44a2-9b5c-50d1417354f5 deviceid=00000000-0001-8899-0000-000000000000
dev.storvsc.0.%pnpinfo: classid=32412632-86cb-44a2-9b5c-50d1417354f5 deviceid=00000000-0000-8899-0000-000000000000
"""
BUSES = "scbus0 on ata0 bus 0\nscbus2 on storvsc0 bus 0\nscbus3 on storvsc1 bus 0\nscbus-1 on xpt0 bus 0\n"
DEVICES = """<Msft Virtual Disk 1.0>            at scbus2 target 0 lun 0 (pass0,da0)
<Msft Virtual Disk 1.0>            at scbus3 target 0 lun 0 (da1,pass1)
"""
MBR = "=>      63  33554369    da1  MBR  (16G)\n        63      1985         - free -  (993K)\n      2048  33550336  da1s1  ntfs  (16G)\n"
GPT = "=>      34  33554369    da1  GPT  (16G)\n        34    262144  da1p1  ms-reserved  (128M)\n    264192  33550336  da1p2  ms-basic-data  (16G)\n"
MOUNT = ("mount", "-t", "ufs", "/dev/da1s1", POINT)
NEWFS = ("newfs", "-U", "/dev/da1s1")
FRESH = volume()
FREE = "Geom name: da1\nProviders:\n1. Name: da1\n   Mediasize: 17179869184 (16G)\n   Mode: r0w0e0\n"


def mbr(*entries: tuple[int, int], at: dict[int, bytes] | None = None) -> bytes:
    """The head of a disk: partitions (type, first sector), and what lies at some sectors."""
    head = bytearray(3 * 1024 * 1024)
    for number, (kind, start) in enumerate(entries):
        head[446 + 16 * number : 462 + 16 * number] = struct.pack("<4sB3sII", b"", kind, b"", start, 1000)
    head[510:512] = b"\x55\xaa"
    for sector, content in (at or {}).items():
        head[sector * 512 : sector * 512 + len(content)] = content
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (b"\0" * 4096, "blank"),
        (FRESH, "platform"),
        (mbr((7, 128), at={128: FRESH}), "platform"),
        (mbr((7, 2048), at={2048: FRESH}), "platform"),
        (bytes(65536 + 1372) + struct.pack("<I", 0x19540119) + bytes(4096), "ufs"),
        (FRESH.ljust(65536 + 1372, b"\0") + struct.pack("<I", 0x19540119), "ufs"),
        (mbr((7, 128)), "other"),
        (mbr((7, 128), (7, 256), at={128: FRESH}), "other"),
        (mbr((0xA6, 128), at={128: FRESH}), "other"),
        (mbr(), "other"),
        (b"data of the owner".ljust(4096, b"."), "other"),
    ],
)
def test_what_is_on_a_disk_is_read_from_its_first_bytes(head: bytes, content: str) -> None:
    assert bsd_disks.content_of(head).kind == content


# -- FreeBSD -------------------------------------------------------------------------------------------------------


@pytest.fixture
def freebsd(ctx, declared, script, put):
    """A FreeBSD with a resource disk da1 that has the platform's partition, and no swap space."""
    declared("ResourceDisk.Filesystem=ufs\nResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100", "freebsd", "14.1")
    script.on("sysctl", "dev.storvsc", stdout=SYSCTL)
    script.on("camcontrol", "devlist", "-b", stdout=BUSES)
    script.on("camcontrol", "devlist", stdout=DEVICES)
    script.on("gpart", "show", "-p", "da1", stdout=MBR)
    script.on("geom", "disk", "list", "da1", stdout=FREE)
    script.on("mount", stdout="/dev/da0p2 on / (ufs, local, journaled soft-updates)\n")
    put("/dev/da1s1", FRESH)

    def mounted() -> None:
        script.on("mount", stdout=f"/dev/da0p2 on / (ufs, local)\n/dev/da1s1 on {POINT} (ufs, local)\n")

    script.on(*MOUNT, status=1, stderr="mount: /dev/da1s1: Invalid argument")
    script.on(*NEWFS, effect=lambda: script.on(*MOUNT, effect=mounted))
    return load_module("config/21-resource-disk-freebsd.py")


def test_freebsd_makes_the_platform_s_fresh_disk_its_own(ctx, script, freebsd):
    assert freebsd.run(ctx).message == "made ufs on /dev/da1s1 and mounted it on /mnt/resource"
    assert [argv for argv in script.ran if argv in (MOUNT, NEWFS)] == [MOUNT, NEWFS, MOUNT]
    assert "can be lost" in ctx.system.path(f"{POINT}/DATALOSS_WARNING_README.txt").read_text()
    settle(ctx)
    assert freebsd.run(ctx).kind == "unchanged"
    assert ctx.system.effects == []


def test_freebsd_mounts_a_file_system_as_it_is(ctx, script, freebsd):
    script.on(*MOUNT)
    assert freebsd.run(ctx).message == "mounted /dev/da1s1 on /mnt/resource"
    assert NEWFS not in script.ran


def test_freebsd_leaves_data_that_it_cannot_mount(ctx, script, freebsd, put):
    put("/dev/da1s1", b"what an owner wrote".ljust(8192, b"."))
    with pytest.raises(DiskError, match=r"Invalid argument; data of its owner may be there, so it is left"):
        freebsd.run(ctx)
    assert NEWFS not in script.ran


@pytest.mark.parametrize(
    ("content", "why"),
    [(volume(["thesis.doc"]), r"it is NTFS and has files \(thesis.doc\), it is left"),
     (FRESH[:4096], "its NTFS is damaged"),
     # newfs leaves the first sector of what was there before: it says NTFS and is not
     (FRESH.ljust(65536 + 1372, b"\0") + struct.pack("<I", 0x19540119), "it holds UFS, which fsck may mend")],
)  # fmt: skip
def test_freebsd_never_formats_files_of_an_owner(ctx, script, freebsd, put, content, why):
    put("/dev/da1s1", content)
    with pytest.raises(DiskError, match=why):
        freebsd.run(ctx)
    assert NEWFS not in script.ran


@pytest.mark.row("field-demands", 124)
def test_row_124_freebsd_never_takes_the_disk_that_the_system_is_on(ctx, declared, script, freebsd):
    declared("ResourceDisk.Filesystem=ufs\nResourceDisk.Device=/dev/da0", "freebsd", "14.1")
    with pytest.raises(DiskError, match=r"cannot use da0 as the resource disk: the running system is on it \(/\)"):
        freebsd.run(ctx)
    assert script.ran == [("mount",)]


@pytest.mark.row("field-demands", 124)
@pytest.mark.parametrize(
    ("mode", "kind", "why"),
    [("Mode: r1w1e2", "ms-basic-data", r"it is in use \(r1w1e2\)"), ("", "ms-basic-data", "geom does not say"),
     ("Mode: r0w0e0", "freebsd-swap", "da2p2 is freebsd-swap"), ("Mode: r0w0e0", "freebsd-zfs", "da2p2 is freebsd-zfs")],
)  # fmt: skip
def test_row_124_freebsd_never_formats_what_is_in_use_or_meant_for_something_else(
    ctx, declared, script, freebsd, put, mode, kind, why
):
    """The disk of a system whose root is on ZFS, say, and whose swap partition begins with zeros."""
    declared("ResourceDisk.Filesystem=ufs\nResourceDisk.Device=/dev/da2", "freebsd", "14.1")
    script.on("gpart", "show", "-p", "da2", stdout=GPT.replace("da1", "da2").replace("ms-basic-data", kind))
    script.on("geom", "disk", "list", "da2", stdout=f"Geom name: da2\n   {mode}\n")
    script.on(*MOUNT[:3], "/dev/da2p2", POINT, status=1, stderr="mount: /dev/da2p2: Invalid argument")
    put("/dev/da2p2", bytes(4096))
    with pytest.raises(DiskError, match=why):
        freebsd.run(ctx)
    assert [argv for argv in script.ran if argv[0] == "newfs"] == []


def test_freebsd_publishes_a_disk_that_takes_no_warning(ctx, script, freebsd, put):
    put(f"{POINT}/DATALOSS_WARNING_README.txt/x")
    script.on(*MOUNT)
    assert freebsd.run(ctx).kind == "changed"
    assert ctx.published["resource_disk"]["mount_point"] == POINT
    assert any("the warning on the resource disk is not written" in note for note in ctx.notes)


def test_freebsd_finds_the_second_partition_of_a_large_disk(ctx, script, freebsd, put):
    script.on("gpart", "show", "-p", "da1", stdout=GPT)
    put("/dev/da1p2", FRESH)
    mount = (*MOUNT[:3], "/dev/da1p2", POINT)
    script.on(*mount)
    assert freebsd.run(ctx).message == "mounted /dev/da1p2 on /mnt/resource"


@pytest.mark.parametrize(
    ("shown", "why"),
    [("", "no partition table"), ("=>  1 2  da1  BSD  (16G)\n", "a table of kind BSD"),
     ("=>  63 33554369    da1  MBR  (16G)\n", "no partition da1s1")],
)  # fmt: skip
def test_freebsd_leaves_a_disk_without_the_platform_s_partition(ctx, script, freebsd, shown, why):
    script.on("gpart", "show", "-p", "da1", stdout=shown)
    with pytest.raises(DiskError, match=f"da1 has {why}; it is left as it is"):
        freebsd.run(ctx)


def test_freebsd_finds_the_disk_of_generation_2_by_its_address(ctx, script, freebsd):
    script.on("sysctl", "dev.storvsc", stdout="")
    script.on("gpart", "list", stdout="Geom name: da0\nGeom name: da1\n")
    script.on("camcontrol", "periphlist", "2:1:0", status=1)
    script.on("camcontrol", "periphlist", "3:1:0", stdout="pass2:  generation: 3\nda1:  generation: 4 index: 1\n")
    assert bsd_disks.freebsd_disk(ctx.system) == "da1"
    script.on("camcontrol", "periphlist", "3:1:0", status=1)
    assert freebsd.run(ctx).message == "this VM size has no resource disk"


def test_freebsd_makes_no_other_file_system(ctx, declared, script, freebsd):
    declared("ResourceDisk.Filesystem=ext4", "freebsd", "14.1")
    with pytest.raises(DiskError, match=r"this system makes ufs; set ResourceDisk\.Filesystem=ufs"):
        freebsd.run(ctx)
    assert script.ran == []


def test_a_freebsd_that_leaves_disks_alone_does(ctx, declared, script, freebsd):
    declared("", "nsbsd", "4.3")
    assert freebsd.run(ctx).message == "this system leaves disks alone"
    assert script.ran == []


@pytest.fixture
def freebsd_swap(ctx, freebsd, script, monkeypatch):
    """The disk mounted; mdconfig gives md0, and what is in use is in `used`."""
    monkeypatch.setattr(mounts, "free", lambda system, directory: 4 * 1024**3)
    freebsd.run(ctx)
    settle(ctx)
    path = f"{POINT}/swapfile"

    def listed(area: str = "") -> None:
        line = f"{area}  1024 0\n" if area else ""
        script.on("swapctl", "-l", stdout=f"Device:       1024-blocks     Used:\n{line}")

    def unit() -> None:
        script.on("mdconfig", "-l", "-v", stdout=f"md0\tvnode\t  100M\t{path}\t\n")

    def grow() -> None:
        with open(ctx.system.path(path), "r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, 104857600)

    script.on("mdconfig", "-l", "-v")
    script.on("dd", "if=/dev/zero", f"of={path}", "bs=1m", "count=100", effect=grow)
    script.on("mdconfig", "-a", "-t", "vnode", "-f", path, stdout="md0\n", effect=unit)
    for device in ("/dev/md0", "/dev/md0.eli"):
        script.on("chmod", "0600", device)
        script.on("swapon", device, effect=lambda device=device: listed(device))
        script.on("swapoff", device, effect=listed)
    for name in ("aesni", "cryptodev", "geom_eli"):
        script.on("kldload", "-n", name)
    script.on("geli", "onetime", "-e", "AES-XTS", "-l", "256", "-d", "/dev/md0")
    script.on("mdconfig", "-d", "-u", "md0", effect=lambda: script.on("mdconfig", "-l", "-v"))
    listed()
    script.ran.clear()
    return load_module("config/26-swap-bsd.py")


def test_freebsd_swaps_to_a_file_behind_a_memory_disk(ctx, script, freebsd_swap):
    assert freebsd_swap.run(ctx).message == "/mnt/resource/swapfile is in use, 100 MiB"
    assert script.ran[-1] == ("swapon", "/dev/md0")
    status = ctx.system.path(f"{POINT}/swapfile").stat()
    assert (status.st_size, status.st_mode & 0o777) == (104857600, 0o600)
    assert freebsd_swap.run(ctx).kind == "unchanged"


def test_freebsd_encrypts_it_where_asked(ctx, declared, script, freebsd_swap):
    freebsd_swap.run(ctx)
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=100\nResourceDisk.EnableSwapEncryption=y", "freebsd", "14.1")
    assert freebsd_swap.run(ctx).message.endswith("encrypted")
    assert ("swapoff", "/dev/md0") in script.ran and script.ran[-1] == ("swapon", "/dev/md0.eli")
    assert script.ran.index(("geli", "onetime", "-e", "AES-XTS", "-l", "256", "-d", "/dev/md0"))
    assert freebsd_swap.run(ctx).kind == "unchanged"


@pytest.mark.row("provisioning", 80)
def test_row_80_freebsd_swap_that_does_not_fit_is_refused(ctx, script, freebsd_swap, monkeypatch):
    monkeypatch.setattr(mounts, "free", lambda system, directory: 100 * 1024**2)
    with pytest.raises(DiskError, match="it would take 100 MiB and 100 MiB are free on /mnt/resource"):
        freebsd_swap.run(ctx)
    assert not ctx.system.exists(f"{POINT}/swapfile")


@pytest.mark.row("provisioning", 83)
def test_row_83_freebsd_swap_without_a_size_is_an_error(ctx, declared, freebsd_swap):
    declared("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=0", "freebsd", "14.1")
    with pytest.raises(DiskError, match="SwapSizeMB is 0"):
        freebsd_swap.run(ctx)


# -- OpenBSD -------------------------------------------------------------------------------------------------------

FFS = ("mount", "-t", "ffs", "/dev/wd1a", POINT)
LABEL = ("disklabel", "-w", "-A", "-T", "/run/waagent/disklabel", "wd1")


@pytest.fixture
def openbsd(ctx, declared, script, put):
    declared("ResourceDisk.Filesystem=ufs2\nResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=65536", "openbsd", "7.5")
    script.on("sysctl", "-n", "hw.disknames", stdout="wd0:abcdef0123456789,cd0:,wd1:\n")
    script.on("mount", stdout="/dev/wd0a on / type ffs (local)\n")
    put("/dev/rwd1c", mbr((7, 128), at={128: FRESH}))
    script.on(*FFS, status=1, stderr="mount_ffs: /dev/wd1a on /mnt/resource: Device not configured")
    script.on("swapctl", "-l", stdout="Device      512-blocks     Used    Avail Capacity  Priority\n/dev/wd0b 1 0 1 0% 0\n")
    script.on("fdisk", "-yi", "wd1")
    script.on(*LABEL)

    def mounted() -> None:
        script.on("mount", stdout=f"/dev/wd0a on / type ffs (local)\n/dev/wd1a on {POINT} type ffs (local)\n")

    script.on("newfs", "-O2", "wd1a", effect=lambda: script.on(*FFS, effect=mounted))
    return load_module("config/22-resource-disk-openbsd.py")


def test_openbsd_labels_the_platform_s_fresh_disk(ctx, script, openbsd):
    assert openbsd.run(ctx).message == "made ffs on /dev/wd1a and mounted it on /mnt/resource"
    asked = (("mount",), ("swapctl", "-l"))
    assert [argv for argv in script.ran if argv not in asked][-5:] == [FFS, ("fdisk", "-yi", "wd1"), LABEL, ("newfs", "-O2", "wd1a"), FFS]
    assert ctx.system.read_text("/run/waagent/disklabel") == "/mnt/resource 1G-* 50%\nswap 1-65536M 50%\n"
    settle(ctx)
    assert openbsd.run(ctx).kind == "unchanged"


@pytest.mark.parametrize(
    ("conf", "template"),
    [("ResourceDisk.EnableSwap=n", f"{POINT} 1G-* 100%\n"),
     ("ResourceDisk.EnableSwap=y\nResourceDisk.SwapSizeMB=999999", f"{POINT} 1G-* 50%\nswap 1-524288M 50%\n")],
)  # fmt: skip
def test_openbsd_gives_swap_the_room_that_is_asked_for(ctx, declared, openbsd, conf, template):
    declared(f"ResourceDisk.Filesystem=ufs2\n{conf}", "openbsd", "7.5")
    openbsd.run(ctx)
    assert ctx.system.read_text("/run/waagent/disklabel") == template


@pytest.mark.parametrize("head", [mbr((0xA6, 64)), b"what an owner wrote".ljust(8192, b".")])
def test_openbsd_leaves_data_that_it_cannot_mount(ctx, script, openbsd, put, head):
    put("/dev/rwd1c", head)
    with pytest.raises(DiskError, match="data of its owner may be there"):
        openbsd.run(ctx)
    assert ("fdisk", "-yi", "wd1") not in script.ran


def test_openbsd_leaves_ntfs_with_files(ctx, script, openbsd, put):
    put("/dev/rwd1c", mbr((7, 128), at={128: volume(["thesis.doc"])}))
    with pytest.raises(DiskError, match=r"it is NTFS and has files \(thesis.doc\), it is left"):
        openbsd.run(ctx)
    assert ("fdisk", "-yi", "wd1") not in script.ran


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("program", [LABEL, ("newfs", "-O2", "wd1a")])
def test_openbsd_goes_on_after_a_power_cut_unless_somebody_has_worked_on_the_disk(
    ctx, script, openbsd, put, program, touched
):
    def strike():
        raise PowerCut

    script.on("fdisk", "-yi", "wd1", effect=lambda: put("/dev/rwd1c", mbr((0xA6, 64))))
    script.on(*LABEL, effect=lambda: put("/dev/rwd1c", mbr((0xA6, 64), at={65: b"label"})))
    script.on(*program, effect=strike)
    with pytest.raises(PowerCut):
        openbsd.run(ctx)
    script.ran.clear()
    script.on(*LABEL)
    script.on("newfs", "-O2", "wd1a", effect=lambda: script.on(*FFS))
    if touched:
        put("/dev/rwd1c", mbr((0xA6, 64), at={65: b"label", 2048: b"what an owner wrote"}))
        with pytest.raises(DiskError, match="data of its owner may be there"):
            openbsd.run(ctx)
        assert ("fdisk", "-yi", "wd1") not in script.ran
    else:
        assert openbsd.run(ctx).message.startswith("made ffs on /dev/wd1a")
    assert not ctx.system.exists("/var/lib/waagent/resource-disk.json")


@pytest.mark.row("field-demands", 124)
@pytest.mark.parametrize("named", ["/dev/sd2", "sd2", "/dev/sd2a", "/dev/rsd2c"])
def test_row_124_openbsd_takes_the_disk_that_is_named(ctx, declared, script, openbsd, put, named):
    declared(f"ResourceDisk.Filesystem=ufs2\nResourceDisk.Device={named}", "openbsd", "7.5")
    script.on("sysctl", "-n", "hw.disknames", stdout="wd0:abcdef0123456789,cd0:,wd1:,sd2:\n")
    script.on("mount", "-t", "ffs", "/dev/sd2a", POINT)
    assert openbsd.run(ctx).message == "mounted /dev/sd2a on /mnt/resource"


@pytest.mark.row("field-demands", 124)
@pytest.mark.parametrize(
    ("named", "why"),
    [("/dev/sd3", "there is no /dev/sd3"), ("LUN=1", "there is no LUN=1"), ("wd0", r"the running system is on it \(/\)")],
)
def test_row_124_openbsd_takes_no_other(ctx, declared, script, openbsd, named, why):
    declared(f"ResourceDisk.Filesystem=ufs2\nResourceDisk.Device={named}", "openbsd", "7.5")
    with pytest.raises(DiskError, match=why):
        openbsd.run(ctx)
    assert {argv[0] for argv in script.ran} <= {"sysctl", "mount"}


def test_openbsd_makes_nothing_on_a_disk_that_is_in_use(ctx, script, openbsd):
    script.on("swapctl", "-l", stdout="Device\n/dev/wd1b 1 0 1 0% 0\n")
    with pytest.raises(DiskError, match="/dev/wd1b is in use; it is left as it is"):
        openbsd.run(ctx)
    assert ("fdisk", "-yi", "wd1") not in script.ran


def test_openbsd_without_the_disk_is_skipped(ctx, script, openbsd):
    script.on("sysctl", "-n", "hw.disknames", stdout="wd0:abc,wd10:,cd0:\n")
    assert openbsd.run(ctx).message == "this VM size has no resource disk"


def test_openbsd_swaps_to_a_partition(ctx, script, openbsd):
    openbsd.run(ctx)
    settle(ctx)
    step = load_module("config/26-swap-bsd.py")
    used = "Device      512-blocks     Used    Avail Capacity  Priority\n"
    script.on("swapctl", "-l", stdout=used)
    script.on("swapctl", "-a", "/dev/wd1b", effect=lambda: script.on("swapctl", "-l", stdout=f"{used}/dev/wd1b 1 0 1 0% 0\n"))
    assert step.run(ctx).message == "/dev/wd1b is in use"
    assert step.run(ctx).kind == "unchanged"


@pytest.mark.parametrize("name", ["20-resource-disk", "25-swap"])
@pytest.mark.parametrize("distro", ["freebsd", "openbsd"])
def test_the_steps_of_linux_leave_bsd_to_these(ctx, declared, script, name, distro):
    declared("ResourceDisk.EnableSwap=y", distro)
    assert "looked after by a step of its own" in load_module(f"config/{name}.py").run(ctx).message
    assert script.ran == []
