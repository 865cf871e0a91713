"""The DHCP server of the fabric's network: dnsmasq with one address to give.

    with Dhcp(bed.network, bed.directory) as dhcp:
        bed.guest.boot()
        dhcp.name                    host name of the guest's lease, as a DNS would learn it; "" without one
        dhcp.heard("DHCPRELEASE")    how often a client said so
        dhcp.stop()                  nobody answers; start(options) answers again, with other options if it is told any

The guest's interface gets network.GUEST_ADDRESS whatever client asks, so a client that asks beside systemd-networkd
is told what networkd has. AZURE is what the platform's server tells beside the router: option 245 with the wire
server's address, classless routes to it and to the metadata service. Source: test-beds "Virtual machine";
wire-protocol 1.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Optional

from bed.network import GUEST_ADDRESS, HOST_ADDRESS, METADATA_SERVICE, WIRE_SERVER, Network

ROUTES = ",".join(f"{there},{HOST_ADDRESS}" for there in ("0.0.0.0/0", f"{WIRE_SERVER}/32", f"{METADATA_SERVICE}/32"))
AZURE = (f"--dhcp-option-force=245,{WIRE_SERVER}", f"--dhcp-option=option:classless-static-route,{ROUTES}")


class Dhcp:
    def __init__(self, network: Network, directory: Path, options: Sequence[str] = AZURE) -> None:
        """`options` are more words for dnsmasq."""
        self._network = network
        self._options = options
        self._leases = directory / "leases"
        self._log = directory / "dhcp.log"

    def __enter__(self) -> Dhcp:
        self.start()
        return self

    def start(self, options: Optional[Sequence[str]] = None) -> None:
        self._options = self._options if options is None else options
        command = [
            # Dies with this process: a killed test run leaves no server behind.
            "setpriv", "--pdeathsig", "KILL", "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0",
            "--user=root", "--interface=guest", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--log-dhcp",
            "--log-facility=-", f"--dhcp-leasefile={self._leases}", f"--dhcp-option=option:router,{HOST_ADDRESS}",
            f"--dhcp-range={GUEST_ADDRESS},{GUEST_ADDRESS},255.255.255.0,1h",
            f"--dhcp-host={self._network.mac()},id:*,{GUEST_ADDRESS}", *self._options,
        ]  # fmt: skip
        with open(self._log, "wb") as log:
            self._server = subprocess.Popen(
                self._network.in_fabric(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 10
        while "DHCP, IP range" not in self.log:
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"start dnsmasq in {self._network.fabric}: it does not serve:\n{self.log}")
            time.sleep(0.02)

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the server saw and answered so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def name(self) -> str:
        """The fourth word of a lease: expiry, hardware address, address, name or *, client identifier."""
        lines = self._leases.read_text(encoding="utf-8").splitlines() if self._leases.exists() else []
        names = [words[3] for words in map(str.split, lines) if len(words) > 3 and words[2] == GUEST_ADDRESS]
        return names[0] if names and names[0] != "*" else ""

    def wait_for_name(self, name: str, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while self.name != name:
            if time.monotonic() > deadline:
                raise AssertionError(f"the lease has the name {self.name!r}, not {name!r}:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def heard(self, message: str) -> int:
        return sum(f" {message}(" in line for line in self.log.splitlines())

    def stop(self) -> None:
        self._server.kill()
        self._server.wait(10)
