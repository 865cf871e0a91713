"""A headless Chromium for tests of the web page, spoken to over a pair of pipes (its DevTools protocol).

    with Browser(directory) as browser:
        browser.open("http://127.0.0.1:8080/")
        browser.wait_for("document.title == 'ready'")
        assert browser.complaints == []              errors and warnings of the console, uncaught exceptions
        png = browser.screenshot()

It needs Debian's `chromium` and nothing else: messages are JSON that ends with a NUL. Every address but loopback is
unknown to it, and what it keeps lies in `directory`.
"""
from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe",
)
LEVELS = ("error", "warning", "assert")


def missing() -> str:
    """Why there can be no browser here; empty when there can."""
    return "" if shutil.which("chromium") else "no chromium: apt-get install chromium"


class Browser:
    def __init__(self, directory: Path, width: int = 1200, height: int = 900) -> None:
        self.directory = directory
        self.complaints: list[str] = []
        self._size = {"width": width, "height": height}
        self._number = 0
        self._session = ""
        self._unread = b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        there, self._write = os.pipe()
        self._read, back = os.pipe()
        # Chromium reads on descriptor 3 and writes on 4; from 10 on no number can be in the way of these two.
        ends = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (there, back)]
        script = 'in=$1 out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'
        with open(self.directory / "chromium.log", "wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", script, "bash", *map(str, ends), "chromium", *FLAGS,
                 f"--user-data-dir={self.directory / 'profile'}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=ends, start_new_session=True,
                env={**os.environ, "HOME": str(self.directory)})
        for one in (there, back, *ends):
            os.close(one)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", **self._size, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # it ends when nobody can speak to it any more
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        os.close(self._read)

    def open(self, url: str) -> None:
        self._events.clear()
        failed = self.call("Page.navigate", url=url).get("errorText")
        assert not failed, f"open {url}: {failed}"
        self._until(lambda: any(one["method"] == "Page.loadEventFired" for one in self._events), f"load {url}")

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"evaluate {expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout: float = 10) -> None:
        self._until(lambda: self.evaluate(expression), f"{expression} is not true", timeout)

    def text(self, selector: str = "body") -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def dark(self, wanted: bool = True) -> None:
        value = "dark" if wanted else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30
        while True:
            answer = self._next(deadline - time.monotonic())
            if answer is None:
                log = (self.directory / "chromium.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"{method}: no answer from chromium\n{log}")
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _until(self, holds: Any, what: str, timeout: float = 10) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self.complaints}"
            self._next(0.1)

    def _next(self, timeout: float) -> Optional[dict[str, Any]]:
        """One message, or None: nothing came in time, or it has ended. Events are noted."""
        deadline = time.monotonic() + timeout
        while b"\0" not in self._unread:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            got = os.read(self._read, 1 << 16)
            if not got:
                return None
            self._unread += got
        first, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        if "method" in message:
            self._events.append(message)
            self._complain(message["method"], message["params"])
        return message

    def _complain(self, method: str, given: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and given["type"] in LEVELS:
            self.complaints.append(json.dumps(given["args"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in LEVELS:
            self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
