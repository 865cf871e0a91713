"""The way to the internet: requests, tamed. Manifests, packages and blobs go through here, the fabric never does.

    internet = Internet(clock, host=config.text("HttpProxy.Host"), port=config.integer("HttpProxy.Port"),
                        environment=os.environ)
    status, body = internet.request("GET", url)

The proxy is the one that proxies.py chooses; certificates are checked by the system's store; redirects are not
followed; a body is limited in size and in time. requests is imported with the first request.

Source: wire-protocol 7.1, 7.2, 7.5.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from waagent import __version__
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric import proxies
from waagent.system.redact import redact, redact_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from waagent.system import Clock
    from waagent.system.http import Sink

DOCUMENT_LIMIT = 16 * 1024 * 1024
TOTAL = 300.0
PIECE = 1024 * 1024


class Internet:
    def __init__(
        self,
        clock: Clock,
        *,
        host: str | None = None,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.clock, self._host, self._port = clock, host, port
        self._environment = environment or {}
        self._session: requests.Session | None = None

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        into: Sink | None = None,
        limit: int = DOCUMENT_LIMIT,
        timeout: float = TOTAL,
    ) -> tuple[int, bytes]:
        """Status and body (at most 4 KiB of it when the status is no success; empty with `into`).

        Raises FabricUnreachable or FabricRejected; OSError comes from `into` alone.
        """
        import requests

        shown = redact(url)
        deadline = self.clock.monotonic() + timeout
        try:
            with self._open().request(
                method,
                url,
                headers={"User-Agent": f"waagent/{__version__}", **(headers or {})},
                data=body,
                proxies=self._proxies(url),
                timeout=(5.0, 30.0),
                allow_redirects=False,
                stream=True,
            ) as answer:
                if answer.status_code not in (200, 201, 202):
                    return answer.status_code, next(answer.iter_content(4096), b"")
                collected = io.BytesIO()
                self._copy(answer, into or collected, limit, deadline, shown)
                return answer.status_code, collected.getvalue()
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # InvalidURL, MissingSchema, InvalidSchema
                what = f"cannot use {shown!r} as a location: {_reason(error)}"
                raise FabricRejected(what, url=shown) from error
            raise FabricUnreachable(f"{method} {shown}: {_reason(error)}", url=shown) from error

    def _copy(self, answer: requests.Response, into: Sink, limit: int, deadline: float, shown: str) -> None:
        announced = answer.headers.get("Content-Length", "")
        plain = not answer.headers.get("Content-Encoding")
        size = 0
        for piece in answer.iter_content(PIECE):
            size += len(piece)
            if size > limit:
                raise FabricRejected(f"GET {shown}: the answer is over the limit of {limit} bytes", url=shown)
            if self.clock.monotonic() > deadline:
                raise FabricUnreachable(f"GET {shown}: not complete in time, {size} bytes so far", url=shown)
            into.write(piece)
        if plain and announced.isdecimal() and size != int(announced):
            raise FabricUnreachable(f"GET {shown}: ended after {size} of {announced} bytes", url=shown)

    def _open(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.trust_env = False  # neither the environment's proxies nor .netrc: proxies.py decides
            self._session.headers["Accept-Encoding"] = "identity"
        return self._session

    def _proxies(self, url: str) -> dict[str, str]:
        proxy = proxies.choose(url, self._host, self._port, self._environment)
        return {"http": proxy, "https": proxy} if proxy else {}


def _reason(error: Exception) -> str:
    """What a requests exception is about, without the object names it is full of."""
    inner: object = error
    while isinstance(inner, Exception) and inner.args and isinstance(inner.args[0], Exception):
        inner = inner.args[0]
    reason = getattr(inner, "reason", None)
    return redact_text(str(reason if isinstance(reason, Exception) else inner))[:300]
