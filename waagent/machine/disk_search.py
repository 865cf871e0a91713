"""Which disk is the resource disk: by what the admin says, by the buses of the platform, by names of udev.

    candidates(system, named)      devices that may be it, the best first; [] where the VM size has none
    resource_disk(system, named)   the first of them, or None

Where it is looked for, in this order; the first place that has one settles it:

    named     ResourceDisk.Device: /dev/sdx or a link to it, LUN=n of a data disk, LABEL=, UUID=, PARTLABEL= or
              PARTUUID= of a partition (then the disk that the partition is on)
    IDE       port 1 of the first controller of the VMBus (generation 1)
    SCSI      logical unit 1 of the first SCSI controller of the VMBus (generation 2)
    NVMe      disks that say they are local; sizes with several have several candidates
    links     what udev rules, ours or cloud-init's, call the resource disk

Never a disk that holds a part of the running system. A disk that its bus shows already and that has no node yet is
waited for, for as long as udev has work.

Source: provisioning 6.1, 8.8; field demands 60, 119, 124, 125.
"""

from __future__ import annotations

import posixpath
import re
import stat

from waagent.errors import DiskError
from waagent.machine import mounts
from waagent.system import System

VMBUS = "/sys/bus/vmbus/devices"
BLOCK = "/sys/block"
IDE_PORT_1 = "00000000-0001"
SCSI_0 = "f8b3781a-1e82-4818-a1c3-63d806ec15bb"
RESOURCE_LUN = "1"
# Data disks of the owner hang on these, as a rule on the first.
DATA_CONTROLLERS = ("f8b3781b-", "f8b3781c-", "f8b3781d-")
DATA_LINKS = ("/dev/disk/azure/scsi1/lun{lun}", "/dev/disk/azure/data/by-lun/{lun}")
LOCAL_NVME = "Microsoft NVMe Direct Disk"
LINKS = ("/dev/disk/azure/resource", "/dev/disk/cloud/azure_resource")
BY_NAME = {"LABEL": "by-label", "UUID": "by-uuid", "PARTLABEL": "by-partlabel", "PARTUUID": "by-partuuid"}
WAIT_FOR_NODE = 30
OF_THE_SYSTEM = ("/", "/boot", "/boot/efi", "/efi", "/usr", "/var")


def resource_disk(system: System, named: str | None = None) -> str | None:
    """The device, or None. Raises DiskError when the admin named one that is not there or is the system's."""
    return next(iter(candidates(system, named)), None)


def candidates(system: System, named: str | None = None) -> list[str]:
    """The devices that may be it. Raises DiskError as resource_disk does."""
    if named:
        return [_named(system, named)]
    system_disks = _system_disks(system)
    for find in (_on_ide, _on_scsi, _on_nvme, _by_link):
        found = [f"/dev/{name}" for name in dict.fromkeys(find(system)) if name not in system_disks]
        found = [device for device in found if _await_node(system, device)]
        if found:
            return found
    return []


def _named(system: System, named: str) -> str:
    """The disk that the admin names."""
    kind, _, value = named.partition("=")
    if kind == "LUN" and value.isdecimal():
        name = _at_lun(system, value)
        if name is None:
            raise DiskError(
                f"cannot find the resource disk: no data disk has {named}, which ResourceDisk.Device names"
            )
    else:
        path = f"/dev/disk/{BY_NAME[kind]}/{value}" if kind in BY_NAME and value else named
        if not path.startswith("/dev/"):
            raise DiskError(
                f"cannot find the resource disk: ResourceDisk.Device={named} is no device, and none of LUN=number, "
                f"{', '.join(f'{each}=name' for each in BY_NAME)}"
            )
        if not _await_node(system, path):
            raise DiskError(f"cannot find the resource disk: there is no {path}, which ResourceDisk.Device names")
        name = _disk_of(system, path)
    if name in _system_disks(system):
        raise DiskError(f"cannot use /dev/{name} as the resource disk: the running system is on it")
    return f"/dev/{name}"


def _await_node(system: System, device: str) -> bool:
    """Whether it is there, at the latest when udev has done what it had to do."""
    if not system.exists(device) and system.which("udevadm") is not None:
        system.run(
            "udevadm", "settle", f"--timeout={WAIT_FOR_NODE}", f"--exit-if-exists={device}", reads=True, ok=None
        )
    return system.exists(device)


