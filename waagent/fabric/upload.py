"""What the host plugin's /status wants to hear: a description of the storage requests it shall make. Lean.

descriptions(blob_url, blob_type, payload, stamp) -> list of bytes, one body of PUT /status after the other
page_url(url)                 the URL of page writes
slices(payload, pad)          (start, bytes) of at most 4 MiB, the last one padded to a multiple of 512

Source: wire-protocol 3.7, 4.
"""

from __future__ import annotations

import json
from binascii import b2a_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STORAGE_VERSION = "2014-02-14"
BLOCK, PAGE = "BlockBlob", "PageBlob"
SECTOR, SLICE = 512, 4 * 1024 * 1024


def descriptions(blob_url: str, blob_type: str, payload: bytes, stamp: str) -> list[bytes]:
    """stamp: the time as "2026-11-23T09:16:12Z". Any type but PageBlob is a block blob."""
    common = {"x-ms-date": stamp, "x-ms-version": STORAGE_VERSION}
    if blob_type != PAGE:
        headers = {"Content-Length": str(len(payload)), "x-ms-blob-type": BLOCK, **common}
        return [_description(blob_url, headers, payload)]
    size = rounded(len(payload))
    create = {"Content-Length": "0", "x-ms-blob-content-length": str(size), "x-ms-blob-type": PAGE, **common}
    bodies = [_description(blob_url, create, None)]
    # Padded with blanks, the blob as a whole is still JSON.
    for start, piece in slices(payload, b" "):
        headers = {
            "Content-Length": str(len(piece)),
            "x-ms-range": f"bytes={start}-{start + len(piece) - 1}",
            "x-ms-page-write": "update",
            **common,
        }
        bodies.append(_description(page_url(blob_url), headers, piece))
    return bodies


def rounded(size: int) -> int:
    return (size + SECTOR - 1) // SECTOR * SECTOR


def page_url(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}comp=page"


def slices(payload: bytes, pad: bytes) -> Iterator[tuple[int, bytes]]:
    for start in range(0, len(payload), SLICE):
        piece = payload[start : start + SLICE]
        yield start, piece + pad * (rounded(len(piece)) - len(piece))


def _description(url: str, headers: dict[str, str], content: bytes | None) -> bytes:
    body: dict[str, object] = {
        "requestUri": url,
        "headers": [{"headerName": name, "headerValue": value} for name, value in headers.items()],
    }
    if content is not None:
        body["content"] = b2a_base64(content, newline=False).decode("ascii")
    return json.dumps(body).encode("ascii")
