"""The way to the internet: requests, tamed. Manifests, packages and blobs go through here, the fabric never does.

    internet = Internet(clock, host=config.text("HttpProxy.Host"), port=config.integer("HttpProxy.Port"),
                        environment=os.environ)
    answer = internet.request("GET", url)            answer.status, answer.body, answer.retry_after
    answer = internet.request("GET", url, into=file)  the body of a 200 goes to the file, from its beginning

The proxy is the one that proxies.py chooses, with its user and password; certificates are checked by the system's
store; redirects are not followed; a body is limited in size and in time. requests is imported with the first
request, or on the side after prepare().

A download that breaks off is continued at once where it ended (Range, If-Range) when the server gave a strong ETag,
as long as every try brings some more of it; a server that has another version by now sends the whole again.

Source: wire-protocol 7.1, 7.2, 7.5; RFC 9110 13.1.5, 14.
"""

from __future__ import annotations

import io
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple, Optional

from waagent import __version__
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric import proxies, retry
from waagent.system.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests

    from waagent.system import Clock

    Body = io.BytesIO | io.BufferedRandom

DOCUMENT_LIMIT = 16 * 1024 * 1024
TOTAL = 300.0
PIECE = 128 * 1024
CONTINUATIONS = 20


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
        self._session: requests.Session | None = None

    def prepare(self) -> None:
        """Begin to load what the first request needs, while this process waits for something else."""
        import threading

        threading.Thread(target=__import__, args=("requests",), daemon=True).start()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        into: Body | None = None,
        limit: int = DOCUMENT_LIMIT,
        timeout: float = TOTAL,
    ) -> Answer:
        """Raises FabricUnreachable or FabricRejected; OSError comes from `into` alone."""
        transfer = _Transfer(self.clock, method, url, into if into is not None else io.BytesIO(), limit, timeout)
        for _ in range(CONTINUATIONS):
            sent = {"User-Agent": f"waagent/{__version__}", **(headers or {}), **transfer.continuing()}
            status, retry_after, told = self._exchange(transfer, sent, body)
            if status:
                collected = (
                    transfer.into.getvalue() if into is None and isinstance(transfer.into, io.BytesIO) else b""
                )
                return Answer(status, told or collected, retry_after)
        raise transfer.unreachable(f"broke off {CONTINUATIONS} times, {transfer.size} bytes so far")

    def _exchange(
        self, transfer: _Transfer, sent: dict[str, str], body: bytes | None
    ) -> tuple[int, float | None, bytes]:
        """Status 0: the transfer broke off and can be continued."""
        import requests

        try:
            with self._open().request(
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
                if answer.status_code == 206 and transfer.fits(answer):
                    return (200 if transfer.take(answer) else 0), None, b""
                if answer.status_code in (206, 416) and transfer.size:
                    transfer.restart()
                    return 0, None, b""
                if answer.status_code not in (200, 201, 202):
                    return answer.status_code, retry_after, next(answer.iter_content(4096), b"")
                transfer.restart(answer)
                return (answer.status_code if transfer.take(answer) else 0), retry_after, b""
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
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.trust_env = False  # neither the environment's proxies nor .netrc: proxies.py decides
            self._session.headers["Accept-Encoding"] = "identity"
            self._session.verify = self._authorities or True
        return self._session

    def _proxies(self, url: str) -> dict[str, str]:
        proxy = proxies.choose(url, self._host, self._port, self._environment)
        return {"http": proxy, "https": proxy} if proxy else {}


class _Transfer:
    """One body on its way into a file: how much of which version has arrived."""

    def __init__(self, clock: Clock, method: str, url: str, into: Body, limit: int, timeout: float) -> None:
        self.method, self.url, self.into, self.limit = method, url, into, limit
        self.shown = redact(url)
        self._monotonic = clock.monotonic
        self._deadline = clock.monotonic() + timeout
        self.size, self._total, self._tag = 0, -1, ""

    def continuing(self) -> dict[str, str]:
        """The headers that ask for the rest of what has begun to arrive."""
        return {"Range": f"bytes={self.size}-", "If-Range": self._tag} if self.size else {}

    def restart(self, answer: requests.Response | None = None) -> None:
        """Forget what has arrived; with an answer, remember which version it brings."""
        self.into.seek(0)
        self.into.truncate()
        self.size, self._total, self._tag = 0, -1, ""
        if answer is not None:
            announced = answer.headers.get("Content-Length", "")
            if announced.isdecimal() and not answer.headers.get("Content-Encoding"):
                self._total = int(announced)
            tag = answer.headers.get("ETag", "")
            ranges = answer.headers.get("Accept-Ranges", "bytes").strip().lower() == "bytes"
            if self.method == "GET" and ranges and len(tag) > 2 and tag.startswith('"') and tag.endswith('"'):
                self._tag = tag

    def fits(self, answer: requests.Response) -> bool:
        """Whether a 206 brings what comes next of the version that has begun to arrive."""
        unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
        where, _, total = span.partition("/")
        same = answer.headers.get("ETag", self._tag) == self._tag
        length = total == "*" or self._total < 0 or total == str(self._total)
        return bool(self.size) and unit == "bytes" and where.startswith(f"{self.size}-") and same and length

    def take(self, answer: requests.Response) -> bool:
        """Copy the body; false when it broke off after some bytes and can be continued."""
        if self._total > self.limit:
            raise self._too_large(f"{self._total} bytes are announced")
        before, broken, pieces = self.size, "", _pieces(answer)
        while True:
            try:
                piece = next(pieces, b"")
            except (OSError, HTTPException) as error:  # those of requests are OSError
                broken = _reason(error)
                break
            if not piece:
                break
            self.size += len(piece)
            if self.size > self.limit:
                raise self._too_large("the answer goes on")
            if self._monotonic() > self._deadline:
                raise self.unreachable(f"not complete in time, {self.size} bytes so far")
            self.into.write(piece)
        if not broken and self._total in (-1, self.size):
            return True
        if self._tag and before < self.size < (self._total if self._total >= 0 else self.limit):
            return False
        of = f" of {self._total}" if self._total >= 0 else ""
        raise self.unreachable(f"ended after {self.size}{of} bytes" + (f": {broken}" if broken else ""))

    def unreachable(self, what: str) -> FabricUnreachable:
        return FabricUnreachable(f"{self.method} {self.shown}: {what}", url=self.shown)

    def _too_large(self, how: str) -> FabricRejected:
        what = f"{self.method} {self.shown}: the answer is over the limit of {self.limit} bytes ({how})"
        return FabricRejected(what, url=self.shown)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body as it arrives. iter_content() waits until a piece is full: a trickle would outlast any deadline."""
    read = getattr(getattr(answer.raw, "_fp", None), "read1", None)
    if answer.headers.get("Content-Encoding") or read is None:
        yield from answer.iter_content(PIECE)
        return
    while piece := read(PIECE):
        yield piece


def _reason(error: Exception) -> str:
    """What a requests exception is about, without the object names it is full of."""
    inner: object = error
    while isinstance(inner, Exception) and inner.args and isinstance(inner.args[0], Exception):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return redact_text(str(reason if isinstance(reason, Exception) else inner))[:300]
