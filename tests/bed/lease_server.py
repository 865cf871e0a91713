"""A DHCP server that keeps leases, for what a client tells about itself: dnsmasq with one address to give.

    with LeaseServer(bed.network, bed.directory) as server:
        server.name                    host name of the guest's lease, as a DNS would learn it; "" without one
        server.heard("DHCPRELEASE")    how often a client said so

It knows a client by its hardware address or client identifier and gives the same address again, as the platform does.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

from bed.network import GUEST_ADDRESS, HOST_ADDRESS, Network


class LeaseServer:
    def __init__(self, network: Network, directory: Path, *options: str) -> None:
        """`options` are more words for dnsmasq, for example --dhcp-option-force=245,168.63.129.16."""
        self._network = network
        self._options = options
        self._leases = directory / "leases"
        self._log = directory / "leases.log"

    def __enter__(self) -> LeaseServer:
        command = [
            # Dies with this process: a killed test run leaves no server behind.
            "setpriv", "--pdeathsig", "KILL", "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0",
            "--user=root", "--interface=guest", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--log-dhcp",
            f"--dhcp-range={GUEST_ADDRESS},{GUEST_ADDRESS},255.255.255.0,1h",
            f"--dhcp-option=option:router,{HOST_ADDRESS}", f"--dhcp-leasefile={self._leases}", "--log-facility=-",
            *self._options,
        ]  # fmt: skip
        with open(self._log, "wb") as log:
            self._server = subprocess.Popen(
                self._network.in_fabric(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 10
        while "DHCP, IP range" not in self.log:
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"start dnsmasq in {self._network.fabric}: it does not serve:\n{self.log}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stop()

    @property
    def log(self) -> str:
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

    def _stop(self) -> None:
        self._server.kill()
        self._server.wait(10)
