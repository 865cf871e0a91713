"""What is mounted where, and mounting.

    mounts(system)                  [Mount(device, directory, filesystem, options)], as the kernel lists them
    real(system, directory)         the same directory, without links on the way: the kernel lists no others
    at(system, directory)           the Mount on exactly this directory, the topmost one, or None
    of(system, *devices)            the first Mount of one of these devices
    node(system, device)            the device itself, of all its names
    mount(system, command, …)       DiskError that says what the kernel said
    free(system, directory)         bytes that are free there

Source: proc(5), mountinfo; provisioning 6.2.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from waagent.errors import CommandFailed, DiskError
from waagent.system import System
from waagent.system.files import unescaped

LIST = "/proc/self/mounts"


class Mount(NamedTuple):
    device: str
    directory: str
    filesystem: str
    options: tuple[str, ...]


def mounts(system: System) -> list[Mount]:
    """All mounts in the order they were made; empty where the kernel does not tell.

    Only a blank ends a field and only a line feed a line: the kernel escapes no other space or end that Python
    knows, and users choose the names of directories on which FUSE lets them mount.
    """
    try:
        lines = system.read_text(LIST).split("\n")
    except OSError:
        return []
    found = []
    for line in lines:
        fields = line.split(" ")
        if len(fields) >= 4:
            found.append(Mount(unescaped(fields[0]), unescaped(fields[1]), fields[2], tuple(fields[3].split(","))))
    return found


def real(system: System, directory: str) -> str:
    path = os.path.realpath(system.path(directory)) if system.root == "/" else str(system.path(directory))
    return path if system.root == "/" else path[len(system.root) :] or "/"


def at(system: System, directory: str) -> Mount | None:
    wanted = real(system, directory)
    return next((mount for mount in reversed(mounts(system)) if mount.directory == wanted), None)


def of(system: System, *devices: str) -> Mount | None:
    """The first mount of one of the devices, by whatever name it was mounted.

    Users may mount with FUSE and choose what the device is called; of a real one it is a fuseblk, which is root's.
    """
    wanted = {node(system, device) for device in devices}
    for mount in mounts(system):
        claimed = mount.filesystem.split(".")[0] == "fuse"
        if mount.device.startswith("/dev/") and not claimed and node(system, mount.device) in wanted:
            return mount
    return None


def node(system: System, device: str) -> str:
    """Where the links to a device end: those of /dev/mapper, of udev. To be compared, not to be opened."""
    return os.path.realpath(system.path(device))


def mount(system: System, command: tuple[str, ...], device: str, directory: str, options: str | None) -> None:
    """Mount with the profile's command, options behind its first word. Raises DiskError."""
    argv = (command[0], *(("-o", options) if options else ()), *command[1:])
    try:
        system.run(*argv, limit=120)
    except CommandFailed as error:
        told = (error.stderr.strip() or error.stdout.strip() or f"status {error.status}").splitlines()[0]
        with_options = f" with options {options}" if options else ""
        raise DiskError(
            f"cannot mount {device} on {directory}{with_options}: {told}; it is left as it is",
            device=device,
        ) from error


def free(system: System, directory: str) -> int:
    status = os.statvfs(system.path(directory))
    return status.f_bavail * status.f_frsize
