"""A small HTTP/1.1 server: one event loop in one thread, any number of listening sockets.

    Request      service, method, target (as received), path, query, headers (names in lower case), body, client
    Response     status, body, headers, and how to deliver it: delay, truncation, dripping, reset
    Later        work that blocks (openssl); done in a small thread pool, then answered
    Server       .open(service, host, port) -> bound port; .start() / .stop()

A reply leaves in one write, so that keep-alive clients never meet the delayed-acknowledgement pause. Connections
are kept open as HTTP/1.1 says; `Connection: close` is honoured. Requests on one connection are answered in
order. Limits: 64 KiB of request head, `MAX_BODY` bytes of body.
"""
from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Callable, Optional, Union
from urllib.parse import parse_qsl

LOG = logging.getLogger("waagent.simulator")
MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
REASONS = {status.value: status.phrase for status in HTTPStatus}


class Request:
    """One request as it came in. The dispatcher fills in `number`, `machine` (a name) and `fault`; handlers add
    the rules that were broken without a refusal to `broken`, as (rule, message)."""

    __slots__ = ("_parameters", "body", "broken", "client", "fault", "headers", "machine", "method", "number",
                 "path", "query", "received", "service", "target", "version")

    def __init__(self, service: str, method: str, target: str, headers: dict[str, str], body: bytes, client: str,
                 version: str = "HTTP/1.1") -> None:
        self.service = service
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        self.client = client
        self.version = version
        self.number = 0
        self.machine = ""
        self.fault: Any = None
        self.broken: list[tuple[str, str]] = []
        self.received = time.time()
        self._parameters: Optional[dict[str, str]] = None

    @property
    def parameters(self) -> dict[str, str]:
        """The query as a dict with lower-case names; the first value of a name wins."""
        if self._parameters is None:
            found: dict[str, str] = {}
            for name, value in parse_qsl(self.query, keep_blank_values=True):
                found.setdefault(name.lower(), value)
            self._parameters = found
        return self._parameters

    def header(self, name: str, default: str = "") -> str:
        return self.headers.get(name.lower(), default)


