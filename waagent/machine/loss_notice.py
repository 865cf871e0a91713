"""The notice on the resource disk: what is stored there can be lost.

wrote(system, directory, note)   true if it was not there, or said something else. A disk on which it cannot be
                                 written (read-only, full) is as good without: `note` says so

Source: provisioning 6.4.
"""

from __future__ import annotations

from collections.abc import Callable

from waagent.errors import SystemRefused
from waagent.system import System

NAME = "DATALOSS_WARNING_README.txt"
TEXT = """This is a temporary disk. Everything on it can be lost at any time: when the VM is stopped and
deallocated, resized, moved to another host or repaired. What is lost cannot be brought back.

Do not keep personal or application data here. Use it for what can be made again: swap, caches,
scratch files. For data to keep, attach a data disk:
https://learn.microsoft.com/azure/virtual-machines/managed-disks-overview
"""


def wrote(system: System, directory: str, note: Callable[[str], None]) -> bool:
    if system.planning and not system.is_directory(directory):
        return False
    try:
        return system.write(f"{directory}/{NAME}", TEXT, mode=0o644)
    except (SystemRefused, OSError) as error:
        note(f"the warning on the resource disk is not written: {error}")
        return False
