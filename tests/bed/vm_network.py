"""The network of a virtual machine: its card on a bridge that holds the fabric's addresses, in one namespace.

    fabric namespace    guest (bridge)   10.77.0.1/24, the wire server's /32, 169.254.169.254/32
                        guest-tap        the other end of the machine's eth0, which asks by DHCP

unplug() pulls the machine's cable, plug() puts it back.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from bed.network import HOST_ADDRESS, METADATA_SERVICE, WIRE_SERVER, Network

CARD = "00:0d:3a:77:00:10"
TUN = Path("/dev/net/tun")


class BridgedNetwork(Network):
    tap = "guest-tap"

    def __init__(self, token: str, wire_server: str = WIRE_SERVER) -> None:
        super().__init__(token)
        self.wire_server = wire_server

    def open(self) -> None:
        if not TUN.exists():
            TUN.parent.mkdir(exist_ok=True)
            os.mknod(TUN, stat.S_IFCHR | 0o600, os.makedev(10, 200))
        _run("ip", "netns", "add", self.fabric)
        inside = ["ip", "-n", self.fabric]
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "add", "guest", "type", "bridge", "forward_delay", "0")
        for address in (f"{HOST_ADDRESS}/24", f"{self.wire_server}/32", f"{METADATA_SERVICE}/32"):
            _run(*inside, "address", "add", address, "dev", "guest")
        _run(*inside, "tuntap", "add", self.tap, "mode", "tap")
        _run(*inside, "link", "set", self.tap, "master", "guest", "up")
        _run(*inside, "link", "set", "guest", "up")

    def unplug(self) -> None:
        _run("ip", "-n", self.fabric, "link", "set", self.tap, "down")

    def plug(self) -> None:
        _run("ip", "-n", self.fabric, "link", "set", self.tap, "up")

    def mac(self) -> str:
        return CARD


def _run(*words: str) -> None:
    ran = subprocess.run(words, stderr=subprocess.PIPE, encoding="utf-8", check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(words)}: exited with status {ran.returncode}: {ran.stderr.strip()}")
