"""The control API from the other side: what the command line uses to talk to a running simulator."""
from __future__ import annotations

import http.client
import json
import time
from typing import Any, Optional
from urllib.parse import quote, urlencode, urlsplit

from .errors import ControlError, NotReported, SimulatorError

DEFAULT = "127.0.0.1:32580"


class Client:
    """`address` is a port, host:port, or http URL."""

    def __init__(self, address: str = DEFAULT) -> None:
        text = address if "//" in address else f"//127.0.0.1:{address}" if address.isdigit() else f"//{address}"
        parts = urlsplit(text)
        if not parts.hostname or not parts.port:
            raise SimulatorError(f"control address {address!r}: expected a port, host:port or http://host:port")
        self.host, self.port = parts.hostname, parts.port

    def raw(self, method: str, path: str, body: Optional[bytes] = None, kind: str = "application/json") -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": kind, "Connection": "close"})
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            raise SimulatorError(f"cannot reach the simulator at {self.host}:{self.port}: {error}; start one with "
                                 "waagent-simulator serve, or name its control port with --control") from None
        finally:
            connection.close()
        if answer.status >= 400:
            try:
                message = str(json.loads(content)["error"])
            except (ValueError, KeyError, TypeError):
                message = content.decode("utf-8", "replace")[:300]
            raise ControlError(answer.status, message)
        return content

    def ask(self, method: str, path: str, content: Optional[dict[str, Any]] = None, **query: Any) -> Any:
        given = {key: value for key, value in query.items() if value not in (None, "", False)}
        target = f"/api/{path}" + (f"?{urlencode(given)}" if given else "")
        body = None if content is None and method != "POST" else json.dumps(content or {}).encode()
        return json.loads(self.raw(method, target, body))

    def machine(self, name: str, action: str = "") -> str:
        return f"machines/{quote(name, safe='')}" + (f"/{action}" if action else "")

    def only_machine(self) -> str:
        """The name of the one machine there is; SimulatorError if there is none or several."""
        names = [one["name"] for one in self.ask("GET", "machines")]
        if len(names) != 1:
            raise SimulatorError(f"name a machine; there {'is none' if not names else 'are ' + ', '.join(names)}")
        return str(names[0])

    def wait(self, name: str, what: str, timeout: float) -> dict[str, Any]:
        """Ask until `what` holds; NotReported with what was seen if it does not in time."""
        end = time.monotonic() + timeout
        path = self.machine(name, "reported")
        seen = self.ask("GET", path)["status_uploads"]
        while True:
            found: dict[str, Any] = self.ask("GET", path, wait=what, seen=str(seen))
            if found["met"]:
                return found
            if time.monotonic() >= end:
                last = found["last_seen"]
                heard = f"{max(0.0, time.time() - last):.0f} s ago" if last else "never"
                raise NotReported(f"{name} did not report {what} within {timeout:g} s: provisioning state "
                                  f"{found['provisioning']['state']}, {found['status_uploads']} status uploads, "
                                  f"last seen {heard}")
            time.sleep(0.2)
