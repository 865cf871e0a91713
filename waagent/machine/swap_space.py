"""Swap space as the options ask for it: whether, where, how large, encrypted or not.

have(system, config, mounted_on, lib) -> Space(kind, told, path): changed, unchanged or skipped, with the sentence
that says so and the file in use; DiskError
used(system)           the file that was in use in this boot; "" for none
switched_off(system)   the same, when it is still there and not in use any more: somebody took it out of use and
                       shall have his way until the next boot

Where it goes:

    1. where the resource disk is mounted, whoever mounted it (`mounted_on`)
    2. ResourceDisk.MountPoint, when something else is mounted there: a disk that is encrypted, say, or one of the
       owner's choice
    3. the state directory on the OS disk, where ResourceDisk.SwapFallback=os; it takes no more than half of what is
       free there, and goes when there is a resource disk again

Source: provisioning 6.5; field demands 121, 122, 123, 130.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waagent.machine import mounts, swap
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config

SHARE_OF_OS_DISK = 0.5
USED = "/run/waagent/swap"  # the file in use, gone with the boot


class Space(NamedTuple):
    kind: str
    told: str
    path: str = ""


def have(system: System, config: Config, mounted_on: str | None, lib: str) -> Space:
    """Have it in use. Raises DiskError: no size, no room, a file system that cannot hold it."""
    if not config.switch("ResourceDisk.EnableSwap"):
        return Space("skipped", "ResourceDisk.EnableSwap=n")
    encrypted = config.switch("ResourceDisk.EnableSwapEncryption")
    if encrypted and not swap.can_encrypt(system):
        told = "swap space has to be encrypted (ResourceDisk.EnableSwapEncryption=y) and there is no cryptsetup"
        return Space("skipped", f"{told}: install it")
    directory, share = _place(system, config, mounted_on), swap.SHARE
    dropped = directory is not None and swap.drop(system, _file_in(lib))
    if directory is None:
        if config.text("ResourceDisk.SwapFallback") != "os":
            told = "no resource disk is mounted (ResourceDisk.SwapFallback=os would put swap space on the OS disk)"
            return Space("skipped", told)
        directory, share = lib, SHARE_OF_OS_DISK
    path, size = _file_in(directory), config.integer("ResourceDisk.SwapSizeMB")
    made = swap.ensure(system, path, size * swap.MIB, encrypted=encrypted, share=share)
    quietly = system.quietly()
    quietly.make_directory("/run/waagent")
    quietly.write(USED, path + "\n")
    told = f"{path} is in use, {size} MiB{', encrypted' if encrypted else ''}"
    return Space("changed" if made or dropped else "unchanged", told, path)


def used(system: System) -> str:
    """The file that was in use in this boot; "" for none."""
    try:
        return system.read_text(USED).strip()
    except OSError:
        return ""


def switched_off(system: System) -> str:
    path = used(system)
    return path if path and system.exists(path) and not swap.in_use(system, path) else ""


def _place(system: System, config: Config, mounted_on: str | None) -> str | None:
    """The directory without links on the way: the kernel lists the file so."""
    if mounted_on and (system.planning or mounts.at(system, mounted_on) is not None):
        return mounts.real(system, mounted_on)
    configured = config.text("ResourceDisk.MountPoint") or "/mnt/resource"
    found = mounts.at(system, configured)
    return found.directory if found is not None and found.directory != "/" else None


def _file_in(directory: str) -> str:
    return f"{directory.rstrip('/')}/swapfile"