def _disk_of(system: System, path: str) -> str:
    """The disk that a node or link leads to, through a partition where it is one."""
    name = posixpath.basename(str(system.path(path).resolve()))
    if system.exists(f"{BLOCK}/{name}"):
        return name
    owner = _owner_of(system, name)
    if owner is None:
        raise DiskError(f"cannot use {path} as the resource disk: it is no disk and no partition of one")
    return owner


def _at_lun(system: System, lun: str) -> str | None:
    """The data disk of this logical unit: on the VMBus, else by what udev rules call it."""
    for controller in DATA_CONTROLLERS:
        for guid, path in _channels(system):
            names = _disks_below(system, path, lun) if guid.startswith(controller) else []
            if names:
                return names[0]
    links = (link.format(lun=lun) for link in DATA_LINKS)
    return next((_disk_of(system, link) for link in links if system.exists(link)), None)


def _on_ide(system: System) -> list[str]:
    channels = [path for guid, path in _channels(system) if guid.startswith(IDE_PORT_1)]
    return [name for path in channels for name in _disks_below(system, path)]


def _on_scsi(system: System) -> list[str]:
    channels = [path for guid, path in _channels(system) if guid == SCSI_0]
    return [name for path in channels for name in _disks_below(system, path, RESOURCE_LUN)]


def _on_nvme(system: System) -> list[str]:
    names = [name for name in system.listing(BLOCK) if name.startswith("nvme")]
    return [name for name in names if _line(system, f"{BLOCK}/{name}/device/model").startswith(LOCAL_NVME)]


def _by_link(system: System) -> list[str]:
    """Where the kernel shows no VMBus."""
    names = [posixpath.basename(str(system.path(link).resolve())) for link in LINKS if system.exists(link)]
    return [name for name in names if system.exists(f"{BLOCK}/{name}")]


def _channels(system: System) -> list[tuple[str, str]]:
    """The storage channels of the VMBus: GUID of the controller in small letters, directory."""
    return [
        (_line(system, f"{VMBUS}/{name}/device_id").strip("{}").lower(), f"{VMBUS}/{name}")
        for name in system.listing(VMBUS)
    ]


def _disks_below(system: System, path: str, lun: str | None = None, depth: int = 0) -> list[str]:
    """The disks in `block` directories below a channel; with a LUN only those of host:channel:target:lun."""
    found: list[str] = []
    for name in system.listing(path):
        below = f"{path}/{name}"
        if name.startswith("block:"):  # kernels before 2.6.26
            if lun is None or posixpath.basename(path).rsplit(":", 1)[-1] == lun:
                found.append(name.split(":", 1)[1])
        elif name == "block":
            if lun is None or posixpath.basename(path).rsplit(":", 1)[-1] == lun:
                found += system.listing(below)
        elif depth < 4 and re.match(r"(host|target)?\d+[\d:]*$", name) and _is_real(system, below):
            found += _disks_below(system, below, lun, depth + 1)
    return found


def _is_real(system: System, path: str) -> bool:
    """Whether it is a directory and no link: sysfs is full of links that lead round in circles."""
    try:
        return stat.S_ISDIR(system.status(path).st_mode)
    except OSError:  # its disk has gone meanwhile
        return False


def _system_disks(system: System) -> set[str]:
    """Names of disks that carry what the system runs from, and of the mappings and arrays between."""
    disks: set[str] = set()
    pending = [
        posixpath.basename(str(system.path(mount.device).resolve()))
        for mount in mounts.mounts(system)
        if mount.directory in OF_THE_SYSTEM and mount.device.startswith("/dev/")
    ]
    while pending:
        name = pending.pop()
        disk = _owner_of(system, name) or name
        disks.add(disk)
        pending += system.listing(f"{BLOCK}/{disk}/slaves")
    return disks


def _owner_of(system: System, part: str) -> str | None:
    """The disk that has a partition of this name."""
    return next((disk for disk in system.listing(BLOCK) if part in system.listing(f"{BLOCK}/{disk}")), None)


def _line(system: System, path: str) -> str:
    try:
        return system.read_text(path).strip()
    except OSError:
        return ""
