"""What a bed needs of the machine it runs on.

missing() returns one line for each thing that is not there, empty when beds can run; missing_for_machines() the
same for beds with virtual machines, which need more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

# program -> Debian package that has it
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "git": "git",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "dh_python3": "dh-python",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "openssl": "openssl",
    "dnsmasq": "dnsmasq-base",
}

MACHINE_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
    "genisoimage": "genisoimage",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mkntfs": "ntfs-3g",
}


def missing() -> list[str]:
    return _missing(PROGRAMS)


def missing_for_machines() -> list[str]:
    return _missing({**PROGRAMS, **MACHINE_PROGRAMS})


def _missing(programs: Mapping[str, str]) -> list[str]:
    found = []
    if os.geteuid() != 0:
        found.append("not root: run it with sudo")
    if not Path("/etc/debian_version").exists():
        found.append("not Debian: the guests are made with mmdebstrap and dpkg")
    packages = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if packages:
        found.append(f"programs are missing: apt-get install {' '.join(packages)}")
    if not _overlay():
        found.append("the kernel has no overlayfs: modprobe overlay")
    return found


def _overlay() -> bool:
    """The kernel loads the module on the first mount, so a module on disk counts as well."""
    if "\toverlay\n" in Path("/proc/filesystems").read_text(encoding="ascii"):
        return True
    modules = Path("/lib/modules") / os.uname().release
    return any(modules.glob("kernel/fs/overlayfs/overlay.ko*"))
