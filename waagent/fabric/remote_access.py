"""Users whom the platform grants access for a while ("just in time").

parse(content) -> tuple of RemoteUser      name, password (base64 CMS, still encrypted), expires (aware UTC)
password(system, user, lib, openssl)       the plain text; raises GoalStateInvalid

A user whose entry cannot be used has `invalid` set to the reason; the others go on. Groups are of no meaning here.

Source: wire-protocol 2.8.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from waagent.fabric import certificates, xml

if TYPE_CHECKING:
    from waagent.system import System

DOCUMENT = "the remote access document"


class RemoteUser(NamedTuple):
    name: str
    password: str = ""
    expires: datetime | None = None
    invalid: str = ""


def parse(content: bytes | str) -> tuple[RemoteUser, ...]:
    root = xml.parse(content, DOCUMENT, "RemoteAccess")
    found: list[RemoteUser] = []
    for number, node in enumerate(root.iterfind("Users/User"), 1):
        name, password, expiration = (xml.text(node, part) or "" for part in ("Name", "Password", "Expiration"))
        try:
            expires = parse_expiration(expiration)
        except ValueError:
            expires = None
        invalid = ""
        if not name:
            invalid = f"user {number} has no name"
        elif not password:
            invalid = f"user {name} has no password"
        elif expires is None:
            invalid = f'user {name} expires at {expiration[:60]!r}, expected "Wed, 25 Nov 2026 18:00:00 GMT"'
        found.append(RemoteUser(name, password, expires, invalid))
    return tuple(found)


def parse_expiration(text: str) -> datetime:
    """Of "Wed, 25 Nov 2026 18:00:00 GMT" (or UTC). Raises ValueError."""
    day, _, rest = text.partition(",")
    moment, _, zone = rest.strip().rpartition(" ")
    if zone not in ("GMT", "UTC") or len(day) != 3:
        raise ValueError(f"{text!r} is no time in GMT")
    number, month, year, clock = moment.split()
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    hour, minute, second = (int(part) for part in clock.split(":"))
    return datetime(int(year), months.index(month) + 1, int(number), hour, minute, second, tzinfo=timezone.utc)


def password(system: System, user: RemoteUser, lib: str, openssl: str) -> str:
    cms = certificates.from_base64(user.password, DOCUMENT, "Password")
    plain = certificates.decrypt(system, cms, lib, openssl, f"the password of {user.name}")
    try:
        return plain.decode("utf-16" if plain[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le")
    except ValueError as error:
        raise xml.invalid(DOCUMENT, "Password", f"the password of {user.name} is not UTF-16") from error
