"""What /etc/fstab says of a disk. It is read here, and never written.

entry_of(system, *devices)   the first Entry that means one of these devices, or means the resource disk by one of
                             udev's names for it; None

Entry
    device          as written: a node, a link, LABEL=…
    options         nofail, comment=cloudconfig, …
    is_cloud_inits  cloud-init wrote it: the disk is cloud-init's
    is_stable       it names the disk by what it is, and a boot without the disk goes on

Source: fstab(5); field demands 126, 128.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from waagent.machine import mounts
from waagent.system import System

PATH = "/etc/fstab"
OF_RESOURCE_DISK = ("/dev/disk/cloud/azure_resource", "/dev/disk/azure/resource")
KERNEL_NAME = re.compile(r"/dev/(sd[a-z]+|nvme\d+n\d+|vd[a-z]+|hd[a-z]+|xvd[a-z]+)p?\d*")


class Entry(NamedTuple):
    device: str
    directory: str
    options: tuple[str, ...]

    @property
    def is_cloud_inits(self) -> bool:
        return "comment=cloudconfig" in self.options

    @property
    def is_stable(self) -> bool:
        return KERNEL_NAME.fullmatch(self.device) is None and "nofail" in self.options


def entry_of(system: System, *devices: str) -> Entry | None:
    wanted = {mounts.node(system, device) for device in devices}
    for entry in _entries(system):
        means_it = entry.device.startswith(OF_RESOURCE_DISK)
        if means_it or (entry.device.startswith("/dev/") and mounts.node(system, entry.device) in wanted):
            return entry
    return None


def _entries(system: System) -> list[Entry]:
    try:
        lines = system.read_text(PATH).splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [Entry(each[0], each[1], tuple(each[3].split(","))) for each in fields if len(each) >= 4]
