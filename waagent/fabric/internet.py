"""The way to the internet: requests, tamed. Manifests, packages and blobs go through here, the fabric never does.

    internet = Internet(clock, host=config.text("HttpProxy.Host"), port=config.integer("HttpProxy.Port"),
                        environment=os.environ)
    answer = internet.request("GET", url)            answer.status, answer.body, answer.retry_after
    answer = internet.request("GET", url, into=file)  the body of a 200 goes to the file, from its beginning;
                                                     into=Arrival: after what it holds already of the same version

The proxy is the one that proxies.py chooses, with its user and password; certificates are checked by the system's
store; redirects are not followed; a body is limited in size, and head and body together in time, which is put off
while a body keeps `pace` (deadline.py). requests is imported with the first request, or on the side after
prepare().

A download that breaks off is continued at once where it ended (Range, If-Range) when the server gave a strong ETag,
as long as every try brings some more of it; a server that has another version by now sends the whole again. Where
the storage tells the MD5 of a blob, what has arrived must have it. Threads may share an Internet: each has
connections of its own.

Source: wire-protocol 7.1, 7.2, 7.5; RFC 9110 13.1.5, 14.
"""

from __future__ import annotations

import io
import re
import socket
import threading
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from waagent import __version__
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric import proxies, retry
from waagent.fabric.arrival import Arrival, Origin, origin_of
from waagent.system.deadline import Deadline
from waagent.system.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

    from waagent.fabric.arrival import Body
    from waagent.system import Clock

DOCUMENT_LIMIT = 16 * 1024 * 1024
TOTAL = 300.0
PIECE = 128 * 1024
CONTINUATIONS = 20
TOLD, TOLD_WITHIN = 4096, 5.0  # bytes of the body of a refusal, and seconds for it


class Answer(NamedTuple):
    """body: at most 4 KiB of it when the status is no success; empty with `into`.

    retry_after: seconds that the server wants us to wait, None when it says nothing.
    """

    status: int
    body: bytes = b""
    retry_after: Optional[float] = None


class Internet:
    """authorities: file with the certificates of those who may vouch for a server; None: the system's."""

    def __init__(
        self,
        clock: Clock,
        *,
        host: str | None = None,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        authorities: str | None = None,
    ) -> None:
        self.clock, self._host, self._port = clock, host, port
        self._environment = environment or {}
        self._authorities = authorities
        self._mine = threading.local()

    def prepare(self) -> None:
        """Begin to load what the first request needs, while this process waits for something else."""
        threading.Thread(target=__import__, args=("requests",), daemon=True).start()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        into: Body | Arrival | None = None,
        limit: int = DOCUMENT_LIMIT,
        timeout: float = TOTAL,
        pace: float = 0.0,
    ) -> Answer:
        """Raises FabricUnreachable or FabricRejected; OSError comes from `into` alone."""
        memory = io.BytesIO()
        arrival = into if isinstance(into, Arrival) else Arrival(memory if into is None else into)
        deadline = Deadline(self.clock.monotonic, timeout, pace)
        transfer = _Transfer(method, url, arrival, limit, deadline)
        for _ in range(CONTINUATIONS):
            sent = {"User-Agent": f"waagent/{__version__}", **(headers or {}), **arrival.continuing(url)}
            status, retry_after, told = self._exchange(transfer, sent, body)
            if status:
                return Answer(status, told or memory.getvalue(), retry_after)
        raise transfer.unreachable(f"broke off {CONTINUATIONS} times, {arrival.size} bytes so far")

    def _exchange(
        self, transfer: _Transfer, sent: dict[str, str], body: bytes | None
    ) -> tuple[int, float | None, bytes]:
        """Status 0: the transfer broke off and can be continued."""
        import requests

        session = self._open()
        self._mine.left = transfer.left
        try:
            with session.request(
                transfer.method,
                transfer.url,
                headers=sent,
                data=body,
                proxies=self._proxies(transfer.url),
                timeout=(5.0, 30.0),
                allow_redirects=False,
                stream=True,
            ) as answer:
                retry_after = retry.asked_pause(answer.headers.get("Retry-After"), self.clock.now())
                status, arrival = answer.status_code, transfer.arrival
                if status == 206 and arrival.fits(answer.headers):
                    arrival.pieced = True
                    return (200 if transfer.take(answer) else 0), None, b""
                if status == 416 and arrival.complete(answer.headers):
                    return (200 if transfer.intact() else 0), None, b""
                if status in (206, 416) and arrival.size:
                    arrival.restart()
                    return 0, None, b""
                if status not in (200, 201, 202):
                    return status, retry_after, transfer.told(answer)
                arrival.restart(origin_of(transfer.url, answer.headers) if transfer.method == "GET" else Origin())
                return (status if transfer.take(answer) else 0), retry_after, b""
        except requests.RequestException as error:
            raise self._failure(transfer, error) from error

    def _failure(self, transfer: _Transfer, error: requests.RequestException) -> FabricRejected | FabricUnreachable:
        reason = _reason(error)
        if isinstance(error, ValueError):  # InvalidURL, MissingSchema, InvalidSchema
            return FabricRejected(f"cannot use {transfer.shown!r} as a location: {reason}", url=transfer.shown)
        if "407" in reason and "Tunnel connection failed" in reason:
            what = "the proxy wants another user or password (407); see HttpProxy.Host"
            return FabricRejected(f"{transfer.method} {transfer.shown}: {what}", url=transfer.shown, status=407)
        return transfer.unreachable(reason)

    def _open(self) -> requests.Session:
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is None:
            import requests

            self._mine.session = session = requests.Session()
            session.trust_env = False  # neither the environment's proxies nor .netrc: proxies.py decides
            session.headers["Accept-Encoding"] = "identity"
            session.verify = self._authorities or True
            _be_punctual(session, self._left)
        return session

    def _left(self) -> float:
        """Seconds for this thread's exchange."""
        left: float = self._mine.left()
        return left

    def _proxies(self, url: str) -> dict[str, str]:
        proxy = proxies.choose(url, self._host, self._port, self._environment)
        return {"http": proxy, "https": proxy} if proxy else {}


