"""Two small servers of a test's own, on loopback: a storage that breaks off, and a proxy that asks for a password.

    with Storage(content, tag='"1"') as storage:     storage.url, storage.asked (headers of each request)
        storage.cuts = [100, 50]                     bytes after which the next answers break off
    with Proxy("user", "p%ss") as proxy:             proxy.port, proxy.seen ("CONNECT host:port", …), proxy.refused
"""

from __future__ import annotations

import base64
import http.client
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class _Server:
    """Runs a handler class that finds this object as `self.server.owner`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.owner = self
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone, which some tests make it do
            return

    def log_message(self, format: str, *args: Any) -> None:
        return


class Storage(_Server):
    """ranges False: it ignores Range; lies True: its 206 begins elsewhere than asked; silent True: its 206
    has no ETag; throttle: Retry-After values;
    trickle: seconds between the first hundred bytes; steady: so many bytes, then so many seconds; digest: the MD5 it tells; stalls: bytes after which the next
    answers stop until the client has gone."""

    def __init__(self, content: bytes, tag: str = "") -> None:
        super().__init__(_StorageHandler)
        self.content, self.tag = content, tag
        self.cuts: list[int] = []
        self.ranges, self.lies, self.silent = True, False, False
        self.trickle = 0.0
        self.steady: tuple[int, float] | None = None
        self.digest = ""
        self.stalls: list[int] = []
        self.throttle: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.port}/package"


class _StorageHandler(_Quiet):
    def do_GET(self) -> None:
        owner: Storage = self.server.owner  # type: ignore[attr-defined]
        sent = {name.lower(): value for name, value in self.headers.items()}
        owner.asked.append(sent)
        if owner.throttle:
            self.send_response(429)
            self.send_header("Retry-After", owner.throttle.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begin = 0
        if owner.ranges and "range" in sent and sent.get("if-range", owner.tag) == owner.tag:
            begin = int(sent["range"][len("bytes=") : -1])
        rest = owner.content[begin:]
        if begin and not rest:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(owner.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if owner.digest:
            self.send_header("x-ms-blob-content-md5" if begin else "Content-MD5", owner.digest)
        self.send_header("Content-Length", str(len(rest)))
        if begin:
            told = begin - 1 if owner.lies else begin
            self.send_header("Content-Range", f"bytes {told}-{len(owner.content) - 1}/{len(owner.content)}")
        if owner.tag and not (begin and owner.silent):
            self.send_header("ETag", owner.tag)
        self.end_headers()
        for at in range(100 if owner.trickle else 0):
            self.wfile.write(rest[at : at + 1])
            time.sleep(owner.trickle)
        if owner.stalls:
            self.wfile.write(rest[: owner.stalls.pop(0)])
            self.wfile.flush()
            self.connection.settimeout(20)
            self.connection.recv(1)
            self.close_connection = True
            return
        cut = owner.cuts.pop(0) if owner.cuts else len(rest)
        size, pause = owner.steady or (cut or 1, 0.0)
        for at in range(0, cut, size):
            self.wfile.write(rest[at : min(at + size, cut)])
            time.sleep(pause)
        self.wfile.flush()
        if cut < len(rest):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


class Slow(_Server):
    """Sends `begin` at once, and then x for as long as somebody listens."""

    def __init__(self, begin: bytes) -> None:
        super().__init__(_SlowHandler)
        self.begin = begin
        self.url = f"http://127.0.0.1:{self.port}/slow"


class _SlowHandler(_Quiet):
    def do_GET(self) -> None:
        owner: Slow = self.server.owner  # type: ignore[attr-defined]
        self.close_connection = True
        self.wfile.write(owner.begin)
        for _ in range(300):
            time.sleep(0.1)
            self.wfile.write(b"x")

    do_CONNECT = do_GET


class Proxy(_Server):
    """Forwards plain requests and tunnels CONNECT, for those who know the password (no user: for everybody)."""

    def __init__(self, user: str = "", password: str = "") -> None:
        super().__init__(_ProxyHandler)
        token = base64.b64encode(f"{user}:{password}".encode("latin-1")).decode()
        self.wanted = f"Basic {token}" if user else None
        self.seen: list[str] = []
        self.refused = 0


class _ProxyHandler(_Quiet):
    def _enters(self) -> bool:
        owner: Proxy = self.server.owner  # type: ignore[attr-defined]
        if owner.wanted is not None and self.headers.get("Proxy-Authorization") != owner.wanted:
            owner.refused += 1
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        owner.seen.append(f"{self.command} {self.path}")
        return True

    def do_GET(self) -> None:
        if not self._enters():
            return
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        upstream = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
        upstream.request(self.command, parts._replace(scheme="", netloc="").geturl(), body, kept)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_GET

    def do_CONNECT(self) -> None:
        if not self._enters():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as far:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while True:
                for end in select.select(list(ends), [], [], 10)[0]:
                    piece = end.recv(65536)
                    if not piece:
                        self.close_connection = True
                        return
                    ends[end].sendall(piece)
