"""Two machines on one wire: network namespaces joined by a pair of virtual interfaces, gone with the test.

    with Link() as link:
        link.there("dnsmasq", …)           start a program in the far namespace; it is ended with the link
        link.here([sys.executable, …])     run one in the near namespace and return its output

The near end is `near0`, up and without an address; the far end has 192.0.2.1/24. Needs root and the ip program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

FAR, NEAR = "192.0.2.1", "near0"


def missing(*programs: str) -> str:
    """Why there can be no link, "" when there can."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("ip", *programs) if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}" if lacking else ""


class Link:
    def __init__(self) -> None:
        self._far, self._near = (f"waa{os.getpid()}{end}" for end in "fn")
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Link:
        for name in (self._far, self._near):
            _ip("netns", "add", name)
        pair = ("add", "far0", "netns", self._far, "type", "veth", "peer", "name", NEAR, "netns", self._near)
        _ip("link", *pair)
        _ip("-n", self._far, "address", "add", f"{FAR}/24", "dev", "far0")
        for name, device in ((self._far, "far0"), (self._far, "lo"), (self._near, NEAR), (self._near, "lo")):
            _ip("-n", name, "link", "set", device, "up")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for running in self._running:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
        for name in (self._far, self._near):
            _ip("netns", "delete", name)

    def there(self, *argv: str, ready: Callable[[], bool], log: Path) -> None:
        with log.open("wb") as stream:
            command = ("ip", "netns", "exec", self._far, *argv)
            self._running.append(subprocess.Popen(command, stdout=stream, stderr=stream))
        deadline = time.monotonic() + 20
        while not ready():
            assert self._running[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{argv[0]} does not get ready: {log.read_text()}"
            time.sleep(0.05)

    def here(self, *argv: str, cwd: Path | None = None) -> str:
        command = ("ip", "netns", "exec", self._near, *argv)
        ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def give_address(self, address: str) -> None:
        _ip("-n", self._near, "address", "add", address, "dev", NEAR)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True)
