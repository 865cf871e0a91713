"""HTTP/1.1 for the link-local fabric: plain sockets, no proxy ever, cheap to import.

    http = Http(clock)
    response = http.request("GET", "http://168.63.129.16/?comp=versions", timeout=10.0)

One idle connection is kept for each host and port; when the peer has closed it meanwhile, it is opened again
unseen. A request that got no byte of an answer on a kept connection is sent a second time on a new one, whatever
its method: what this agent sends means the same when it arrives twice. Environment variables, proxies, cookies
and redirects do not exist here; internet addresses go through waagent/fabric/artifacts.py instead.

clock     for the deadline; its monotonic() has to run, as sockets wait in real time
timeout   seconds for the whole exchange, connecting included
pace      bytes a second; while so many come the time is put off (deadline.py)
limit     bytes of body that are accepted (after removing the chunks' framing)
into      a binary file that gets the body of a 200 piece by piece; Response.body is then empty

Failures, always with the redacted URL and in `cause` one word:
    FabricUnreachable   refused, timeout, reset, unresolved; truncated or malformed for an answer that is not HTTP
    FabricRejected      unusable (the URL or a header cannot be sent), too large (the answer is over the limit)

Source: wire-protocol 7.1, 7.3, 7.5.
"""

from __future__ import annotations

import socket
import time

from waagent import __version__
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.system.deadline import Deadline
from waagent.system.redact import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from waagent.system.clock import Clock

    class Sink(Protocol):
        """What `into` has to be."""

        def write(self, piece: bytes, /) -> object: ...


MIB = 1024 * 1024
LIMIT = 16 * MIB
HEADER_LIMIT = 64 * 1024
PIECE = 256 * 1024

GOOD = (200, 201, 202)

TIMED_OUT = (TimeoutError, socket.timeout)  # two classes until Python 3.10


class Response:
    """status (int), reason (str), headers (dict: lower-case names, repeated ones joined by ", "), body (bytes)."""

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body

    @property
    def good(self) -> bool:
        """Whether the status is one of those that the fabric's services call success."""
        return self.status in GOOD

    def excerpt(self, length: int = 200) -> str:
        """The beginning of the body on one line, for an error message."""
        return " ".join(self.body[: 4 * length].decode("utf-8", "replace").split())[:length]

    def __repr__(self) -> str:
        return f"Response({self.status} {self.reason}, {len(self.body)} bytes)"


class Http:
    """A client that keeps one idle connection for each host and port.

    Threads may share it: a connection in use is in nobody else's reach, for it is taken out of the idle ones and
    put back by one step of the dictionary each. Where two come back, the second is closed.
    """

    def __init__(self, clock: Clock | None = None, *, agent: str = f"waagent/{__version__}") -> None:
        self._monotonic = clock.monotonic if clock is not None else time.monotonic
        self._agent = agent
        self._idle: dict[tuple[str, int], socket.socket] = {}

    def request(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout: float = 10.0,
        limit: int = LIMIT,
        into: Sink | None = None,
        pace: float = 0.0,
    ) -> Response:
        """Make one exchange. Any status is an answer; only what is no answer raises (see the file's docstring)."""
        host, port, target = split(url)
        authority = f"[{host}]" if ":" in host else host
        lines = [f"{method} {target} HTTP/1.1", f"Host: {authority if port == 80 else f'{authority}:{port}'}"]
        message = self._message(lines, headers, body, url)
        deadline = Deadline(self._monotonic, timeout, pace)
        exchange = _Exchange(method, url, deadline, timeout, limit=limit, into=into)
        kept = self._idle.pop((host, port), None)
        if kept is not None and not _peer_closed(kept):
            try:
                response = exchange.run(kept, message)
            except _NoAnswer:
                kept.close()
            except BaseException:
                kept.close()
                raise
            else:
                self._keep(host, port, kept, exchange)
                return response
        elif kept is not None:
            kept.close()
        fresh = exchange.connect(host, port)
        try:
            response = exchange.run(fresh, message)
        except _NoAnswer as error:
            fresh.close()
            raise exchange.unreachable("reset", str(error)) from error
        except BaseException:
            fresh.close()
            raise
        self._keep(host, port, fresh, exchange)
        return response

    def close(self) -> None:
        """Close the idle connections."""
        for place in list(self._idle):
            connection = self._idle.pop(place, None)
            if connection is not None:
                connection.close()

    def _keep(self, host: str, port: int, connection: socket.socket, exchange: _Exchange) -> None:
        if not exchange.reusable or self._idle.setdefault((host, port), connection) is not connection:
            connection.close()

    def _message(self, lines: list[str], headers: Iterable[tuple[str, str]], body: bytes, url: str) -> bytes:
        named = {"host", "content-length"}
        for name, value in headers:
            if any(character in name + value for character in "\r\n\0"):
                raise FabricRejected(
                    f"cannot send a request to {redact(url)}: the header {name!r} holds a line break",
                    url=redact(url),
                    cause="unusable",
                )
            named.add(name.lower())
            lines.append(f"{name}: {value}")
        if "user-agent" not in named:
            lines.append(f"User-Agent: {self._agent}")
        if body or lines[0].startswith(("POST", "PUT")):
            lines.append(f"Content-Length: {len(body)}")
        # One buffer, one send: a head and a body in two segments cost a delayed acknowledgement (40 ms).
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def split(url: str) -> tuple[str, int, str]:
    """Host, port and request target of an http URL; the target stays as written. Raises FabricRejected."""
    scheme, separator, rest = url.partition("://")
    cut = min((at for at in (rest.find(mark) for mark in "/?#") if at >= 0), default=len(rest))
    authority, target = rest[:cut], rest[cut:].partition("#")[0]
    if not target.startswith("/"):
        target = "/" + target
    if authority.startswith("["):
        host, _, tail = authority[1:].partition("]")
        port_text = tail[1:] if tail.startswith(":") else tail and "x"
    else:
        host, colon, port_text = authority.partition(":")
        port_text = port_text if colon else ""
    fits = all("!" <= character <= "~" for character in url) and "@" not in authority and bool(host)
    fits = fits and (not port_text or (port_text.isdecimal() and len(port_text) < 6 and 0 < int(port_text) < 65536))
    if scheme.lower() != "http" or not separator or not fits:
        shown = redact(url)[:300]
        raise FabricRejected(f"cannot use {shown!r}: expected http://host[:port]/path", url=shown, cause="unusable")
    return host, int(port_text or 80), target


