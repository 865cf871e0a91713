"""Option 245 (the wire server's address) by a DHCP DISCOVER of our own, where no client's lease tells it.

    asker = Asker(system, "eth0", "00:0d:3a:01:02:03", note)
    address = asker.wire_server()            "168.63.129.16", None: no answer, or not yet time to ask again

The OFFER alone carries what is needed: nothing is requested, no address is taken, and the machine's own DHCP client
does not notice. A question is asked at most five times, with growing pauses between; the first one lets the server
answer us alone, later ones want the answer to go to everybody. What was answered once is remembered.

discover(mac, transaction, everybody) and parse(reply, mac, transaction) are pure. parse() gives None for a packet
that is no answer to this question, and an Offer without what it does not say or says wrongly:

Offer
    wire_server   str or None: option 245, if it has four bytes that can be the address of a host
    gateway       str or None: option 3, the first one
    routes        tuple of (network "168.63.129.16/32", gateway): option 249

Source: wire-protocol 1.2, provisioning 7.2, RFC 2131, 2132.
"""

from __future__ import annotations

import os
import struct
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, NamedTuple, Optional

from waagent.fabric.leases import COOKIE, OPTION, dotted
from waagent.system import broadcast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from waagent.system import System

CLIENT, SERVER = 68, 67
OPTIONS = 240  # where they begin: 236 bytes of BOOTP, 4 of cookie
SHORTEST = 0xF6
TIMEOUT = 5.0  # seconds; a server that first makes sure that the address is free takes three
PAUSES = (0.0, 10.0, 30.0, 60.0)  # after the first, second, … question that nobody answered

PAD, ROUTER, MESSAGE_TYPE, CLASSLESS, END = 0, 3, 53, 249, 255
DISCOVER, OFFER = 1, 2


class Offer(NamedTuple):
    wire_server: Optional[str] = None
    gateway: Optional[str] = None
    routes: tuple[tuple[str, str], ...] = ()

    def gateway_to(self, address: str) -> str | None:
        """By the most specific of the routes, else the general gateway."""
        wanted = IPv4Address(address)
        fitting = [(network, gateway) for network, gateway in self.routes if wanted in IPv4Network(network)]
        best = max(fitting, key=lambda route: IPv4Network(route[0]).prefixlen, default=None)
        return self.gateway if best is None else best[1]


class Asker:
    """Asks over one interface. mac: "00:0d:3a:…" of it."""

    def __init__(
        self, system: System, interface: str, mac: str, note: Callable[[str], None], *, timeout: float = TIMEOUT
    ) -> None:
        self.system, self.interface, self.note = system, interface, note
        self._mac, self._timeout = mac_bytes(mac), timeout
        self._asked, self._next = 0, 0.0
        self.offer: Offer | None = None

    def wire_server(self) -> str | None:
        """Ask if it is time; raises nothing, why there is no answer is noted once."""
        clock = self.system.clock
        due = self._asked <= len(PAUSES) and clock.monotonic() >= self._next
        if self.offer is None and due and self._mac is not None and not self.system.planning:
            self.offer = self._ask(self._mac)
            if self.offer is None:
                self._next = clock.monotonic() + (PAUSES[self._asked] if self._asked < len(PAUSES) else 0.0)
                self._asked += 1
            elif self.offer.wire_server is None:
                self.note(f"the DHCP server on {self.interface} tells no address of the wire server (option 245)")
        return None if self.offer is None else self.offer.wire_server

    def _ask(self, mac: bytes) -> Offer | None:
        transaction = os.urandom(4)
        try:
            offer = broadcast.ask(
                self.interface,
                discover(mac, transaction, everybody=self._asked > 0),
                source=CLIENT,
                port=SERVER,
                timeout=self._timeout,
                accept=lambda payload: parse(payload, mac, transaction),
                monotonic=self.system.clock.monotonic,
            )
        except OSError as error:
            self._asked = len(PAUSES)  # it will be so the next time
            self.note(f"cannot ask for the wire server by DHCP on {self.interface}: {error.strerror or error}")
            return None
        if offer is None and self._asked == 0:
            self.note(f"no DHCP server answered on {self.interface} within {self._timeout:.0f} s")
        return offer


def mac_bytes(mac: str) -> bytes | None:
    """The six bytes; None for what is no Ethernet address, or none of a host (all zero, a group's)."""
    parts = mac.strip().split(":")
    if len(parts) != 6 or any(len(part) != 2 or part.strip("0123456789abcdefABCDEF") for part in parts):
        return None
    found = bytes(int(part, 16) for part in parts)
    return None if found == bytes(6) or found[0] & 1 else found


def discover(mac: bytes, transaction: bytes, *, everybody: bool) -> bytes:
    """The question, 244 bytes. everybody: the answer shall be a broadcast."""
    head = struct.pack("!BBBB4sHH", 1, 1, 6, 0, transaction, 0, 0x8000 if everybody else 0)
    fixed = head + bytes(16) + mac + bytes(10) + bytes(64) + bytes(128)
    return fixed + COOKIE + bytes((MESSAGE_TYPE, 1, DISCOVER, END))


def parse(reply: bytes, mac: bytes, transaction: bytes) -> Offer | None:
    if len(reply) < SHORTEST or reply[0] != 2:
        return None
    if (reply[0x04:0x08], reply[0x1C:0x22], reply[0xEC:0xF0]) != (transaction, mac, COOKIE):
        return None
    wire_server = gateway = None
    routes: tuple[tuple[str, str], ...] = ()
    is_offer = False
    for code, value in options(reply[OPTIONS:]):
        if code == MESSAGE_TYPE:
            is_offer = value == bytes((OFFER,))
        elif code == OPTION:
            wire_server = dotted(value)
        elif code == ROUTER and len(value) >= 4 and len(value) % 4 == 0:
            gateway = dotted(value[:4])
        elif code == CLASSLESS:
            routes = _routes(value)
    return Offer(wire_server, gateway, routes) if is_offer else None


def options(field: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, value) up to the end mark; an option that is longer than what is left ends it."""
    at = 0
    while at < len(field) and field[at] != END:
        if field[at] == PAD:  # one byte, without a length
            at += 1
            continue
        length = field[at + 1] if at + 1 < len(field) else None
        if length is None or at + 2 + length > len(field):
            return
        yield field[at], field[at + 2 : at + 2 + length]
        at += 2 + length


def _routes(value: bytes) -> tuple[tuple[str, str], ...]:
    """As many whole, sound routes as there are before the first that is broken."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(value) and value[at] <= 32:
        bits = value[at]
        size = (bits + 7) // 8
        network, gateway = value[at + 1 : at + 1 + size], dotted(value[at + 1 + size : at + 5 + size])
        if len(network) != size or gateway is None:
            break
        kept = int.from_bytes(network.ljust(4, b"\0"), "big") & (0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF)
        found.append((".".join(str(byte) for byte in kept.to_bytes(4, "big")) + f"/{bits}", gateway))
        at += 5 + size
    return tuple(found)
