"""What the fabric refuses: every rule by name, and the exception with which a handler refuses a request.

A broken rule is answered with an error status *and* recorded as a violation, so that a test run that ends with
violations can fail. Some answers are errors without being anybody's fault (a stale container id right after the
VM has moved): those are refusals without a rule.

Source: wire-protocol 1.5, 2.1, 2.6, 3, 4, 5, 11.
"""
from __future__ import annotations

from typing import Optional

RULES = {
    "http": "the request could not be read as HTTP/1.1, or has no Host header",
    "method": "the path exists, but not for this method",
    "unknown-path": "no fabric service has this path",
    "proxy": "the request came through a proxy (Via, Forwarded, X-Forwarded-For, Proxy-*, absolute target)",
    "wire-version": "x-ms-version is missing or is not a version that the service lists",
    "url-not-verbatim": "a goal state URL was not used as given (path or parameters changed)",
    "unknown-container": "a container id that was never given to any machine",
    "unknown-instance": "a role instance id that does not belong to the container",
    "unknown-incarnation": "an incarnation that was never published",
    "unknown-config-name": "a role config name that was never given to the machine",
    "missing-header": "a header that the endpoint needs is missing or empty",
    "transport-certificate": "the transport certificate is unreadable or has no subject key identifier",
    "cipher": "x-ms-cipher-name names neither AES128_CBC nor DES_EDE3_CBC",
    "content-type": "the body has another content type than the endpoint takes",
    "content-length": "the declared and the real length of the content differ",
    "health-document": "the health report is malformed, or state and details do not fit together",
    "health-size": "the description of a health report is longer than 4096 bytes",
    "role-properties-document": "the role properties document is malformed",
    "telemetry-document": "the telemetry document is malformed",
    "telemetry-size": "the events of one telemetry request have 64512 bytes or more",
    "telemetry-rate": "more than 15 telemetry requests in 15 seconds",
    "observation": "a HealthService document is malformed or exceeds its limits",
    "status-request": "the body of PUT /status does not describe a storage request",
    "status-document": "the uploaded status is not a status document",
    "agent-log": "the uploaded log is not a zip archive",
    "artifact-location": "x-ms-artifact-location is not a URL",
    "imds-header": "the request lacks `Metadata: true`, or has X-Forwarded-For",
    "imds-version": "api-version is missing or not a known one",
    "sas": "the signature of a storage URL is wrong, or does not permit the operation",
    "storage-header": "a storage request lacks a header that it needs, or has it with a wrong value",
    "storage-version": "x-ms-version is missing on a write to storage",
    "page-alignment": "a page blob write is not aligned to 512 bytes, or outside the blob",
    "blob-type": "the blob exists with another type",
    "secret": "a password or a storage signature appears in something that was reported",
}


class Refused(Exception):
    """Raised by a handler: the fabric answers with an error. `rule` names the violation, None if it is none."""

    def __init__(self, status: int, message: str, rule: Optional[str] = None, code: str = "",
                 headers: Optional[dict[str, str]] = None) -> None:
        super().__init__(message)
        if rule is not None and rule not in RULES:
            raise KeyError(rule)
        self.status = status
        self.message = message
        self.rule = rule
        self.code = code
        self.headers = headers or {}