class Response:
    """What goes back. Delivery fields are set by faults; a plain reply leaves them alone.

    delay        seconds before the first byte
    truncate     send the head with the full Content-Length, then only so many bytes of the body, then close
    drip         seconds between single pieces of `drip_size` bytes
    endless      announce no length and repeat the body until the client goes away
    reset        send a TCP reset instead of anything
    silent       close the connection without a byte
    """

    __slots__ = ("body", "close", "delay", "drip", "drip_size", "endless", "headers", "reset", "silent", "status",
                 "truncate")

    def __init__(self, status: int = 200, body: Union[bytes, str] = b"", content_type: str = "",
                 headers: Optional[Mapping[str, str]] = None) -> None:
        self.status = status
        self.body = body.encode("utf-8") if isinstance(body, str) else body
        self.headers: dict[str, str] = dict(headers or {})
        if content_type:
            self.headers["Content-Type"] = content_type
        self.close = False
        self.delay = 0.0
        self.truncate: Optional[int] = None
        self.drip = 0.0
        self.drip_size = 1
        self.endless = False
        self.reset = False
        self.silent = False

    def head(self, keep_open: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not self.endless and self.status not in (204, 304) and "Content-Length" not in self.headers:
            lines.append(f"Content-Length: {len(self.body)}")
        if not keep_open:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Later:
    """Blocking work that ends in a Response; `work` runs in the thread pool."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], Response]) -> None:
        self.work = work


Answer = Union[Response, Later]
Dispatch = Callable[[Request], Answer]
Finish = Callable[[Request, Response], Response]


class BadRequest(Exception):
    """The bytes on the connection are not a request that can be read."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Connection(asyncio.Protocol):
    """One client connection: reads requests, answers them one after another."""

    def __init__(self, server: Server, service: str) -> None:
        self.server = server
        self.service = service
        self.buffer = bytearray()
        self.busy = False
        self.closing = False
        self.continued = False
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before any other callback
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream protocol is given a Transport
        peer = transport.get_extra_info("peername")
        self.client = peer[0] if peer else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(self)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.closing = True
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.busy:
            self.advance()

    def eof_received(self) -> bool:
        return self.busy  # a half-closed client may still want its answer

    def advance(self) -> None:
        """Read and answer requests until one has to wait or the buffer holds no whole request."""
        while not self.busy and not self.closing:
            try:
                request = self._next_request()
            except BadRequest as error:
                self.busy = True
                self._deliver(self.server.refuse_garbage(self.service, self.client, error), keep_open=False)
                return
            if request is None:
                return
            self.busy = True
            self._answer(request)

    def _next_request(self) -> Optional[Request]:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > MAX_HEAD:
                raise BadRequest(431, f"request head longer than {MAX_HEAD} bytes")
            return None
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequest(400, "malformed request line")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest(400, "malformed header line")
            key = name.lower()
            value = value.strip()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        body, used = self._body(headers, end + 4)
        if body is None:
            return None
        del self.buffer[:used]
        self.continued = False
        return Request(self.service, parts[0], parts[1], headers, body, self.client, parts[2])

    def _body(self, headers: dict[str, str], start: int) -> tuple[Optional[bytes], int]:
        """The body that starts at `start` and where it ends, or (None, 0) while it is incomplete."""
        chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        text = headers.get("content-length", "0")
        if not chunked and not text.isdigit():
            raise BadRequest(400, "Content-Length is not a number")
        length = 0 if chunked else int(text)
        if length > MAX_BODY:
            raise BadRequest(413, f"body longer than {MAX_BODY} bytes")
        if (chunked or len(self.buffer) < start + length) and not self.continued and \
                headers.get("expect", "").lower() == "100-continue":
            self.continued = True
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if chunked:
            return _read_chunks(self.buffer, start)
        if len(self.buffer) < start + length:
            return None, 0
        return bytes(self.buffer[start:start + length]), start + length

    def _answer(self, request: Request) -> None:
        keep_open = request.version == "HTTP/1.1" and "close" not in request.header("connection").lower()
        answer = self.server.dispatch(request)
        if isinstance(answer, Later):
            future = self.server.loop.run_in_executor(self.server.pool, answer.work)
            future.add_done_callback(lambda done: self._worked(request, done, keep_open))
            return
        self._deliver(self.server.finish(request, answer), keep_open)

    def _worked(self, request: Request, done: asyncio.Future[Response], keep_open: bool) -> None:
        if done.cancelled():
            return
        error = done.exception()
        response = done.result() if error is None else self.server.broken(request, error)
        self._deliver(self.server.finish(request, response), keep_open)
        self.advance()

    def _deliver(self, response: Response, keep_open: bool) -> None:
        if response.delay > 0:
            self.server.loop.call_later(response.delay, self._send_then_advance, response, keep_open)
        else:
            self._send(response, keep_open)

    def _send_then_advance(self, response: Response, keep_open: bool) -> None:
        self._send(response, keep_open)
        self.advance()

    def _send(self, response: Response, keep_open: bool) -> None:
        if self.closing:
            return
        if response.reset or response.silent:
            self._abort(with_reset=response.reset)
            return
        keep_open = keep_open and not (response.close or response.endless or response.truncate is not None)
        data = response.head(keep_open)
        if response.endless:
            self.server.start_task(self._send_for_ever(data, response))
            return
        if response.truncate is not None:
            data += response.body[:response.truncate]
        elif response.status not in (204, 304):
            data += response.body
        if response.drip > 0:
            self.server.start_task(self._send_slowly(data, response, keep_open))
            return
        self.transport.write(data)
        self._sent(keep_open)

    def _sent(self, keep_open: bool) -> None:
        if keep_open:
            self.busy = False
        else:
            self.closing = True
            self.transport.close()

    async def _send_slowly(self, data: bytes, response: Response, keep_open: bool) -> None:
        for start in range(0, len(data), response.drip_size):
            if self.closing:
                return
            self.transport.write(data[start:start + response.drip_size])
            await asyncio.sleep(response.drip)
        self._sent(keep_open)
        self.advance()

    async def _send_for_ever(self, head: bytes, response: Response) -> None:
        self.transport.write(head)
        piece = response.body or b" " * 4096
        while not self.closing:
            self.transport.write(piece)
            await asyncio.sleep(response.drip or 0.001)
            while self.transport.get_write_buffer_size() > 4 * 1024 * 1024 and not self.closing:
                await asyncio.sleep(0.05)

    def _abort(self, with_reset: bool) -> None:
        self.closing = True
        if with_reset:
            sock = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _read_chunks(buffer: bytearray, start: int) -> tuple[Optional[bytes], int]:
    body = bytearray()
    while True:
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return None, 0
        try:
            size = int(bytes(buffer[start:end]).split(b";")[0], 16)
        except ValueError:
            raise BadRequest(400, "malformed chunk size") from None
        if size < 0 or len(body) + size > MAX_BODY:
            raise BadRequest(413, f"body longer than {MAX_BODY} bytes")
        start = end + 2
        if size == 0:
            done = buffer.find(b"\r\n", start)
            while done > start:  # trailers, not used by anybody here
                start = done + 2
                done = buffer.find(b"\r\n", start)
            return (bytes(body), start + 2) if done == start else (None, 0)
        if len(buffer) < start + size + 2:
            return None, 0
        body += buffer[start:start + size]
        start += size + 2


class Server:
    """Listening sockets of all services, one event loop, one thread."""

    def __init__(self, dispatch: Dispatch, finish: Finish,
                 broken: Callable[[Request, BaseException], Response],
                 garbage: Callable[[str, str, str], None]) -> None:
        self.dispatch = dispatch
        self.finish = finish
        self.broken = broken
        self._garbage = garbage
        self.loop = asyncio.new_event_loop()
        self.pool = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="simulator-work")
        self.connections: set[_Connection] = set()
        self._sockets: list[tuple[str, socket.socket, Optional[object]]] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread: Optional[threading.Thread] = None

    def open(self, service: str, host: str, port: int, tls: Optional[object] = None) -> int:
        """Bind a listening socket for `service`; port 0 picks a free one. OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        self._sockets.append((service, sock, tls))
        return int(sock.getsockname()[1])

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="simulator", daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._listen())
        ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self._close())
        self.loop.close()

    async def _listen(self) -> None:
        for service, sock, tls in self._sockets:
            self._servers.append(await self.loop.create_server(
                lambda service=service: _Connection(self, service),  # type: ignore[misc]
                sock=sock, backlog=1024, ssl=tls))  # type: ignore[arg-type]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.closing = True
            connection.transport.abort()
        await asyncio.sleep(0)

    def stop(self) -> None:
        if self._thread is None:
            for _, sock, _ in self._sockets:
                sock.close()
            self.loop.close()
        else:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self._thread = None
        self.pool.shutdown(wait=True)

    def start_task(self, work: object) -> None:
        task: asyncio.Task[None] = self.loop.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refuse_garbage(self, service: str, client: str, error: BadRequest) -> Response:
        self._garbage(service, client, str(error))
        return Response(error.status, str(error), "text/plain")
