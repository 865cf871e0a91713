"""What a virtual machine starts from: a disk image, a kernel, an initial RAM disk. Made once, cached.

    kernel()      -> Kernel(vmlinuz, initrd) of Debian's cloud kernel
    image(deb)    -> Path of a raw ext4 image: the guest tree with its kernel's modules, `deb` installed, the door

The image is written by mke2fs from a directory: nothing is mounted but overlays of directories. It is sparse;
who boots it takes a copy. It is keyed by the tree, the content of the .deb and the files in in_vm/.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bed import cache, tree
from bed.cache import say

SUITE = "bookworm"
PACKAGES = ("linux-image-cloud-amd64", "xfsprogs", "btrfs-progs", "cryptsetup-bin", "grub2-common", "mdadm")
SIZE = "3G"
IN_VM = Path(__file__).resolve().parent / "in_vm"
PLACES = {
    "door": ("usr/lib/bed/door", 0o755),
    "bed-door.service": ("etc/systemd/system/bed-door.service", 0o644),
    "65-bed.rules": ("etc/udev/rules.d/65-bed.rules", 0o644),
    "99-bed.rules": ("etc/udev/rules.d/99-bed.rules", 0o644),
    "wait-online.conf": ("etc/systemd/system/systemd-networkd-wait-online.service.d/bed.conf", 0o644),
    "10-eth0.network": ("etc/systemd/network/10-eth0.network", 0o644),
}

STORAGE_RULES = "udev/rules.d/66-azure-storage.rules"
# What has nothing to do with the agent, and costs seconds of an emulated processor at each boot.
UNWANTED = (
    "e2scrub_reap.service", "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "modprobe@configfs.service",
    "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
    "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-network-generator.service",
    "systemd-pstore.service", "systemd-sysusers.service", "getty@tty1.service", "serial-getty@ttyS0.service",
)  # fmt: skip

# All that it takes to reach the root file system: unpacking more costs seconds without hardware virtualization.
INITRD = """
set -eu
printf 'MODULES=list\\nCOMPRESS=gzip\\nBUSYBOX=n\\nFSTYPE=ext4\\n' >/etc/initramfs-tools/conf.d/bed
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >/etc/initramfs-tools/modules
mkinitramfs -o /boot/bed-initrd "$(ls /lib/modules)"
"""


class Kernel(NamedTuple):
    vmlinuz: Path
    initrd: Path


def kernel() -> Kernel:
    base = tree.base(SUITE, *PACKAGES)
    kept = cache.directory() / "kernels" / f"{base.name.rsplit('-', 1)[-1]}-{_digest(INITRD)}"
    with cache.locked("kernels"):
        if not kept.exists():
            say("making the initial RAM disk of virtual machines")
            with _copy(base) as root:
                cache.checked(["chroot", str(root), "sh", "-c", INITRD], "make an initial RAM disk")
                new = kept.with_name(kept.name + ".new")
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir(parents=True)
                shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), new / "vmlinuz")
                shutil.copyfile(root / "boot" / "bed-initrd", new / "initrd")
            new.rename(kept)
    return Kernel(kept / "vmlinuz", kept / "initrd")


def image(deb: Path) -> Path:
    base = tree.base(SUITE, *PACKAGES)
    ours = "".join((IN_VM / name).read_text(encoding="utf-8") for name in sorted(PLACES))
    key = _digest(base.name, hashlib.sha256(deb.read_bytes()).hexdigest(), ours, SIZE, *UNWANTED)
    kept = cache.directory() / "images" / f"{SUITE}-{key}"
    with cache.locked("images"):
        if not kept.exists():
            say(f"making a disk image with {deb.name}")
            cache.drop_old(kept.parent, keep=2)
            new = kept.with_name(kept.name + ".new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            with _copy(base) as root:
                _install(root, deb)
                _write(root, new / "disk")
            new.rename(kept)
    return kept / "disk"


def _install(root: Path, deb: Path) -> None:
    shutil.copyfile(deb, root / "waagent.deb")
    cache.checked(["chroot", str(root), "dpkg", "--install", "/waagent.deb"], f"install {deb.name}")
    (root / "waagent.deb").unlink()
    for name, (place, mode) in PLACES.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(IN_VM / name, path)
        path.chmod(mode)
    cache.checked(["chroot", str(root), "systemctl", "mask", *UNWANTED], "mask what the agent has no need of")
    shipped = next(path for path in (root / "usr/lib" / STORAGE_RULES, root / "lib" / STORAGE_RULES) if path.exists())
    rules = shipped.read_text(encoding="utf-8").replace("ATTRS{device_id}", "ENV{BED_DEVICE_ID}")
    (root / "etc" / STORAGE_RULES).write_text(rules, encoding="utf-8")
    for path in (root / "boot").iterdir():  # QEMU is given the kernel directly
        path.unlink()


def _write(root: Path, disk: Path) -> None:
    command = ["mke2fs", "-q", "-t", "ext4", "-L", "os", "-E", "lazy_itable_init=1,root_owner=0:0", "-d", str(root)]
    cache.checked(["nice", *command, str(disk), SIZE], "write a disk image")


@contextmanager
def _copy(base: Path) -> Iterator[Path]:
    """A copy of the tree to work in, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="vm-", dir=cache.directory()) as scratch:
        upper, work, root = (Path(scratch) / name for name in ("upper", "work", "root"))
        with tree.mounted([base], upper, work, root):
            yield root
        # A lazy umount may still be under way below.
        subprocess.run(["sync", "-f", scratch], check=False)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
