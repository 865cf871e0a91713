"""The provisioning medium: find the disc, read ovf-env.xml from it, keep a redacted copy, let go of the disc.

    from_disc(system, profile, mount_point, patience)   Disc; MediaMissing that lists what was tried, OvfInvalid
    from_copy(system, lib, vm_id)                       Copy of <lib>/ovf-env.xml, or None when there is no file
    save(system, lib, raw, vm_id)                       write the redacted copy, mode 0600
    eject(system, profile, device)                      false when this system does not eject, or could not

The disc is looked for among the names of the profile's media.devices in /dev; one after the other is mounted
read-only until one has a provisioning document. A disc that somebody mounted already is read where it is and
stays mounted, until it is ejected. Devices appear late and discs become readable late, so all of it is tried again
until `patience` seconds have passed: every second while there is no device, every five after one could not be read.

A copy is a *seed* when an image builder put it there, and *left over* when it belongs to another VM: it says so
itself (the note that save() leaves), or its password is redacted, or it is older than the marker of another VM's
provisioning. What is left over is never used; nor does it say that no disc will come.

Source: provisioning 3.1 to 3.3; field demands 97 to 99.
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, MediaMissing, OvfInvalid, PlanRefused, SystemRefused
from waagent.instance import ovf
from waagent.instance.store import same_id
from waagent.machine import kernel, mounts
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

NAME = "ovf-env.xml"
NOTE = "read for VM "
PATIENCE = 25.0
AGAIN, NO_DEVICE_AGAIN = 5.0, 1.0


class Disc(NamedTuple):
    document: ovf.ProvisioningDocument
    raw: bytes
    device: str
    trouble: tuple[str, ...]  # what went wrong without consequence


class Copy(NamedTuple):
    document: ovf.ProvisioningDocument
    raw: bytes
    left_over: str  # why it is not this VM's; "" when it can be used

    @property
    def complete(self) -> bool:
        """Whether it says all that a disc would."""
        return not self.left_over and not self.document.redacted


def path_of(lib: str) -> str:
    return posixpath.join(lib, NAME)


def from_disc(system: System, profile: DistroProfile, mount_point: str, patience: float = 0.0) -> Disc:
    """The document on the disc. Raises MediaMissing, OvfInvalid."""
    began = system.clock.monotonic()
    while True:
        tried: list[str] = []
        invalid: OvfInvalid | None = None
        found = devices(system, profile)
        for device in found:
            try:
                return _read_device(system, profile, device, mount_point)
            except OvfInvalid as error:
                invalid = error
                tried.append(f"{device}: {error}")
            except PlanRefused:
                raise
            except (MediaMissing, CommandFailed, SystemRefused) as error:
                tried.append(f"{device}: {error}")
        if invalid is not None and len(tried) == len(found):
            raise invalid
        pause = AGAIN if tried else NO_DEVICE_AGAIN
        waited = system.clock.monotonic() - began
        if waited + pause > patience:
            raise _missing(system, profile, tried, waited)
        system.clock.sleep(pause)


def from_copy(system: System, lib: str, vm_id: str) -> Copy | None:
    """The document saved in the state directory. Raises OvfInvalid."""
    path = path_of(lib)
    try:
        raw = system.read(path, ovf.LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MediaMissing(
            f"cannot read {path}: {error.strerror}; remove it or correct its mode", path=path
        ) from error
    document = ovf.parse(raw)
    return Copy(document, raw, _left_over(system, lib, vm_id, raw, document))


def save(system: System, lib: str, raw: bytes, vm_id: str) -> bool:
    """Keep the document without its password; false if that copy was there."""
    if not system.is_directory(lib):
        system.make_directory(lib, 0o711)
    return system.write(path_of(lib), ovf.redact(raw, NOTE + vm_id), mode=0o600)


def eject(system: System, profile: DistroProfile, device: str) -> bool:
    """Open the drive. A virtio disk is no drive."""
    command = profile.command("media.eject", device=device)
    if not command or posixpath.basename(device).startswith("vd") or system.which(command[0]) is None:
        return False
    return system.run(*command, ok=None).status == 0


def devices(system: System, profile: DistroProfile) -> list[str]:
    """What may be the disc, in the order of the profile's patterns; a drive with two names once."""
    names = system.listing("/dev")
    found: dict[str, str] = {}
    for pattern in profile.texts("media.devices"):
        for name in fnmatch.filter(names, pattern):
            real = mounts.node(system, f"/dev/{name}")
            if not system.is_directory(f"/dev/{name}"):
                found.setdefault(real, f"/dev/{name}")
    return list(found.values())


def _read_device(system: System, profile: DistroProfile, device: str, mount_point: str) -> Disc:
    mounted = mounts.of(system, device)
    if mounted is not None:
        return _disc(system, device, mounted.directory, ())
    if system.planning:
        system.unforeseeable(f"what {NAME} on {device} says, because the disc is not mounted")
    system.make_directory(mount_point, 0o700)
    types = profile.texts("media.types")
    if "udf" in types:
        kernel.load_module(system, "udf")
    system.run("mount", "-o", "ro,nosuid,nodev,noexec", "-t", ",".join(types), device, mount_point)
    trouble: list[str] = []
    try:
        disc = _disc(system, device, mount_point, ())
    finally:
        answer = system.run("umount", mount_point, ok=None)
        if answer.status != 0:
            trouble.append(f"{device} stays mounted on {mount_point}: {answer.stderr.strip() or answer.status}")
    return disc._replace(trouble=tuple(trouble))


def _disc(system: System, device: str, place: str, trouble: tuple[str, ...]) -> Disc:
    path = posixpath.join(place, NAME)
    try:
        raw = system.read(path, ovf.LIMIT + 1)
    except FileNotFoundError:
        raise MediaMissing(f"there is no {NAME} on it", path=path) from None
    except OSError as error:
        raise MediaMissing(f"{NAME} on it cannot be read: {error.strerror}", path=path) from error
    return Disc(ovf.parse(raw), raw, device, trouble)


def _left_over(system: System, lib: str, vm_id: str, raw: bytes, document: ovf.ProvisioningDocument) -> str:
    note = ovf.note_of(raw)
    if note.startswith(NOTE):
        other = note[len(NOTE) :].strip()
        return "" if same_id(other, vm_id) else f"it was read for VM {other}"
    if document.redacted:
        return "its password is taken out, so another agent or another life of this disk has used it"
    marker = posixpath.join(lib, "provisioned")
    try:
        owner = system.read_text(marker).strip()
        older = system.path(path_of(lib)).stat().st_mtime <= system.path(marker).stat().st_mtime
    except OSError:
        return ""
    return f"it is older than the provisioning of VM {owner}" if older and not same_id(owner, vm_id) else ""


def _missing(system: System, profile: DistroProfile, tried: list[str], waited: float) -> MediaMissing:
    if tried:
        return MediaMissing(
            f"cannot read the provisioning medium: {'; '.join(tried)} (tried for {waited:.0f} s); "
            "the next boot tries again"
        )
    patterns = ", ".join(profile.texts("media.devices"))
    present = " ".join(system.listing("/dev")[:60])
    return MediaMissing(
        f"cannot find the provisioning medium: after {waited:.0f} s no device in /dev is called {patterns}; "
        f"there are: {present or 'none'}; the next boot tries again"
    )
