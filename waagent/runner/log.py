"""One log format, in two places: /var/log/waagent.log and the journal.

    2026-11-23T09:17:02.123Z INFO local/hostname changed: set to simvm01

Under systemd each line is a journal record with WAAGENT_STAGE and WAAGENT_STEP (the native protocol: one datagram);
typed by hand it goes to standard error. Until the machine is provisioned, Logs.Console=y echoes it on /dev/console,
because somebody may be watching the serial port. A log that cannot be written never stops anything.

`mask` holds secret values: wherever they turn up in a line, "***" stands instead.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable

from waagent.system import System

FILE = "/var/log/waagent.log"
JOURNAL = "/run/systemd/journal/socket"
_PRIORITY = {"ERROR": 3, "WARNING": 4, "INFO": 6, "VERBOSE": 7}
_LEVELS = {**dict.fromkeys("0123", "ERROR"), "4": "WARNING", "5": "INFO", "6": "INFO", "7": "VERBOSE"}
_SHORTEST_SECRET = 6


class Log:
    def __init__(self, system: System, stage: str, *, verbose: bool = False, console: bool = False) -> None:
        self.system, self.stage, self.verbose = system, stage, verbose
        self._mask: tuple[str, ...] = ()
        self._file, self._console = -1, -1
        self._journal: socket.socket | None = None
        if not system.planning:
            self._open(console and system.root == "/")

    def mask(self, secrets: Iterable[object]) -> None:
        """Hide these values from now on; short ones are left alone, or the log would be all stars."""
        texts = {str(secret) for secret in secrets if isinstance(secret, str) and len(secret) >= _SHORTEST_SECRET}
        self._mask = tuple(sorted(texts, key=len, reverse=True))

    def error(self, message: str, step: str = "") -> None:
        self._line("ERROR", message, step)

    def warning(self, message: str, step: str = "") -> None:
        self._line("WARNING", message, step)

    def info(self, message: str, step: str = "") -> None:
        self._line("INFO", message, step)

    def detail(self, message: str, step: str = "") -> None:
        if self.verbose:
            self._line("VERBOSE", message, step)

    def answer(self, message: str, step: str) -> None:
        """To who typed the command; in the log only where it tells more."""
        if self.verbose:
            self._line("VERBOSE", message, step)
        else:
            print(f"{self.stage}/{step}: {self.hidden(message)}", file=sys.stderr)

    def close(self) -> None:
        for descriptor in (self._file, self._console):
            if descriptor >= 0:
                os.close(descriptor)
        self._file, self._console = -1, -1
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _open(self, console: bool) -> None:
        try:
            path = str(self.system.path(FILE))
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError:
            self._file = -1
        if console:
            try:
                self._console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._console = -1
        if os.environ.get("JOURNAL_STREAM"):
            try:
                self._journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._journal.connect(JOURNAL)
            except OSError:
                self._journal = None

    def output(self, line: str, step: str) -> None:
        """A line that a step wrote; one that begins with <0> to <7> says its own priority, as on the journal."""
        if len(line) > 2 and line[0] == "<" and line[1] in _LEVELS and line[2] == ">":
            level = _LEVELS[line[1]]
            if level != "VERBOSE" or self.verbose:
                self._line(level, line[3:].lstrip(" "), step)
        else:
            self._line("INFO", line, step)

    def hidden(self, text: str) -> str:
        """The text with every secret value replaced by stars."""
        for secret in self._mask:
            text = text.replace(secret, "***")
        return text

    def _line(self, level: str, message: str, step: str) -> None:
        message = self.hidden(message)
        where = f"{self.stage}/{step}" if step else self.stage
        text = " ".join(message.split("\n")) if "\n" in message else message
        stamp = self.system.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        line = f"{stamp} {level} {where} {text}\n".encode("utf-8", "replace")
        for descriptor in (self._file, self._console):
            if descriptor >= 0:
                self._write(descriptor, line)
        if self._journal is not None:
            self._send(level, f"{where}: {text}", step)
        else:
            print(f"{where}: {text}" if level == "INFO" else f"{level.lower()}: {where}: {text}", file=sys.stderr)

    @staticmethod
    def _write(descriptor: int, line: bytes) -> None:
        try:
            os.write(descriptor, line)
        except OSError:
            return

    def _send(self, level: str, message: str, step: str) -> None:
        fields = (
            f"MESSAGE={message}\nPRIORITY={_PRIORITY[level]}\nSYSLOG_IDENTIFIER=waagent\n"
            f"WAAGENT_STAGE={self.stage}\nWAAGENT_STEP={step}\n"
        )
        try:
            if self._journal is not None:
                self._journal.send(fields.encode("utf-8", "replace"))
        except OSError:
            return
