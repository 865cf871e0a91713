"""Option 245 (the wire server's address) from the files in which DHCP clients keep their leases.

find(system, globs, now) -> addresses, the most recent lease's first; what is no plain file, longer than a megabyte
                            or cannot be read is passed over: the clients write these, not we
parse(content, now)      -> address or None: one file, whatever client wrote it

Forms: ISC dhclient ("option unknown-245 a8:3f:81:10;", pairs that lack a zero, quoted strings; expired leases do
not count, the last valid one wins), systemd-networkd and NetworkManager ("OPTION_245=a83f8110",
"private_245=a8:3f:81:10"), dhcpcd (the raw packet, or the bare options "new_..._245=").

Source: wire-protocol 1.3, provisioning 7.3.
"""

from __future__ import annotations

import fnmatch
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from waagent.system import System

SIZE = 1024 * 1024
COOKIE = b"\x63\x82\x53\x63"
OPTION = 245

# A string that nobody closes takes all the rest at once, and a brace comes soon or does not count: else a file that
# is made for it keeps the expressions busy for hours.
_WORD = re.compile(r'"(?:\\.?|[^"\\])*(?:"|\Z)|[{};]|[^\s{};"]+', re.DOTALL)
_LEASE = re.compile(r"\blease\b[^{;]{0,100}\{")
_ASSIGNED = re.compile(r"^[\w.]*_?245\s*=\s*[\"']?([0-9A-Fa-f:.]+)[\"']?\s*$", re.MULTILINE)
_NAMES = ("unknown-245", "option-245", "245", "private-245")


def find(system: System, globs: Iterable[str], now: datetime) -> list[str]:
    """Addresses of all files that match, newest file first, each once."""
    dated: list[tuple[float, str]] = []
    for path in _matching(system, globs):
        try:
            content = system.read_foreign(path, SIZE + 1)
            changed = system.path(path).stat().st_mtime
        except OSError:
            continue
        address = parse(content, now) if len(content) <= SIZE else None
        if address is not None:
            dated.append((changed, address))
    return list(dict.fromkeys(address for _, address in sorted(dated, key=lambda entry: -entry[0])))


def parse(content: bytes, now: datetime) -> str | None:
    """The address that one lease file gives; None if it gives none that is valid now."""
    if content[236:240] == COOKIE:
        return _of_packet(content)
    text = content.decode("latin-1")
    if _LEASE.search(text):
        return _of_dhclient(text, now)
    found = _ASSIGNED.findall(text)
    return _of_hex(found[-1]) if found else None


def _matching(system: System, globs: Iterable[str]) -> Iterator[str]:
    for pattern in globs:
        directory, _, name = pattern.rpartition("/")
        for entry in system.listing(directory or "/"):
            if fnmatch.fnmatchcase(entry, name):
                yield f"{directory}/{entry}"


def _of_packet(packet: bytes) -> str | None:
    """From the options of a raw DHCP packet; option 0 is one byte of padding without a length."""
    at = 240
    while at + 1 < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        code, length = packet[at], packet[at + 1]
        value = packet[at + 2 : at + 2 + length]
        if code == OPTION:
            return dotted(value)
        at += 2 + length
    return None


def _of_dhclient(text: str, now: datetime) -> str | None:
    found: str | None = None
    statement: list[str] = []
    address, valid = None, False
    for word in _WORD.findall(text):
        if word == "{":
            statement, address, valid = [], None, False
        elif word == ";":
            if len(statement) == 3 and statement[0] == "option" and statement[1] in _NAMES:
                address = _of_option(statement[2])
            elif statement and statement[0] == "expire":
                valid = _lasts(statement[1:], now)
            statement = []
        elif word == "}":
            found = address if address and valid else found
            statement, address, valid = [], None, False
        else:
            statement.append(word)
    return found


def _lasts(words: list[str], now: datetime) -> bool:
    """Whether "never", "2 never", "epoch 1795425600" or "2 2026/11/24 09:15:30 [UTC]" is still to come."""
    if "never" in words[:2]:
        return True
    try:
        if words[:1] == ["epoch"]:
            return float(words[1]) > now.timestamp()
        end = datetime.strptime(" ".join(words[1:3]), "%Y/%m/%d %H:%M:%S")
    except (IndexError, ValueError):
        return False
    return end.replace(tzinfo=timezone.utc) > now


def _of_option(value: str) -> str | None:
    if not value.startswith('"'):
        return _of_hex(value)
    inner = re.sub(
        r"\\([0-7]{3}|.)",
        lambda match: chr(int(match[1], 8) & 255) if len(match[1]) == 3 else match[1],
        value[1:-1],
        flags=re.DOTALL,
    )
    return dotted(inner.encode("latin-1", "replace"))


def _of_hex(value: str) -> str | None:
    """From "a8:3f:81:10", "a8:3f:81:1", "a83f8110" or an address in dots."""
    if "." in value:
        parts = value.split(".")
        fits = len(parts) == 4 and all(part.isdecimal() and len(part) < 4 and int(part) < 256 for part in parts)
        return value if fits else None
    pairs = value.split(":") if ":" in value else [value[at : at + 2] for at in range(0, len(value), 2)]
    if any(len(pair) not in (1, 2) or pair.strip("0123456789abcdefABCDEF") for pair in pairs):
        return None
    return dotted(bytes(int(pair, 16) for pair in pairs))


def dotted(value: bytes) -> str | None:
    if len(value) != 4 or value[0] in (0, 127) or value[0] >= 224:
        return None
    return ".".join(str(byte) for byte in value)