class _NoAnswer(Exception):
    """The connection ended before the first byte of an answer."""


class _Exchange:
    """One request and its answer, within one deadline."""

    def __init__(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        timeout: float,
        *,
        limit: int,
        into: Sink | None,
    ) -> None:
        self.method, self.url, self.timeout, self.limit, self.into = method, url, timeout, limit, into
        self._deadline = deadline
        self._buffer = bytearray()
        self._size = 0
        self.reusable = False

    # -- the pieces ------------------------------------------------------------------------------------------

    def connect(self, host: str, port: int) -> socket.socket:
        try:
            connection = socket.create_connection((host, port), timeout=self._remaining())
        except socket.gaierror as error:
            raise self.unreachable("unresolved", f"{host}: {error.strerror}") from error
        except TIMED_OUT as error:
            raise self.unreachable("timeout", f"no connection within {self.timeout:.0f} s") from error
        except OSError as error:
            cause = "refused" if isinstance(error, ConnectionRefusedError) else "unreachable"
            raise self.unreachable(cause, error.strerror or str(error)) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def run(self, connection: socket.socket, message: bytes) -> Response:
        self._buffer.clear()
        self.reusable = False
        try:
            connection.settimeout(self._remaining())
            connection.sendall(message)
        except TIMED_OUT as error:
            raise self.unreachable("timeout", f"the request was not taken within {self.timeout:.0f} s") from error
        except OSError as error:
            # An answer such as 413 may have been sent before the peer stopped reading; look for it.
            if not self._readable(connection):
                raise _NoAnswer(error.strerror or str(error)) from error
        status, reason, headers, version = self._head(connection)
        while 100 <= status < 200:
            status, reason, headers, version = self._head(connection)
        body = self._body(connection, status, headers)
        stays = "close" not in headers.get("connection", "").lower() and version == "1.1"
        self.reusable = stays and not self._buffer and self._framed(status, headers)
        return Response(status, reason, headers, body)

    def _readable(self, connection: socket.socket) -> bool:
        try:
            connection.settimeout(min(1.0, self._remaining()))
            return bool(connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _framed(self, status: int, headers: dict[str, str]) -> bool:
        """Whether the end of the body shows without the connection's end."""
        bodiless = self.method == "HEAD" or status in (204, 304)
        return bodiless or "transfer-encoding" in headers or "content-length" in headers

    def _head(self, connection: socket.socket) -> tuple[int, str, dict[str, str], str]:
        while b"\n\r\n" not in self._buffer and b"\n\n" not in self._buffer:
            if len(self._buffer) > HEADER_LIMIT:
                raise self.unreachable("malformed", f"no end of the headers within {HEADER_LIMIT} bytes")
            if not self._receive(connection):
                if not self._buffer:
                    raise _NoAnswer("the connection was closed without an answer")
                raise self.unreachable("truncated", f"ended within the headers, after {len(self._buffer)} bytes")
        ends = [at + len(mark) for mark in (b"\n\r\n", b"\n\n") if (at := self._buffer.find(mark)) >= 0]
        head = bytes(self._buffer[: min(ends)]).decode("latin-1")
        del self._buffer[: min(ends)]
        first, *rest = head.replace("\r\n", "\n").rstrip("\n").split("\n")
        protocol, _, outcome = first.partition(" ")
        number, _, reason = outcome.lstrip().partition(" ")
        if protocol not in ("HTTP/1.1", "HTTP/1.0") or not (number.isdecimal() and len(number) == 3):
            raise self.unreachable("malformed", f"answered {first[:80]!r} instead of an HTTP status line")
        headers: dict[str, str] = {}
        for line in rest:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise self.unreachable("malformed", f"a header line is {line[:80]!r}")
            key, value = name.lower(), value.strip()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return int(number), reason.strip(), headers, protocol[5:]

    def _body(self, connection: socket.socket, status: int, headers: dict[str, str]) -> bytes:
        if self.method == "HEAD" or status in (204, 304):
            return b""
        self._size = 0
        pieces: list[bytes] = []
        take: Callable[[bytes], object] = pieces.append
        if self.into is not None and status == 200:
            take = self.into.write
        coding = headers.get("transfer-encoding", "").lower()
        if coding not in ("", "identity", "chunked"):
            raise self.unreachable("malformed", f"the transfer encoding is {coding[:80]!r}")
        if coding == "chunked":
            while (size := self._chunk_size(connection)) > 0:
                self._take(connection, size, take)
                self._line(connection, "after a chunk", expected="")
            while self._line(connection, "after the last chunk"):
                pass
        elif "content-length" in headers:
            lengths = {length.strip() for length in headers["content-length"].split(",")}
            length = lengths.pop()
            if lengths or not (length.isdecimal() and len(length) < 19):
                raise self.unreachable("malformed", f"the content length is {headers['content-length'][:80]!r}")
            self._take(connection, int(length), take)
        else:
            self._take(connection, None, take)
        return b"".join(pieces)

    def _chunk_size(self, connection: socket.socket) -> int:
        line = self._line(connection, "before a chunk").partition(";")[0].strip()
        if not line or len(line) > 15 or any(digit not in "0123456789abcdefABCDEF" for digit in line):
            raise self.unreachable("malformed", f"a chunk's size is {line[:40]!r}")
        return int(line, 16)

    def _line(self, connection: socket.socket, where: str, expected: str | None = None) -> str:
        while b"\n" not in self._buffer:
            if len(self._buffer) > HEADER_LIMIT:
                raise self.unreachable("malformed", f"a line {where} does not end")
            if not self._receive(connection):
                raise self.unreachable("truncated", f"ended {where}, {self._size} bytes into the body")
        end = self._buffer.index(b"\n")
        line = bytes(self._buffer[:end]).decode("latin-1").rstrip("\r")
        del self._buffer[: end + 1]
        if expected is not None and line != expected:
            raise self.unreachable("malformed", f"the line {where} is {line[:40]!r}")
        return line

    def _take(self, connection: socket.socket, size: int | None, take: Callable[[bytes], object]) -> None:
        """Hand `size` bytes of body on (None: all until the end of the connection)."""
        if self._size + (size or 0) > self.limit:
            raise self._too_large(f"{self._size + (size or 0)} bytes")
        missing = size
        while missing is None or missing > 0:
            if not self._buffer and not self._receive(connection):
                if missing is None:
                    return
                raise self.unreachable("truncated", f"ended {missing} bytes early, at {self._size}")
            piece = bytes(self._buffer if missing is None else self._buffer[:missing])
            del self._buffer[: len(piece)]
            self._size += len(piece)
            if self._size > self.limit:
                raise self._too_large("more")
            take(piece)
            self._deadline.got(len(piece))
            missing = None if missing is None else missing - len(piece)

    def _receive(self, connection: socket.socket) -> bool:
        """Add what has arrived to the buffer; false at the end of the connection."""
        try:
            connection.settimeout(self._remaining())
            piece = connection.recv(PIECE)
        except TIMED_OUT as error:
            got = self._size + len(self._buffer)
            what = f"no complete answer within {self.timeout:.0f} s, {got} bytes"
            raise self.unreachable("timeout", what) from error
        except OSError as error:
            if not self._buffer and not self._size:
                raise _NoAnswer(error.strerror or str(error)) from error
            what = f"{error.strerror or error}, {self._size} bytes into the body"
            raise self.unreachable("reset", what) from error
        self._buffer += piece
        return bool(piece)

    # -- failures --------------------------------------------------------------------------------------------

    def unreachable(self, cause: str, what: str) -> FabricUnreachable:
        url = redact(self.url)
        return FabricUnreachable(f"{self.method} {url}: {what}", url=url, cause=cause)

    def _too_large(self, size: str) -> FabricRejected:
        url = redact(self.url)
        return FabricRejected(
            f"{self.method} {url}: the answer has {size}, over the limit of {self.limit} bytes",
            url=url,
            cause="too large",
        )

    def _remaining(self) -> float:
        """Seconds until the deadline; raises TimeoutError when there are none."""
        remaining = self._deadline.left()
        if remaining <= 0:
            raise TimeoutError("the deadline has passed")
        return remaining


def _peer_closed(connection: socket.socket) -> bool:
    """Whether an idle connection is of no use any more: closed by the peer, or with bytes nobody asked for."""
    try:
        connection.setblocking(False)
        connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True
    return True
