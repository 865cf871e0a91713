"""One UDP question to everybody on a link, and the first answer that is taken.

    answer = ask("eth0", question, source=68, port=67, timeout=10.0, accept=lambda payload: parse(payload))

accept is called with the payload of every datagram to our port, whoever sent it, and returns None for one that is
not meant. ask() returns what accept gave, or None when the time was over.

A packet socket, as DHCP clients use it: it works on an interface without address or routes, beside a client that
holds the port, and whatever the machine's own firewall lets in. For the same reason nothing that arrives can be
trusted more than any frame on the link. Needs root; Linux only (elsewhere OSError).

frame(…) and payload_of(…) are the pure halves: IPv4 and UDP headers around a payload, and the way back.

Source: RFC 768, RFC 791; packet(7).
"""

from __future__ import annotations

import socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Answer = TypeVar("Answer")

ETHERNET_IP = 0x0800
EVERYBODY = b"\xff" * 6
UDP = 17
LARGEST = 64 * 1024


def ask(
    interface: str,
    question: bytes,
    *,
    source: int,
    port: int,
    timeout: float,
    accept: Callable[[bytes], Answer | None],
    monotonic: Callable[[], float] = time.monotonic,
) -> Answer | None:
    """Send the question from 0.0.0.0:source to 255.255.255.255:port and wait. Raises OSError."""
    if not hasattr(socket, "AF_PACKET"):
        raise OSError("this system has no packet sockets")
    deadline = monotonic() + timeout
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERNET_IP)) as link:
        link.bind((interface, ETHERNET_IP))
        link.sendto(frame(question, source, port), (interface, ETHERNET_IP, 0, 0, EVERYBODY))
        while (left := deadline - monotonic()) > 0:
            link.settimeout(left)
            try:
                packet = link.recv(LARGEST)
            except (TimeoutError, socket.timeout):  # two classes until Python 3.10
                return None
            payload = payload_of(packet, source)
            answer = None if payload is None else accept(payload)
            if answer is not None:
                return answer
    return None


def frame(payload: bytes, source: int, port: int) -> bytes:
    """The IPv4 packet from 0.0.0.0:source to 255.255.255.255:port; without the UDP checksum, which is optional."""
    udp = struct.pack("!HHHH", source, port, 8 + len(payload), 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, UDP, 0, bytes(4), b"\xff" * 4)
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + udp + payload


def payload_of(packet: bytes, port: int) -> bytes | None:
    """The payload of a whole UDP datagram to `port`; None for anything else, however broken."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != UDP:
        return None
    head = (packet[0] & 0x0F) * 4
    total, fragment = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!H", packet, 6)[0]
    if head < 20 or fragment & 0x3FFF or not head + 8 <= total <= len(packet):
        return None
    _, to, length, _ = struct.unpack_from("!HHHH", packet, head)
    if to != port or not 8 <= length <= total - head:
        return None
    return packet[head + 8 : head + length]


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
