"""What was being made of a disk when the power went: written down before, so that the next boot can make it good.

begin_table(system, lib, device)           a table is about to be made on this disk
begin_filesystem(system, lib, device, …)   mkfs is about to run on this partition; `volumes`: ids of the file system
                                           that it had and of the one that it gets, as far as known
require_untouched(system, lib, …)          DiskError when the partition is not as begin_filesystem found it
underway(system, lib, device)              around the program: when it ends badly, what it left on `device` is kept
done(system, lib)                          nothing is unfinished any more
taken(system, lib)                         withdraw the record; what it says, {} when it does not count
found(system, record, contents)            Found(table, partition, volume): what of this disk we began
settle(system, lib)                        withdraw all but what a program that failed in this boot has left

The record counts for the first look of the next boot, and for nothing after it. Whoever looks takes it before all
else, whatever the look comes to: an owner may use the disk in a boot in which it is left alone, and what is on it
then is not what we left. Boots in which the agent does not run at all are not seen: that is what `began` is for.
It names

    disk        the disk's own number (WWN, serial number) and size; a name like /dev/sdb is none
    partition   PARTUUID
    volumes     ids of file systems; one of another id was made by somebody else
    beyond      what lay behind the first MiB, where programs that make tables do not write: on another disk, and on
                one that somebody has worked on since, it is something else
    before      the first two MiB before the program began: when it has failed and they are the same, it did not
                write, and the record is withdrawn
    left        the first two MiB as the failed program left them: when they differ, somebody has worked there
    boot        a record of this boot that says nothing of a failure is of an agent that was killed, not of a power
                cut: it does not count
    began       when, by the clock: a boot that follows a power cut looks soon. Later than that, somebody may have
                had the disk in between

Kept in <lib>/resource-disk.json.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent.errors import DiskError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.machine.disks import Contents

Record = dict[str, Any]

BOOT = "/proc/sys/kernel/random/boot_id"
NUMBERS = ("device/wwid", "wwid", "device/serial", "serial", "md/uuid")
MIB = 1024 * 1024
# Seconds between the beginning of what was cut off and the first look after it.
SOON = 3600.0


class Found(NamedTuple):
    """What was found again: its table, its one partition, the file system on that by its id."""

    table: bool = False
    partition: bool = False
    volume: bool = False


NOTHING = Found()


def begin_table(system: System, lib: str, device: str) -> None:
    disk = identity_of(system, device)
    record: Record = {"disk": disk, "beyond": _hash(system, device, MIB, MIB), "before": _hash(system, device)}
    _save(system, lib, record if disk else None)


def begin_filesystem(
    system: System, lib: str, device: str, part: str, identity: str, volumes: tuple[str, ...] = ()
) -> str:
    """`identity`: the PARTUUID. A partition without one is not written down. Returns `before`."""
    before = _hash(system, part)
    record: Record = {"disk": identity_of(system, device), "partition": identity, "before": before}
    record["volumes"] = [each for each in volumes if each]
    _save(system, lib, record if identity else None)
    return before


def require_untouched(system: System, lib: str, part: str, before: str) -> None:
    """For the moment before mkfs. Raises DiskError when somebody has written to the partition meanwhile: what is
    there then is not what we began.
    """
    if _hash(system, part) != before:
        done(system, lib)
        raise DiskError(
            f"cannot format the resource disk: somebody has written to {part} since it was looked at; it is left",
            device=part,
        )


@contextlib.contextmanager
def underway(system: System, lib: str, device: str) -> Iterator[None]:
    try:
        yield
    except DiskError:
        record, now = _load(system, lib), _hash(system, device)
        _save(system, lib, {**record, "left": now} if record and now and record.get("before") != now else None)
        raise


def done(system: System, lib: str) -> None:
    system.remove(_path(lib))


def taken(system: System, lib: str) -> Record:
    """Raises SystemRefused where the record cannot be withdrawn: then nothing may be done on its word."""
    record = _load(system, lib)
    done(system, lib)
    return record if "left" in record or _is_of_a_power_cut(system, record) else {}


def found(system: System, record: Record, contents: Contents) -> Found:
    if not record or record.get("disk") != identity_of(system, contents.device):
        return NOTHING
    left = record.get("left")
    if "partition" not in record:
        untouched = record.get("beyond") == _hash(system, contents.device, MIB, MIB)
        holds = left == _hash(system, contents.device) if left else untouched
        return Found(table=bool(holds and record["disk"]))
    part = next((part for part in contents.parts if part.identity == record["partition"]), None)
    if part is None or len(contents.parts) > 1:
        return NOTHING
    if left and left != _hash(system, part.device):
        return NOTHING
    return Found(partition=True, volume=bool(part.volume) and part.volume in record.get("volumes", ()))


def settle(system: System, lib: str) -> bool:
    """Whether there was something to withdraw. For whoever runs when the step of the boot has ended."""
    record = _load(system, lib)
    if "left" in record and record.get("boot") == _text(system, BOOT):
        return False
    return system.remove(_path(lib))


def identity_of(system: System, device: str) -> str:
    """The disk's own number and its size; "" for one that tells no number."""
    place = f"/sys/block/{posixpath.basename(device)}"
    for name in NUMBERS:
        number = _text(system, f"{place}/{name}")
        if number:
            return f"{number} {_text(system, f'{place}/size')}"
    return ""


def _is_of_a_power_cut(system: System, record: Record) -> bool:
    """Whether the boot before this one was cut off. A system that does not number boots cannot say so: no."""
    now = _text(system, BOOT)
    if not record or not now or record.get("boot") == now:
        return False
    since: float = system.clock.now().timestamp() - record["began"]
    return 0 <= since <= SOON


def _hash(system: System, device: str, start: int = 0, length: int = 2 * MIB) -> str:
    """"" where it cannot be read."""
    try:
        with open(system.path(device), "rb") as stream:
            stream.seek(start)
            return hashlib.sha256(stream.read(length)).hexdigest()
    except OSError:
        return ""


def _save(system: System, lib: str, record: Record | None) -> None:
    if record is None:
        done(system, lib)
        return
    record = {"boot": _text(system, BOOT), "began": system.clock.now().timestamp(), **record}
    system.write(_path(lib), json.dumps(record) + "\n", mode=0o600)


def _load(system: System, lib: str) -> Record:
    try:
        record = json.loads(system.read(_path(lib)))
    except (OSError, ValueError):
        return {}
    sound = isinstance(record, dict) and isinstance(record.get("disk"), str)
    sound = sound and isinstance(record.get("began"), float) and isinstance(record.get("volumes", []), list)
    return record if sound else {}


def _path(lib: str) -> str:
    return posixpath.join(lib, "resource-disk.json")


def _text(system: System, path: str) -> str:
    try:
        return " ".join(system.read_text(path).split())
    except OSError:
        return ""
