"""The fabric of a bed: the simulator, listening at the fabric's real addresses in the bed's own namespace.

    fabric.simulator      waagent.simulator's Simulator, in this process: publish, faults, what was reported
    fabric.stop()         connections are refused from now on; unplug the network for silence
    fabric.start()        a simulator that knows nothing of what was before

A socket belongs to the network namespace of the thread that makes it, for as long as it lives. So this process
enters the fabric's namespace for the moment in which the simulator binds its sockets, and comes back: nothing
has to talk to another process to know what a guest reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Optional

from bed.network import METADATA_SERVICE, WIRE_SERVER

from waagent.simulator import Simulator

CLONE_NEWNET = 0x40000000


class Fabric:
    simulator: Simulator

    def __init__(self, namespace: str, wire_server: str = WIRE_SERVER) -> None:
        self._namespace, self._wire_server = namespace, wire_server

    def __enter__(self) -> Fabric:
        self.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def start(self) -> None:
        with inside(self._namespace):
            self.simulator = Simulator(self._wire_server, 80, 32526, 80, imds_host=METADATA_SERVICE)
        self.simulator.start()

    def stop(self) -> None:
        self.simulator.stop()


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{namespace}", "rb") as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(descriptor: int) -> None:
    """setns(2); the standard library has it from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"enter a network namespace: {os.strerror(number)}")
