"""QEMU's own control socket (QMP): what a hand at the machine would do with its discs and cables.

    with Monitor(path) as monitor:
        monitor.ask("query-block")                    -> what QEMU answers; MonitorError when it says no
        monitor.await_event("DEVICE_DELETED", 30)     -> the event's data, also of one that came before
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Optional


class MonitorError(AssertionError):
    pass


class Monitor:
    def __init__(self, path: Path, timeout: float = 30) -> None:
        self._socket = connected(path, timeout)
        self._stream = self._socket.makefile("rwb", buffering=0)
        self._events: list[dict[str, Any]] = []
        self._stream.readline()  # the greeting
        self.ask("qmp_capabilities")

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, command: str, /, **arguments: Any) -> Any:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        request: dict[str, Any] = {"execute": command}
        if named:
            request["arguments"] = named
        self._stream.write(json.dumps(request).encode() + b"\n")
        while True:
            line = self._stream.readline()
            if not line:
                raise MonitorError(f"{command}: QEMU has ended")
            answer = json.loads(line)
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise MonitorError(f"{command} {named}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def await_event(self, name: str, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for event in self._events:
                if event["event"] == name:
                    self._events.remove(event)
                    return dict(event.get("data", {}))
            self.ask("query-status")  # what has happened meanwhile comes before the answer
            time.sleep(0.1)
        raise MonitorError(f"no event {name} within {timeout} s")


def connected(path: Path, timeout: float) -> socket.socket:
    """A stream to QEMU's socket, which may not be there yet."""
    deadline = time.monotonic() + timeout
    while True:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(path))
            return made
        except (FileNotFoundError, ConnectionRefusedError):
            made.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
