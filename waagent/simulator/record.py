"""What came in: every request with its answer, and every broken rule.

    RequestRecord    number, time, machine, service, client, method, target, headers, body, status, seconds, fault
    Violation        number of the request, time, machine, rule, message, request line

Both lists are bounded (the oldest entries go first); `dropped` counts what was forgotten. A body longer than
`BODY_KEPT` bytes is cut in the record, `body_size` is its real size.
"""
from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Optional

BODY_KEPT = 256 * 1024


class RequestRecord:
    """One request and its answer. `headers` have lower-case names."""

    __slots__ = ("answer_size", "body", "body_size", "client", "fault", "headers", "machine", "method", "number",
                 "path", "query", "rules", "seconds", "service", "status", "target", "time")

    def __init__(self, number: int, when: float, service: str, client: str, method: str, target: str,
                 headers: dict[str, str], body: bytes) -> None:
        self.number = number
        self.time = when
        self.service = service
        self.client = client
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body if len(body) <= BODY_KEPT else body[:BODY_KEPT]
        self.body_size = len(body)
        self.machine = ""
        self.status = 0
        self.answer_size = 0
        self.seconds = 0.0
        self.fault = ""
        self.rules: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.number} {self.machine or '-'} {self.service} {self.method} {self.target} -> {self.status}>"

    def as_dict(self, with_body: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {
            "number": self.number, "time": self.time, "machine": self.machine, "service": self.service,
            "client": self.client, "method": self.method, "target": self.target, "status": self.status,
            "seconds": round(self.seconds, 6), "body_size": self.body_size, "answer_size": self.answer_size,
            "fault": self.fault, "rules": list(self.rules),
        }
        if with_body:
            found["headers"] = self.headers
            found["body"] = self.body.decode("utf-8", "replace")
        return found


class Violation:
    """A rule of rules.py that a request broke."""

    __slots__ = ("client", "machine", "message", "request", "request_number", "rule", "time")

    def __init__(self, rule: str, message: str, machine: str, client: str, request: str, request_number: int,
                 when: Optional[float] = None) -> None:
        self.rule = rule
        self.message = message
        self.machine = machine
        self.client = client
        self.request = request
        self.request_number = request_number
        self.time = time.time() if when is None else when

    def __repr__(self) -> str:
        return f"<violation {self.rule}: {self.message} ({self.request}, machine {self.machine or 'unknown'})>"

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The bounded list of requests; behaves like a sequence of RequestRecord."""

    def __init__(self, keep: int) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=keep)
        self.total = 0

    def add(self, record: RequestRecord) -> None:
        self._records.append(record)

    def next_number(self) -> int:
        self.total += 1
        return self.total

    @property
    def dropped(self) -> int:
        return max(0, self.total - len(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(list(self._records))

    def __getitem__(self, index: Any) -> Any:
        return list(self._records)[index]

    def after(self, number: int, limit: int = 1000) -> list[RequestRecord]:
        """The records with a higher number than `number`, the newest `limit` of them."""
        found: list[RequestRecord] = []
        for record in reversed(self._records):
            if record.number <= number or len(found) >= limit:
                break
            found.append(record)
        return found[::-1]

    def select(self, method: str = "", path: str = "", service: str = "", machine: str = "",
               comp: str = "", kind: str = "") -> list[RequestRecord]:
        """Records by method, by text in the target, service, machine name, `comp=` or `type=` parameter."""
        return [record for record in self
                if (not method or record.method == method)
                and (not path or path in record.target)
                and (not service or record.service == service)
                and (not machine or record.machine == machine)
                and (not comp or f"comp={comp}".lower() in record.query.lower().split("&"))
                and (not kind or f"type={kind}".lower() in record.query.lower().split("&"))]

    def clear(self) -> None:
        self._records.clear()
