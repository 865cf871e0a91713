"""Upload a blob directly to storage: the status, when the host plugin does not take it.

upload(internet, stamp, url, blob_type, payload): block blob in one request, page blob created and then written in
slices of at most 4 MiB that are padded with NULs. stamp: "2026-11-23T09:16:12Z". Only 201 is success; else
FabricUnreachable (later) or FabricRejected, with the redacted URL.

Source: wire-protocol 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.errors import FabricRejected, FabricUnreachable
from waagent.fabric.retry import LATER
from waagent.fabric.upload import PAGE, STORAGE_VERSION, page_url, rounded, slices
from waagent.system.redact import redact, redact_text

if TYPE_CHECKING:
    from waagent.fabric.internet import Internet


def upload(internet: Internet, stamp: str, url: str, blob_type: str, payload: bytes) -> None:
    common = {"x-ms-date": stamp, "x-ms-version": STORAGE_VERSION}
    if blob_type != PAGE:
        _put(internet, url, {"x-ms-blob-type": "BlockBlob", **common}, payload)
        return
    size = str(rounded(len(payload)))
    _put(internet, url, {"x-ms-blob-type": PAGE, "x-ms-blob-content-length": size, **common}, b"")
    for start, piece in slices(payload, b"\0"):
        span = f"bytes={start}-{start + len(piece) - 1}"
        _put(internet, page_url(url), {"x-ms-range": span, "x-ms-page-write": "update", **common}, piece)


def _put(internet: Internet, url: str, headers: dict[str, str], body: bytes) -> None:
    answer = internet.request("PUT", url, {"Content-Length": str(len(body)), **headers}, body, timeout=60.0)
    status, told = answer.status, answer.body
    if status == 201:
        return
    kind = FabricUnreachable if status in LATER else FabricRejected
    text = redact_text(" ".join(told.decode("utf-8", "replace").split())[:200])
    shown = redact(url)
    raise kind(f'cannot upload {len(body)} bytes to {shown}: {status} "{text}"', url=shown, status=status)
