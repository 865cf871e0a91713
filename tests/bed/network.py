"""Two network namespaces joined by a veth pair: what the guest sees is the fabric and nothing else.

    guest namespace     eth0    10.77.0.10/24, default route to 10.77.0.1 (set by the guest's systemd-networkd)
    fabric namespace    guest   10.77.0.1/24, 168.63.129.16/32, 169.254.169.254/32

The addresses are the same in every bed: namespaces keep them apart. There is no way out to the machine.
"""

from __future__ import annotations

import json
import subprocess

GUEST_ADDRESS = "10.77.0.10"
HOST_ADDRESS = "10.77.0.1"
WIRE_SERVER = "168.63.129.16"
METADATA_SERVICE = "169.254.169.254"

GUEST_NETWORK = f"""[Match]
Name=eth0

[Network]
Address={GUEST_ADDRESS}/24
Gateway={HOST_ADDRESS}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


class Network:
    """The namespaces of one bed, by name; open() makes them, close() removes what is there of them."""

    def __init__(self, token: str) -> None:
        self.guest = f"waagent-{token}-guest"
        self.fabric = f"waagent-{token}-fabric"

    def open(self) -> None:
        _ip("netns", "add", self.guest)
        _ip("netns", "add", self.fabric)
        _ip("-n", self.fabric, "link", "add", "guest", "type", "veth", "peer", "name", "eth0", "netns", self.guest)
        _ip("-n", self.guest, "link", "set", "lo", "up")
        _ip("-n", self.fabric, "link", "set", "lo", "up")
        for address in (f"{HOST_ADDRESS}/24", f"{WIRE_SERVER}/32", f"{METADATA_SERVICE}/32"):
            _ip("-n", self.fabric, "address", "add", address, "dev", "guest")
        _ip("-n", self.fabric, "link", "set", "guest", "up")

    def close(self) -> None:
        for name in (self.guest, self.fabric):
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)

    def unplug(self) -> None:
        """Pull the cable: the fabric's end goes down, the guest loses its carrier."""
        _ip("-n", self.fabric, "link", "set", "guest", "down")

    def plug(self) -> None:
        _ip("-n", self.fabric, "link", "set", "guest", "up")

    def mac(self) -> str:
        """The hardware address of the guest's eth0; a new one in every bed."""
        shown = _ip("-n", self.guest, "-json", "link", "show", "eth0")
        return str(json.loads(shown)[0]["address"])

    def in_fabric(self, *command: str) -> list[str]:
        """The command line that runs `command` in the fabric's namespace."""
        return ["nsenter", f"--net=/run/netns/{self.fabric}", *command]


def _ip(*words: str) -> str:
    ran = subprocess.run(["ip", *words], capture_output=True, encoding="utf-8", check=False)
    if ran.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: exited with status {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout
