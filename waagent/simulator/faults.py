"""Faults that are injected on purpose: which requests they meet, and what happens to those.

A Fault matches on
    path        shell pattern against path and query, without the query if the pattern has no `?comp`-like part
    method, service, machine
    after       let so many matching requests pass first
    count       meet so many, then expire (None: for ever)
    probability meet each matching request with this chance (0 to 1)
and does any of
    status      answer with this status (headers, body may be given); the request is not carried out
    processed   with status: carry the request out first, then answer with the status (a lost confirmation)
    delay       seconds before the answer
    truncate    send so many bytes of the body (a negative number: leave so many away), then close
    garbage     replace the body by so many random bytes
    body        replace the body
    drip        seconds between single bytes of the answer
    endless     repeat the body for ever
    reset       TCP reset instead of an answer; silent: close without a byte
    content     change the document: see CONTENT
    transform   a callable bytes -> bytes (Python only)

Source: wire-protocol 11 (scripted faults), 3 (error conventions).
"""
from __future__ import annotations

import fnmatch
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .errors import SimulatorError
from .listener import Request, Response


def _without(pattern: bytes) -> Callable[[bytes], bytes]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda body: compiled.sub(b"", body)


def _mixed_case(body: bytes) -> bytes:
    """Swap the case of the first letter of every JSON key."""
    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {key[:1].swapcase() + key[1:]: change(one) for key, one in value.items()}
        return [change(one) for one in value] if isinstance(value, list) else value
    return json.dumps(change(json.loads(body))).encode()


CONTENT: dict[str, Callable[[bytes], bytes]] = {
    "bom": lambda body: b"\xef\xbb\xbf" + body,
    "empty": lambda body: b"",
    "no-role-instance": _without(rb"\s*<RoleInstanceList>.*</RoleInstanceList>"),
    "no-extensions-config": _without(rb"\s*<ExtensionsConfig>.*?</ExtensionsConfig>"),
    "no-certificates": _without(rb"\s*<Certificates>.*?</Certificates>"),
    "no-data": _without(rb"\s*<Data>.*?</Data>"),
    "other-format": lambda body: body.replace(b"Pkcs7BlobWithPfxContents", b"CertificatesNonPfxPackage"),
    "no-status-blob": _without(rb"\s*<StatusUploadBlob\b.*?</StatusUploadBlob>"),
    "mixed-case": _mixed_case,
    "nul-padding": lambda body: body + b"\x00" * (-len(body) % 512 or 512),
    "cut-xml": lambda body: body[:len(body) // 2],
    "doctype": lambda body: body.replace(
        b"?>\n", b'?>\n<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n', 1),
    "deep": lambda body: b"<a>" * 100000,
}

# Statuses with a body that means something to an agent.
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "invalid-container": (400, {"Content-Type": "application/json"},
                          b'{"errorCode": "InvalidContainerConfiguration", '
                          b'"message": "The container is not known here."}'),
    "stale": (410, {"Content-Type": "application/json"},
              b'{"errorCode": "RequestRoleConfigFileNotFound", "message": "The container has moved."}'),
    "throttled": (429, {"Retry-After": "1"}, b"too many requests"),
    "upstream": (502, {"Content-Type": "application/json"}, b'{"errorCode": "UpstreamFailure"}'),
}


@dataclass
class Fault:
    """One injected fault; see the module's docstring. `met` counts the requests it has met."""

    path: str = "*"
    method: str = ""
    service: str = ""
    machine: str = ""
    after: int = 0
    count: Optional[int] = None
    probability: float = 1.0
    status: Optional[int] = None
    processed: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: Optional[str] = None
    delay: float = 0.0
    truncate: Optional[int] = None
    garbage: Optional[int] = None
    drip: float = 0.0
    endless: bool = False
    reset: bool = False
    silent: bool = False
    content: str = ""
    answer: str = ""
    transform: Optional[Callable[[bytes], bytes]] = None
    number: int = 0
    met: int = 0
    passed: int = 0

    FIELDS = ("path", "method", "service", "machine", "after", "count", "probability", "status", "processed",
              "headers", "body", "delay", "truncate", "garbage", "drip", "endless", "reset", "silent", "content",
              "answer")

    def __post_init__(self) -> None:
        if self.content and self.content not in CONTENT:
            raise SimulatorError(f"fault content {self.content!r} is unknown; known are {', '.join(CONTENT)}")
        if self.answer and self.answer not in ANSWERS:
            raise SimulatorError(f"fault answer {self.answer!r} is unknown; known are {', '.join(ANSWERS)}")
        if not 0 <= self.probability <= 1:
            raise SimulatorError(f"fault probability is {self.probability}; expected 0 to 1")
        if self.answer:
            status, headers, body = ANSWERS[self.answer]
            self.status = status
            self.headers = {**headers, **self.headers}
            self.body = self.body if self.body is not None else body.decode()

    @classmethod
    def of(cls, given: dict[str, Any]) -> Fault:
        unknown = sorted(set(given) - set(cls.FIELDS))
        if unknown:
            raise SimulatorError(f"fault has no field {', '.join(unknown)}; known are {', '.join(cls.FIELDS)}")
        return cls(**given)

    @property
    def spent(self) -> bool:
        return self.count is not None and self.met >= self.count

    @property
    def preempts(self) -> bool:
        """The request is not carried out at all."""
        return (self.status is not None and not self.processed) or (
            (self.reset or self.silent) and not self.processed)

    def matches(self, request: Request, machine: str) -> bool:
        """Whether this request is met; counts. `machine` is the name as far as it is known beforehand."""
        if self.spent or (self.method and self.method != request.method) \
                or (self.service and self.service != request.service) \
                or (self.machine and self.machine != machine):
            return False
        if not (fnmatch.fnmatchcase(request.target, _literal_question(self.path))
                or fnmatch.fnmatchcase(request.path, _literal_question(self.path))):
            return False
        if self.passed < self.after:
            self.passed += 1
            return False
        if self.probability < 1 and random.random() >= self.probability:  # noqa: S311 - no secret depends on it
            return False
        self.met += 1
        return True

    def instead(self) -> Response:
        """The answer of a fault that preempts."""
        response = Response(self.status or 200, self.body or "", headers=self.headers)
        return self.applied(response)

    def applied(self, response: Response) -> Response:
        if self.processed and self.status is not None:
            response.status, response.body = self.status, (self.body or "").encode()
            response.headers = dict(self.headers)
        elif self.body is not None and not self.preempts:
            response.body = self.body.encode()
        if not self.preempts and self.status is None:
            response.headers.update(self.headers)
        if self.content and response.status == 200:
            response.body = CONTENT[self.content](response.body)
        if self.transform is not None:
            response.body = self.transform(response.body)
        if self.garbage is not None:
            response.body = random.randbytes(self.garbage)  # noqa: S311
        if self.truncate is not None:
            kept = self.truncate if self.truncate >= 0 else len(response.body) + self.truncate
            response.truncate = max(0, min(kept, len(response.body) - 1))
        response.delay += self.delay
        response.drip = self.drip
        response.endless = self.endless
        response.reset = self.reset
        response.silent = self.silent
        return response

    def describe(self) -> str:
        """One line for the record: what was done."""
        done = [f"status {self.status}"] if self.status is not None else []
        done += [f"{name} {value:g}" for name, value in (("delay", self.delay), ("drip", self.drip)) if value]
        done += [name for name in ("reset", "silent", "endless") if getattr(self, name)]
        done += [f"{name} {value}" for name, value in (("truncate", self.truncate), ("garbage", self.garbage))
                 if value is not None]
        done += [one for one in (self.content, "transform" if self.transform else "") if one]
        if self.body is not None and self.status is None:
            done.append("body")
        return f"fault {self.number}: {', '.join(done) or 'nothing'}"

    def as_dict(self) -> dict[str, Any]:
        return {"number": self.number, "met": self.met, "passed": self.passed,
                **{name: getattr(self, name) for name in self.FIELDS}}


def _literal_question(pattern: str) -> str:
    """In a path pattern `?` is the question mark of a URL, not `any one character`."""
    return pattern.replace("?", "[?]")
