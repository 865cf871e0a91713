"""The DHCP server of the fabric's network: dnsmasq, with the option that names the wire server.

    with Dhcp(bed.network, bed.directory / "dhcp.log") as dhcp:
        bed.guest.boot()
        assert dhcp.journal().count("DHCPACK")

The guest's interface gets network.GUEST_ADDRESS whatever client asks, so a client that asks beside systemd-networkd
is told what networkd has set. The answer is Azure's: a router, option 245 with the wire server's address, and
classless routes to the wire server and the metadata service. Source: test-beds "Virtual machine"; wire-protocol 1.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

from bed.network import GUEST_ADDRESS, HOST_ADDRESS, METADATA_SERVICE, WIRE_SERVER, Network

ROUTES = ",".join(f"{there},{HOST_ADDRESS}" for there in ("0.0.0.0/0", f"{WIRE_SERVER}/32", f"{METADATA_SERVICE}/32"))


class Dhcp:
    def __init__(self, network: Network, log: Path) -> None:
        self._network = network
        self._log = log

    def __enter__(self) -> Dhcp:
        command = [
            # Dies with this process: a killed test run leaves no server behind.
            "setpriv", "--pdeathsig", "KILL", "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0",
            "--interface=guest", "--bind-interfaces", "--log-dhcp", "--log-facility=-", "--leasefile-ro",
            f"--dhcp-range={GUEST_ADDRESS},{GUEST_ADDRESS}", f"--dhcp-host={self._network.mac()},id:*,{GUEST_ADDRESS}",
            "--no-ping", "--dhcp-authoritative", f"--dhcp-option=option:router,{HOST_ADDRESS}",
            f"--dhcp-option-force=245,{WIRE_SERVER}", f"--dhcp-option=option:classless-static-route,{ROUTES}",
        ]  # fmt: skip
        with open(self._log, "wb") as log:
            self._server = subprocess.Popen(
                self._network.in_fabric(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 10
        while "DHCP, IP range" not in self.journal():
            if self._server.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise RuntimeError(f"start dnsmasq in {self._network.fabric}: it does not serve:\n{self.journal()}")
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stop()

    def journal(self) -> str:
        """What the server saw and answered so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _stop(self) -> None:
        self._server.kill()
        self._server.wait(10)
