"""SharedConfig: which address the platform gives this machine's RDMA interface.

rdma(content) -> Rdma(mac, address) or None where the machine has none. mac is "00:15:5d:33:ff:1d", address
"172.16.0.4". Raises GoalStateInvalid for what is no such document; an address that is none counts as absent.

Source: provisioning 7.9 step 3.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple

from waagent.fabric import xml

DOCUMENT = "the shared configuration"


class Rdma(NamedTuple):
    mac: str
    address: str


def rdma(content: bytes | str) -> Rdma | None:
    root = xml.parse(content, DOCUMENT, "SharedConfig")
    for instance in root.iter("Instance"):
        digits = instance.get("rdmaMacAddress", "").replace(":", "").replace("-", "").lower()
        try:
            address = str(IPv4Address(instance.get("rdmaIPv4Address", "").strip()))
        except AddressValueError:
            continue
        if len(digits) == 12 and not digits.strip("0123456789abcdef"):
            return Rdma(":".join(digits[at : at + 2] for at in range(0, 12, 2)), address)
    return None
