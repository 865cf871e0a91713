"""What is in the root directory of an NTFS volume, read from the device: no driver is needed, nothing is mounted.

names(system, device, at=0)   the names there, without the volume's own ($MFT and the like); DiskError when it
                              cannot be told for certain. `at`: bytes from the beginning of the device to the volume

Kernels of clouds have no driver for NTFS as a rule, and BSD has none, so whether the platform's volume holds files
of its owner is read here. Whoever asks is about to format: everything that is not as it should be is an error,
never an empty directory. Only what is needed is read: the boot sector, record 5 of the master file table (the
root), the blocks of its index.

Source: the layout as the drivers of Linux have it, fs/ntfs3/ntfs.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from waagent.errors import DiskError
from waagent.system import System

SIGNATURE = b"NTFS    "
ROOT = 5  # its record in the master file table
OWN_RECORDS = 24  # those below are the volume's own
ATTRIBUTE_LIST, INDEX_ROOT, INDEX_ALLOCATION, BITMAP, END = 0x20, 0x90, 0xA0, 0xB0, 0xFFFFFFFF
INDEX = "$I30".encode("utf-16-le")  # the index by name
SHORT_NAME = 2  # a second name, for DOS
LEADS_ON, LAST_ENTRY = 1, 2  # an entry that has a block of names before its own; one that has no name
LARGE = 1  # an index that has blocks
LARGEST_RECORD = 64 * 1024
MOST_BLOCKS = 4096
ALIGNED = 4096  # raw devices of BSD are read by whole sectors

Read = Callable[[int, int], bytes]


class _Volume(NamedTuple):
    sector: int
    cluster: int
    record: int
    table: int  # where the master file table begins


class _Entry(NamedTuple):
    file: int  # its record, and how often that was used
    space: int
    name: str


class _Damaged(Exception):
    """It is not as it should be: says what."""


def names(system: System, device: str, at: int = 0) -> list[str]:
    """Raises DiskError."""
    try:
        descriptor = os.open(system.path(device), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DiskError(f"cannot look into {device}: {error.strerror}", device=device) from error
    try:
        return _names(lambda offset, length: _read(descriptor, at + offset, length))
    except OSError as error:
        raise DiskError(f"cannot look into {device}: {error.strerror}", device=device) from error
    except (_Damaged, struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise DiskError(f"cannot look into {device}: its NTFS is damaged ({error})", device=device) from error
    finally:
        os.close(descriptor)


def _names(read: Read) -> list[str]:
    volume = _volume(read(0, 512))
    record = _mended(read(volume.table + ROOT * volume.record, volume.record), b"FILE", volume.sector)
    flags, used = struct.unpack_from("<HI", record, 22)
    if flags & 3 != 3 or not 48 <= used <= len(record):
        raise _Damaged("the root is no directory")
    attributes = _attributes(record, used)
    if (ATTRIBUTE_LIST, b"") in attributes:
        raise _Damaged("the root takes several records")
    root = attributes.get((INDEX_ROOT, INDEX))
    if root is None or root[8]:
        raise _Damaged("the root has no index")
    value = _value(root)
    named: set[int] = set()  # the blocks that entries lead to
    seen: set[int] = set()
    found = list(_entries(value, 16, named))
    if (INDEX_ALLOCATION, INDEX) in attributes:
        size = struct.unpack_from("<I", value, 8)[0]
        for block in _blocks(read, volume, attributes, size):
            seen.add(struct.unpack_from("<Q", block, 16)[0])
            found += _entries(block, 24, named)
    elif value[28] & LARGE:
        raise _Damaged("a large index without its blocks")
    if named - seen:
        raise _Damaged("an index that lacks a block")
    files = {entry.file for entry in found if entry.space != SHORT_NAME}
    return sorted({entry.name for entry in found if entry.space != SHORT_NAME or entry.file not in files})


def _volume(boot: bytes) -> _Volume:
    if boot[3:11] != SIGNATURE or boot[510:512] != b"\x55\xaa":
        raise _Damaged("no boot sector")
    sector, sectors = struct.unpack_from("<HB", boot, 11)
    cluster = sector * (sectors if sectors <= 0x80 else 1 << (256 - sectors))
    table, _, size = struct.unpack_from("<QQb", boot, 48)
    record = size * cluster if size > 0 else 1 << -size
    if sector not in (512, 1024, 2048, 4096) or not cluster or record % sector or not 0 < record <= LARGEST_RECORD:
        raise _Damaged("a boot sector with wrong sizes")
    return _Volume(sector, cluster, record, table * cluster)


def _mended(block: bytes, magic: bytes, sector: int) -> bytes:
    """A record as it was before the last two bytes of each sector were set aside: they tell that it is whole."""
    if block[:4] != magic:
        raise _Damaged(f"no {magic.decode()} where one should be")
    offset, count = struct.unpack_from("<HH", block, 4)
    stride, whole = (512 if (count - 1) * 512 == len(block) else sector), bytearray(block)
    if (count - 1) * stride != len(block) or offset + 2 * count > len(block):
        raise _Damaged(f"a {magic.decode()} of the wrong length")
    for number in range(1, count):
        end = number * stride - 2
        if block[end : end + 2] != block[offset : offset + 2]:
            raise _Damaged(f"a {magic.decode()} that was not written as a whole")
        whole[end : end + 2] = block[offset + 2 * number : offset + 2 * number + 2]
    return bytes(whole)


def _attributes(record: bytes, used: int) -> dict[tuple[int, bytes], bytes]:
    found: dict[tuple[int, bytes], bytes] = {}
    at = struct.unpack_from("<H", record, 20)[0]
    while (kind := struct.unpack_from("<I", record, at)[0]) != END:
        length, _, letters, where = struct.unpack_from("<IBBH", record, at + 4)
        if length < 24 or length % 8 or at + length > used:
            raise _Damaged("an attribute of the wrong length")
        name = record[at + where : at + where + 2 * letters] if letters else b""
        if (kind, name) in found:
            raise _Damaged("an attribute twice")
        found[kind, name] = record[at : at + length]
        at += length
    return found


def _value(attribute: bytes) -> bytes:
    length, where = struct.unpack_from("<IH", attribute, 16)
    if where + length > len(attribute):
        raise _Damaged("a value beyond its attribute")
    return attribute[where : where + length]


def _entries(block: bytes, header: int, named: set[int]) -> Iterator[_Entry]:
    """The names in one node of the index, whose header is there; the blocks that it leads to go into `named`."""
    first, used = struct.unpack_from("<II", block, header)
    at, end = header + first, header + used
    if end > len(block):
        raise _Damaged("an index beyond its block")
    while True:
        reference, length, key, flags = struct.unpack_from("<QHHH", block, at)
        if length < 16 or at + length > end:
            raise _Damaged("an entry of the wrong length")
        if flags & LEADS_ON:
            named.add(struct.unpack_from("<Q", block, at + length - 8)[0])
        if flags & LAST_ENTRY:
            if at + length != end:
                raise _Damaged("an index that ends before its end")
            return
        letters, space = struct.unpack_from("<BB", block, at + 16 + 64)
        if 66 + 2 * letters > key:
            raise _Damaged("a name beyond its entry")
        name = block[at + 82 : at + 82 + 2 * letters].decode("utf-16-le")
        is_own = reference & 0xFFFFFFFFFFFF < OWN_RECORDS and name[:1] in (".", "$")
        if not is_own:
            yield _Entry(reference, space, name)
        at += length


def _blocks(
    read: Read, volume: _Volume, attributes: dict[tuple[int, bytes], bytes], size: int
) -> Iterator[bytes]:
    """The blocks of the index that are in use, as its bitmap says."""
    bitmap, where = attributes.get((BITMAP, INDEX)), attributes[INDEX_ALLOCATION, INDEX]
    if bitmap is None or bitmap[8] or not where[8]:
        raise _Damaged("an index without its bitmap")
    if not 0 < size <= LARGEST_RECORD or size % 512:
        raise _Damaged("an index with blocks of a wrong size")
    used = _value(bitmap)
    extents = list(_extents(where, volume.cluster))
    for number in range(len(used) * 8):
        if used[number // 8] >> number % 8 & 1:
            if number >= MOST_BLOCKS:
                raise _Damaged("an index that is too large")
            content = b"".join(read(*piece) for piece in _pieces(extents, number * size, size))
            yield _mended(content, b"INDX", volume.sector)


def _extents(attribute: bytes, cluster: int) -> Iterator[tuple[int, int]]:
    """Where the content lies: (offset, length) in bytes."""
    at = struct.unpack_from("<H", attribute, 32)[0]
    place = 0
    while head := attribute[at]:
        lengths, places = head & 15, head >> 4
        if not lengths or not places:
            raise _Damaged("an index with holes")
        length = int.from_bytes(attribute[at + 1 : at + 1 + lengths], "little")
        place += int.from_bytes(attribute[at + 1 + lengths : at + 1 + lengths + places], "little", signed=True)
        if place <= 0 or not length:
            raise _Damaged("an index that lies nowhere")
        yield place * cluster, length * cluster
        at += 1 + lengths + places


def _pieces(extents: list[tuple[int, int]], start: int, length: int) -> Iterator[tuple[int, int]]:
    for offset, size in extents:
        if start < size and length:
            taken = min(length, size - start)
            yield offset + start, taken
            start, length = start + taken, length - taken
        start = max(0, start - size)
    if length:
        raise _Damaged("an index that ends too early")


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """By whole sectors, and all of it."""
    first = offset - offset % ALIGNED
    wanted = -(-(offset + length - first) // ALIGNED) * ALIGNED
    content = os.pread(descriptor, wanted, first)[offset - first :][:length]
    if len(content) < length:
        raise _Damaged("the device ends too early")
    return content
