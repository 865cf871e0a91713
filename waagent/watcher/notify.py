"""Readiness and watchdog messages to systemd: one datagram each to $NOTIFY_SOCKET. Lean.

Source: boot-stages-and-hooks D3.
"""

from __future__ import annotations

import os
import socket


class Notifier:
    """Takes the socket's name out of the environment, so that no child can speak for the watcher."""

    def __init__(self) -> None:
        name = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        os.environ.pop("WATCHDOG_PID", None)
        self.watchdog = int(microseconds) / 1e6 if microseconds.isdigit() else 0.0  # seconds; 0: none

    def say(self, *lines: str) -> None:
        """Send lines such as READY=1, STATUS=…, WATCHDOG=1, STOPPING=1; without systemd nothing happens."""
        if not self._address or self._address[:1] not in ("/", "\0"):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return