class _Transfer:
    """One body on its way, within a size and a time."""

    def __init__(self, method: str, url: str, arrival: Arrival, limit: int, deadline: Deadline) -> None:
        self.method, self.url, self.arrival, self.limit = method, url, arrival, limit
        self.shown = redact(url)
        self._deadline = deadline
        self.left = deadline.left

    def told(self, answer: requests.Response) -> bytes:
        """The beginning of the body of a refusal, as far as it comes soon: its status is known."""
        self._deadline.bring_forward(TOLD_WITHIN)
        told = b""
        try:
            for piece in _pieces(answer):
                told += piece
                if len(told) >= TOLD:
                    break
        except (OSError, HTTPException):
            pass
        return told[:TOLD]

    def take(self, answer: requests.Response) -> bool:
        """Copy the body; false when it broke off after some bytes, or is damaged, and can be asked for again."""
        arrival, total = self.arrival, self.arrival.origin.total
        if total > self.limit:
            raise self._too_large(f"{total} bytes are announced")
        before, broken, pieces = arrival.size, "", _pieces(answer)
        while True:
            try:
                piece = next(pieces, b"")
            except (OSError, HTTPException) as error:  # those of requests are OSError
                broken = _reason(error)
                if self.left() <= 0:
                    raise self._late() from error
                break
            if not piece:
                break
            if arrival.size + len(piece) > self.limit:
                raise self._too_large("the answer goes on")
            if self.left() < 0:
                raise self._late()
            arrival.write(piece)
            self._deadline.got(len(piece))
        if not broken and total in (-1, arrival.size):
            return self.intact()
        if arrival.origin.continues and before < arrival.size < (total if total >= 0 else self.limit):
            return False
        of = f" of {total}" if total >= 0 else ""
        raise self.unreachable(f"ended after {arrival.size}{of} bytes" + (f": {broken}" if broken else ""))

    def intact(self) -> bool:
        """False for what was pieced together and is damaged: it is worth to be fetched as a whole."""
        damage = self.arrival.damage()
        if not damage:
            return True
        pieced = self.arrival.pieced
        self.arrival.restart()
        if pieced:
            return False
        raise self.unreachable(damage)

    def unreachable(self, what: str) -> FabricUnreachable:
        return FabricUnreachable(f"{self.method} {self.shown}: {what}", url=self.shown)

    def _late(self) -> FabricUnreachable:
        return self.unreachable(f"not complete in time, {self.arrival.size} bytes so far")

    def _too_large(self, how: str) -> FabricRejected:
        what = f"{self.method} {self.shown}: the answer is over the limit of {self.limit} bytes ({how})"
        return FabricRejected(what, url=self.shown)


def _be_punctual(session: requests.Session, left: Callable[[], float]) -> None:
    """Have its connections read no longer than left() tells, heads included; requests only times single pieces."""

    class Response(HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
            super().__init__(sock, *arguments, **more)
            self.fp: Any = io.BufferedReader(_Punctual(self.fp.detach(), sock, left))

    def punctual(pool: Any) -> Any:
        connection = pool.ConnectionCls
        if issubclass(connection.response_class, Response):
            return pool
        connection = type(connection.__name__, (connection,), {"response_class": Response})
        return type(pool.__name__, (pool,), {"ConnectionCls": connection})

    def on(manager: Any) -> Any:
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: punctual(pool) for scheme, pool in pools.items()}
        return manager

    adapters: Any = session.adapters.values()
    for adapter in adapters:
        on(adapter.poolmanager)
        through = adapter.proxy_manager_for
        adapter.proxy_manager_for = lambda *words, through=through, **more: on(through(*words, **more))


class _Punctual(io.RawIOBase):
    """What a socket's file reads, piece by piece, until the time is over."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, left: Callable[[], float]) -> None:
        self._raw, self._sock, self._left = raw, sock, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left, usual = self._left(), self._sock.gettimeout()
        if left <= 0:
            raise socket.timeout("not complete in time")
        self._sock.settimeout(left if usual is None else min(left, usual))
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(usual)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. iter_content() waits until a piece is full: a trickle would outlast any deadline."""
    read = getattr(getattr(answer.raw, "_fp", None), "read1", None)
    if answer.headers.get("Content-Encoding") or read is None:
        yield from answer.iter_content(PIECE)
        return
    while piece := read(PIECE):
        yield piece


# How urllib3 names the connection in front of what happened to it: 1.26, 2.
_CONNECTION = re.compile(r"(<[^<>]* object at 0x[0-9a-f]+>|HTTPS?Connection(Pool)?\([^()]*\)): ")


def _reason(error: Exception) -> str:
    """What a requests exception is about, without the object names it is full of."""
    inner: object = error
    while isinstance(inner, Exception) and inner.args and isinstance(inner.args[0], Exception):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    cause = reason if isinstance(reason, Exception) else inner
    told = str(cause)
    if isinstance(cause, Exception) and not isinstance(cause, OSError):
        # Some have the connection first: (connection, "it timed out").
        told = next((words for words in cause.args[-1:] if isinstance(words, str)), told)
    return redact_text(_CONNECTION.sub("", told))[:300]
