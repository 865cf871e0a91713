"""The host's side of the door (in_vm/door): commands go in, what they printed comes out.

    door = Door(socket path)
    door.wait_for_boot(timeout, alive)                  -> the id of the boot that greeted
    door.run(argv, timeout, stdin, alive)               -> (status, out, err); DoorClosed when the guest is gone

`alive()` is asked while waiting: it raises when the machine has ended.
"""

from __future__ import annotations

import base64
import json
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from bed.qmp import connected
from bed.verbs import Ran


class DoorClosed(AssertionError):
    pass


class Door:
    def __init__(self, path: Path, timeout: float = 30) -> None:
        self._socket = connected(path, timeout)
        self._kept = b""
        self._number = 0
        self.boot = ""

    def close(self) -> None:
        self._socket.close()

    def wait_for_boot(self, timeout: float, alive: Callable[[], None]) -> str:
        """Until a system greets."""
        deadline = time.monotonic() + timeout
        while not self.boot:
            message = self._next(deadline, alive)
            if message is None:
                raise DoorClosed(f"no system opens its door within {timeout} s")
        return self.boot

    def run(self, argv: Sequence[str], timeout: float, stdin: bytes, alive: Callable[[], None]) -> Ran:
        number, boot = self.send(argv, timeout, stdin), self.boot
        deadline = time.monotonic() + timeout + 30
        while True:
            message = self._next(deadline, alive)
            if message is None:
                raise DoorClosed(f"no answer to {' '.join(argv)[:200]} within {timeout + 30} s")
            if message.get("id") == number:
                out, err = (base64.b64decode(message[name]).decode(errors="replace") for name in ("out", "err"))
                return Ran(message["status"], out, err)
            if self.boot != boot:
                raise DoorClosed(f"the system was started anew while {' '.join(argv)[:200]} ran")

    def send(self, argv: Sequence[str], timeout: float, stdin: bytes = b"") -> int:
        """Ask without waiting for the answer, as for a command that takes the system down."""
        self._number += 1
        given = base64.b64encode(stdin).decode()
        request = {"id": self._number, "argv": list(argv), "stdin": given, "timeout": timeout}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self._number

    def _next(self, deadline: float, alive: Callable[[], None]) -> Optional[dict[str, Any]]:
        """The next message; None past the deadline."""
        while b"\n" not in self._kept:
            if time.monotonic() > deadline:
                return None
            ready, _, _ = select.select([self._socket], [], [], 0.2)
            if ready:
                got = self._socket.recv(65536)
                if not got:
                    alive()
                    raise DoorClosed("QEMU has closed the door")
                self._kept += got
            else:
                alive()
        line, self._kept = self._kept.split(b"\n", 1)
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:  # cut off by a restart
            return {}
        self.boot = message.get("boot", self.boot)
        return message
