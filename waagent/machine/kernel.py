"""Kernel knobs: the time limit of SCSI requests, modules, virtual NUMA.

set_scsi_timeout(system, profile, seconds)   names of the disks that were changed
load_module(system, name)                    false when the kernel has no such module
stumbles_over_numa(system)                   whether this kernel cannot boot on several virtual NUMA nodes

The limit is set on all sd* disks, whatever the option's name says: the platform may hold a request back for
minutes while it moves a disk, and a request that fails makes the file system read-only. NVMe disks have their own
rules.

Source: provisioning 8.1, 8.2, 8.6.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waagent.errors import CommandFailed, SystemRefused
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

BLOCK = "/sys/block"
LAST_WITHOUT_NUMA = (2, 6, 37)
NUMA_OFF = "numa=off"


def set_scsi_timeout(system: System, profile: DistroProfile, seconds: int) -> list[str]:
    """Have this limit on every SCSI disk. Raises CommandFailed (BSD). A disk that went away does not count."""
    method = profile.text("kernel.scsi-timeout")
    if method == "sysctl":
        return _by_sysctl(system, profile.text("kernel.scsi-timeout-sysctl") or "", seconds)
    if method != "sysfs":
        return []
    changed = []
    for disk in system.listing(BLOCK):
        knob = f"{BLOCK}/{disk}/device/timeout"
        if not disk.startswith("sd") or not system.exists(knob):
            continue
        try:
            if system.poke(knob, str(seconds)):
                changed.append(disk)
        except SystemRefused:
            if system.exists(knob):
                raise
    return changed


def load_module(system: System, name: str) -> bool:
    """Have the module loaded or built in; false when there is none or it is forbidden (-b: black lists count)."""
    if system.exists(f"/sys/module/{name}"):
        return True
    if system.which("modprobe") is None:
        return False
    try:
        system.run("modprobe", "-b", name)
    except CommandFailed:
        return False
    return True


def stumbles_over_numa(system: System) -> bool:
    """Kernels up to 2.6.37 do; false as well where the kernel was told not to look."""
    try:
        release = system.read_text("/proc/sys/kernel/osrelease")
        told = system.read_text("/proc/cmdline").split()
    except OSError:
        return False
    version = re.match(r"(\d+)\.(\d+)\.?(\d*)", release)
    if version is None or NUMA_OFF in told:
        return False
    return tuple(int(part or 0) for part in version.groups()) <= LAST_WITHOUT_NUMA


def _by_sysctl(system: System, name: str, seconds: int) -> list[str]:
    if not name:
        return []
    now = system.run("sysctl", "-n", name, reads=True).stdout.strip()
    if now == str(seconds):
        return []
    system.run("sysctl", f"{name}={seconds}")
    return [name]
