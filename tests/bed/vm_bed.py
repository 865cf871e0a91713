"""A bed with a virtual machine in it: real disks, a real DVD, DHCP.

    with VmBed() as bed:
        bed.vm          VirtualMachine, off; also as bed.guest, so that what can do with any guest need not ask
        bed.fabric, bed.network, bed.ssh, bed.make_key    as in every bed
        bed.dhcp        Dhcp: gives the machine its address and, in option 245, the wire server's
        bed.machine(media="udf", …)   order the machine; its document lies in the drive as a disc of that kind.
                        None: no disc; bed.disc(kind) makes one to insert later

wire_server is where the fabric answers: 168.63.129.16, unless a test shows that the machine goes where DHCP says.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from bed import discs, network, package, vm_image
from bed.bed import Bed, sweep, termination_is_an_exception
from bed.dhcp import Dhcp
from bed.fabric import Fabric
from bed.network import WIRE_SERVER
from bed.vm import VirtualMachine
from bed.vm_network import BridgedNetwork

from waagent.simulator import Machine

HOST_NAME = "vm-bed"


class VmBed(Bed):
    guest: VirtualMachine  # type: ignore[assignment]

    def __init__(self, wire_server: str = WIRE_SERVER, told: Optional[Sequence[str]] = None) -> None:
        """`told` is what the DHCP server tells, in the words of dnsmasq; None: option 245 and no more."""
        super().__init__()
        self.wire_server = wire_server
        self._told = [f"--dhcp-option-force=245,{wire_server}"] if told is None else told

    def __enter__(self) -> VmBed:
        sweep()
        kernel, image = vm_image.kernel(), vm_image.image(package.build())
        with contextlib.ExitStack() as exits:
            exits.enter_context(termination_is_an_exception())
            self.directory.mkdir(parents=True)
            exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
            wire = BridgedNetwork(self.token, self.wire_server)
            self.network = wire
            exits.callback(wire.close)
            wire.open()
            self.fabric = exits.enter_context(Fabric(wire.fabric, self.wire_server))
            self.dhcp = exits.enter_context(Dhcp(wire, self.directory, self._told))
            disk = self.directory / "os"
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(disk)], check=True)
            self.vm = VirtualMachine(disk, kernel, wire.in_fabric(), wire.tap, self.token, self.directory)
            self.guest = self.vm
            exits.callback(self.vm.close)
            self._exits = exits.pop_all()
        return self

    def machine(self, media: Optional[str] = "udf", **given: Any) -> Machine:
        given = {"host_name": HOST_NAME, "addresses": [network.GUEST_ADDRESS], **given}
        made = self.fabric.simulator.machine("bed", vm_id=self.vm.vm_id, **given)
        self.vm.dvd = self.disc(media) if media is not None else None
        return made

    def disc(self, kind: str) -> Path:
        document = self.fabric.simulator.machines["bed"].ovf_env()
        return discs.dvd(self.directory / f"dvd-{kind}.iso", document, kind)

    def disk(self, name: str) -> Path:
        """Where a disk of the test may lie; gone with the bed."""
        return self.directory / name
