"""One scratch disk of several: the local NVMe disks of a large VM size as one array (RAID 0), by mdadm.

have(system, contents)   its device; made, put together again, or as it was; DiskError

What the disks hold decides. All blank: a new array, because the platform has handed out fresh disks. All members of
an array: it is put together, its content stays. Anything else: data of the owner may be there, nothing is touched.
Nothing here is ever erased.

Source: field demand 119; md(4), mdadm(8).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING

from waagent.errors import CommandFailed, DiskError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.machine.disks import Contents

NAME = "waagent"
DEVICE = f"/dev/md/{NAME}"
MEMBER = "linux_raid_member"


def have(system: System, contents: Sequence[Contents]) -> str:
    """The array of these disks. Raises DiskError, PlanRefused."""
    disks = [each.device for each in contents]
    told = ", ".join(disks)
    built = {each.used_by for each in contents}
    if len(built) == 1 and next(iter(built)).startswith("md"):
        return f"/dev/{next(iter(built))}"
    if system.which("mdadm") is None:
        raise DiskError(
            f"cannot make one disk of {told}: there is no mdadm; install it, or set ResourceDisk.Stripe=n"
        )
    if built == {""} and all(each.blank for each in contents):
        create = ["--level=0", f"--raid-devices={len(disks)}", f"--name={NAME}", "--homehost=any", "--metadata=1.2"]
        return _mdadm(system, told, "--create", DEVICE, "--run", *create, *disks)
    if built == {""} and all(each.filesystem == MEMBER for each in contents):
        return _mdadm(system, told, "--assemble", "--run", DEVICE, *disks)
    held = next((each for each in contents if each.used_by or not (each.blank or each.filesystem == MEMBER)), None)
    what = "some are blank and some are not" if held is None else f"{held.device} holds {_shown(held)}"
    raise DiskError(
        f"cannot make one disk of {told}: {what}; data of the owner may be there, they are left as they are"
    )


def _mdadm(system: System, told: str, *words: str) -> str:
    try:
        system.run("mdadm", *words, limit=120)
    except CommandFailed as error:
        raise DiskError(f"cannot make one disk of {told}: {error}; the next boot tries again") from error
    system.unforeseeable(f"what is on {DEVICE}, which is not there yet")
    return f"/dev/{posixpath.basename(str(system.path(DEVICE).resolve()))}"


def _shown(contents: Contents) -> str:
    if contents.used_by:
        return contents.used_by
    return contents.filesystem or (f"a {contents.table} partition table" if contents.table else "something unknown")
