"""System Center Virtual Machine Manager: its disc, and the agent that is installed from it.

find(system, profile, mount_point)    Disc(device, place) that stays mounted, or None
launch(system, disc)                  start the installer in the background
handed_over(system)                   whether this boot was handed over to it

On a host that VMM manages the machine finds a disc with `linuxosconfiguration.xml` and an installer. The agent of
VMM sets the machine up, and this one steps back for the boot: the units of the later stages, and the daemon, look
for the file HANDED_OVER.

Source: provisioning 9.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, MediaMissing
from waagent.machine import kernel, mounts
from waagent.provisioning import media
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

MARKER = "linuxosconfiguration.xml"
INSTALLER = "install"
HANDED_OVER = "/run/waagent/handed-over"
UNIT = "waagent-scvmm-installer"
# In a session of its own, without our pipes: it outlives the step that starts it.
DETACHED = ("sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 &', "sh")


class Disc(NamedTuple):
    device: str
    place: str


def find(system: System, profile: DistroProfile, mount_point: str) -> Disc | None:
    """The first disc with the marker. Other discs are let go of again."""
    kernel.load_module(system, "ata_piix")
    for device in media.devices(system, profile):
        mounted = mounts.of(system, device)
        if mounted is None and not _mount(system, device, mount_point):
            continue
        place = mounted.directory if mounted is not None else mount_point
        if system.exists(posixpath.join(place, MARKER)):
            return Disc(device, place)
        if mounted is None:
            system.run("umount", mount_point, ok=None)
    return None


def launch(system: System, disc: Disc) -> None:
    """Start the installer. Option and path are one word: that is how it takes them. Raises MediaMissing."""
    installer = posixpath.join(disc.place, INSTALLER)
    if not system.exists(installer):
        raise MediaMissing(
            f"cannot start the agent of VMM: there is no {INSTALLER} on {disc.device}", path=installer
        )
    argv = ("/bin/bash", installer, f"-p {disc.place}")
    started_by = ("systemd-run", "--quiet", "--collect", f"--unit={UNIT}")
    try:
        system.run(*(started_by if system.exists("/run/systemd/system") else DETACHED), *argv)
    except CommandFailed as error:
        raise MediaMissing(f"cannot start the agent of VMM: {error}", path=installer) from error


def handed_over(system: System) -> bool:
    return system.exists(HANDED_OVER)


def _mount(system: System, device: str, mount_point: str) -> bool:
    """Read-only; its programs may be run. What has no disc in it cannot be mounted, and is no failure."""
    system.make_directory(mount_point, 0o700)
    return system.run("mount", "-o", "ro,nosuid,nodev", device, mount_point, ok=None, limit=30).status == 0
