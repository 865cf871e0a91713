"""Who this machine is, from the firmware: its VM id, and whether it is an Azure VM at all.

identify(system) gives an Identity
    vm_id        UUID, small letters, as the platform writes it (IMDS shows the same)
    source       container, smbios, dmidecode or device-tree: where it was found
    azure        the chassis carries Azure's asset tag; false in a container, where the chassis is the host's
    generation   1 (BIOS) or 2 (UEFI); 0 where it cannot be told (containers)
    container    the container manager's name ("systemd-nspawn"), else ""

It raises InstanceError when the machine has no id. Looked at, in this order: in a container the variable
container_uuid of process 1, because the firmware there is the host's; /sys/class/dmi/id/product_uuid; dmidecode;
the device tree's vm,uuid.

SMBIOS before 2.6 does not say in which byte order the first three groups of a UUID are stored, and the kernel
shows them as they lie there. Hyper-V of generation 1 reports SMBIOS 2.3: there the groups are turned to what the
platform writes. Ids that others have stored may be in either order: compare with `same`.

Source: provisioning 4.8 and 3.4; the kernel's dmi_scan for the byte order.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from waagent.errors import CommandFailed, InstanceError
from waagent.instance.store import same_id as same
from waagent.instance.store import swapped
from waagent.system import System

ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
DMI = "/sys/class/dmi/id"
ENTRY_POINT = "/sys/firmware/dmi/tables/smbios_entry_point"

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BLANK = ("0" * 32, "f" * 32)  # what firmware says that knows no id

__all__ = ["ASSET_TAG", "Identity", "identify", "is_azure", "same", "swapped"]


class Identity(NamedTuple):
    vm_id: str
    source: str
    azure: bool = False
    generation: int = 0
    container: str = ""


def identify(system: System) -> Identity:
    """Find out who this machine is. Raises InstanceError when nothing says so."""
    environ = _process_one(system)
    container = environ.get("container", "")
    given = uuid(environ.get("container_uuid", ""))
    if given:
        return Identity(given, "container", False, 0, container or "unknown")
    azure = is_azure(system)
    generation = 2 if system.exists("/sys/firmware/efi") else 1
    found = uuid(_first_line(system, f"{DMI}/product_uuid"))
    if found:
        return Identity(_in_order(system, found), "smbios", azure, generation, container)
    found = uuid(_dmidecode(system))
    if found:
        return Identity(_in_order(system, found), "dmidecode", azure, generation, container)
    for path in ("/proc/device-tree/vm,uuid", "/proc/device-tree/hypervisor/vm,uuid"):
        found = uuid(_first_line(system, path))
        if found:
            return Identity(found, "device-tree", azure, 0, container)
    raise InstanceError(
        f"cannot find this machine's id: neither {DMI}/product_uuid nor dmidecode nor the device tree has one, and "
        "process 1 has no container_uuid; in a container pass one (systemd-nspawn --uuid=…)"
    )


def is_azure(system: System) -> bool:
    """Whether the chassis carries Azure's asset tag. Needs no network."""
    return _first_line(system, f"{DMI}/chassis_asset_tag") == ASSET_TAG


def uuid(text: str) -> str:
    """The UUID in a text, in small letters; "" where there is none or firmware says it knows none."""
    plain = text.strip().strip("\0{}").lower()
    if re.fullmatch(r"[0-9a-f]{32}", plain):
        plain = f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"
    if not _UUID.fullmatch(plain) or plain.replace("-", "") in _BLANK:
        return ""
    return plain


def _in_order(system: System, found: str) -> str:
    version = _smbios_version(system)
    if version is None:  # no entry point to read: generation 1 of Hyper-V is known to be too old to say
        old = not system.exists("/sys/firmware/efi") and _first_line(system, f"{DMI}/sys_vendor").startswith(
            "Microsoft"
        )
    else:
        old = version < (2, 6)
    return swapped(found) if old else found


def _smbios_version(system: System) -> tuple[int, int] | None:
    try:
        entry = system.read(ENTRY_POINT, 32)
    except OSError:
        return None
    if entry[:5] == b"_SM3_" and len(entry) > 8:
        return entry[7], entry[8]
    if entry[:4] == b"_SM_" and len(entry) > 7:
        return entry[6], entry[7]
    return None


def _dmidecode(system: System) -> str:
    if system.which("dmidecode") is None:
        return ""
    try:
        return system.run("dmidecode", "--string", "system-uuid", reads=True).stdout
    except CommandFailed:
        return ""


def _process_one(system: System) -> dict[str, str]:
    """The environment of process 1; empty where it cannot be read."""
    try:
        raw = system.read("/proc/1/environ", 64 * 1024)
    except OSError:
        return {}
    pairs = (entry.partition("=") for entry in raw.decode("utf-8", "replace").split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def _first_line(system: System, path: str) -> str:
    try:
        text = system.read(path, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    return text.strip("\0\n ").split("\n")[0].strip()
