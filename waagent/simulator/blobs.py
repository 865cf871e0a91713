"""Blob storage: packages and their manifests, status blobs, artifacts profiles.

    /primary/packages/NAME_REGION_manifest.xml, /primary/packages/NAME__VERSION     (and the same under /secondary)
    /status/$system/MACHINE.VMID.status       written by the machine, SAS with sp=w
    /status/$system/MACHINE.VMID.vmSettings   artifacts profile, SAS with sp=r
    /files/...                                anything put there with `put_file`

All paths stand behind a prefix of the wire server's port, or behind a port of their own. `get` and `put` serve both
the direct way and the host plugin's. A status blob that is complete is parsed and handed to the machine's reports.

Source: wire-protocol 4, 6; error codes as Azure Storage names them.
"""
from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from . import documents
from .listener import Request, Response
from .packages import Package, version_key
from .reports import part
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

ACCOUNTS = ("primary", "secondary")
PAGE = 512
MAX_PAGE_WRITE = 4 * 1024 * 1024
MANIFEST = re.compile(r"^/(primary|secondary)/packages/(?P<name>[^/]+)_[^/_]+_manifest\.xml$")
PACKAGE = re.compile(r"^/(primary|secondary)/packages/(?P<name>[^/]+?)__(?P<version>[^/]+)$")
STATUS = re.compile(r"^/status/\$system/(?P<name>[^/]+)\.(?P<vm>[0-9A-Fa-f-]{36})\.(?P<kind>status|vmSettings)$")
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Blob:
    """A stored blob."""

    def __init__(self, kind: str, content: bytes = b"", content_type: str = "application/octet-stream") -> None:
        self.kind = kind
        self.content = bytearray(content)
        self.content_type = content_type
        self.modified = time.time()


class BlobStore:
    """All blobs of the simulated storage accounts."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.packages: dict[tuple[str, str], Package] = {}
        self.blobs: dict[str, Blob] = {}
        self._manifests: dict[tuple[str, str], bytes] = {}

    # --- content --------------------------------------------------------------------------------------------------

    def add(self, package: Package) -> None:
        self.packages[package.name, package.version] = package
        self._manifests.clear()

    def put_file(self, name: str, content: bytes, content_type: str = "application/octet-stream") -> str:
        """Store a file; returns its path below the blob base, without checks of signatures."""
        path = f"/files/{name}"
        self.blobs[path] = Blob("BlockBlob", content, content_type)
        return path

    def versions(self, name: str) -> list[str]:
        found = [version for known, version in self.packages if known.lower() == name.lower()]
        return sorted(found, key=version_key)

    def _manifest(self, name: str, base: str) -> bytes:
        key = (name.lower(), base)
        if key not in self._manifests:
            public: list[tuple[str, list[str]]] = []
            internal: list[tuple[str, list[str]]] = []
            for version in self.versions(name):
                package = next(one for (known, other), one in self.packages.items()
                               if known.lower() == name.lower() and other == version)
                uris = [f"{base}/{account}/packages/{package.file_name}" for account in ACCOUNTS]
                (internal if package.internal else public).append((version, uris))
            self._manifests[key] = documents.manifest(public, internal).encode()
        return self._manifests[key]

    # --- requests -------------------------------------------------------------------------------------------------

    def strip(self, path: str) -> Optional[str]:
        """The path below the prefix, or None if it does not stand behind the prefix."""
        prefix = self.simulator.blob_prefix
        return path[len(prefix):] if path.startswith(f"{prefix}/") else None

    def locate(self, url: str) -> Optional[tuple[str, str]]:
        """Path below the prefix and query of an absolute URL; any host is taken for the simulated storage."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return None
        path = self.strip(parts.path)
        return (path if path is not None else parts.path), parts.query

    def get(self, request: Request, path: str, parameters: dict[str, str], base: str) -> Response:
        """The blob at `path`; `base` is the URL under which the client reaches the store."""
        path = unquote(path)
        found = MANIFEST.match(path)
        if found and self.versions(found["name"]):
            return Response(200, self._manifest(found["name"], base), "application/xml")
        found = PACKAGE.match(path)
        if found:
            package = self._package(found["name"], found["version"])
            if package is not None:
                return Response(200, package.content, "application/zip")
        machine, kind = self._machine_blob(path)
        if machine is not None:
            request.machine = machine.name
            self._check_signature(machine, path, parameters, "r")
            if kind == "vmSettings":
                return Response(200, documents.artifacts_profile(machine), "application/json")
        blob = self.blobs.get(path)
        if blob is None:
            raise Refused(404, f"The specified blob does not exist: {path}", code="BlobNotFound")
        return Response(200, bytes(blob.content), blob.content_type, {"x-ms-blob-type": blob.kind})

    def _package(self, name: str, version: str) -> Optional[Package]:
        for (known, other), package in self.packages.items():
            if known.lower() == name.lower() and other == version:
                return package
        return None

    def put(self, request: Request, path: str, parameters: dict[str, str], headers: dict[str, str],
            body: bytes) -> Response:
        """Write a status blob; `headers` (lower-case names) are those of the storage request."""
        path = unquote(path)
        machine, kind = self._machine_blob(path)
        if machine is None or kind != "status":
            raise Refused(403, f"no permission to write {path}", "sas", "AuthorizationPermissionMismatch")
        request.machine = machine.name
        self._check_signature(machine, path, parameters, "w")
        if not headers.get("x-ms-version"):
            raise Refused(400, "x-ms-version is missing on a write", "storage-version", "MissingRequiredHeader")
        declared = headers.get("content-length", "")
        if declared != str(len(body)):
            raise Refused(400, f"Content-Length is {declared or 'missing'}, the content has {len(body)} bytes",
                          "content-length", "InvalidHeaderValue")
        if parameters.get("comp") == "page":
            self._write_pages(request, machine, path, headers, body)
        elif "comp" in parameters:
            raise Refused(400, f"comp={parameters['comp']} is not supported", "storage-header",
                          "InvalidQueryParameterValue")
        else:
            self._create(request, machine, path, headers, body)
        return Response(201, b"", headers={"ETag": f'"0x{int(time.time() * 1e7):X}"'})

    def _create(self, request: Request, machine: Machine, path: str, headers: dict[str, str], body: bytes) -> None:
        kind = headers.get("x-ms-blob-type", "")
        if kind not in ("BlockBlob", "PageBlob"):
            raise Refused(400, f"x-ms-blob-type is {kind or 'missing'}; BlockBlob or PageBlob was expected",
                          "storage-header", "MissingRequiredHeader" if not kind else "InvalidHeaderValue")
        if kind != machine.status_blob_type:
            raise Refused(409, f"the blob is a {machine.status_blob_type}, not a {kind}", "blob-type",
                          "InvalidBlobType")
        if kind == "BlockBlob":
            self.blobs[path] = Blob(kind, body, "application/json")
            self._status_written(request, machine, body, whole=True)
            return
        size = headers.get("x-ms-blob-content-length", "")
        if not size.isdigit() or int(size) % PAGE or int(size) > 64 * 1024 * 1024:
            raise Refused(400, f"x-ms-blob-content-length is {size or 'missing'}; expected a multiple of {PAGE}",
                          "page-alignment", "InvalidHeaderValue")
        if body:
            raise Refused(400, "the request that creates a page blob has a body", "storage-header",
                          "InvalidHeaderValue")
        self.blobs[path] = Blob(kind, bytes(int(size)))

    def _write_pages(self, request: Request, machine: Machine, path: str, headers: dict[str, str],
                     body: bytes) -> None:
        blob = self.blobs.get(path)
        if blob is None:
            raise Refused(404, "The specified blob does not exist.", "blob-type", "BlobNotFound")
        if blob.kind != "PageBlob":
            raise Refused(409, f"the blob is a {blob.kind}, not a PageBlob", "blob-type", "InvalidBlobType")
        if headers.get("x-ms-page-write", "").lower() != "update":
            raise Refused(400, "x-ms-page-write is not update", "storage-header", "InvalidHeaderValue")
        found = re.match(r"^bytes=(\d+)-(\d+)$", headers.get("x-ms-range", "") or headers.get("range", ""))
        if found is None:
            raise Refused(400, "x-ms-range is missing or malformed", "storage-header", "InvalidHeaderValue")
        start, end = int(found[1]), int(found[2]) + 1
        if start % PAGE or end % PAGE or end <= start or end > len(blob.content) or end - start > MAX_PAGE_WRITE:
            raise Refused(416, f"range {start}-{end - 1} is not aligned to {PAGE}, has more than {MAX_PAGE_WRITE} "
                          f"bytes, or lies outside the blob of {len(blob.content)} bytes", "page-alignment",
                          "InvalidPageRange")
        if end - start != len(body):
            raise Refused(400, f"the range covers {end - start} bytes, the content has {len(body)}",
                          "content-length", "InvalidHeaderValue")
        blob.content[start:end] = body
        blob.modified = time.time()
        self._status_written(request, machine, bytes(blob.content), whole=end == len(blob.content))

    def _machine_blob(self, path: str) -> tuple[Optional[Machine], str]:
        found = STATUS.match(path)
        if found is None:
            return None, ""
        machine = self.simulator.machines.get(found["name"])
        if machine is None or machine.vm_id.lower() != found["vm"].lower():
            return None, ""
        return machine, found["kind"]

    def _check_signature(self, machine: Machine, path: str, parameters: dict[str, str], permission: str) -> None:
        if parameters.get("sp") != permission:
            raise Refused(403, f"sp={parameters.get('sp', '')} does not permit this operation", "sas",
                          "AuthorizationPermissionMismatch")
        if parameters.get("sig") != machine.signature(path, permission):
            if parameters.get("se") not in (None, machine.sas_expires):
                raise Refused(403, "Signature not valid in the specified time frame", code="AuthenticationFailed")
            raise Refused(403, "Signature did not match", "sas", "AuthenticationFailed")
        if machine.sas_expires < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()):
            raise Refused(403, f"Signature expired at {machine.sas_expires}", code="AuthenticationFailed")

    # --- status documents -----------------------------------------------------------------------------------------

    def _status_written(self, request: Request, machine: Machine, content: bytes, whole: bool) -> None:
        """Hand a complete status document to the reports; what is wrong with it is recorded, storage takes all."""
        if not whole:
            return
        try:
            text = content.rstrip(b" \x00").decode("utf-8")
            document = json.loads(text)
        except ValueError as error:
            request.broken.append(("status-document", f"not JSON in UTF-8: {error}"))
            return
        wrong = status_fault(document)
        if wrong:
            request.broken.append(("status-document", wrong))
        self.simulator.check_secrets(request, machine, text)
        if isinstance(document, dict):
            machine.reports.add_status(text, document)
            self.simulator.reported(machine)


def status_fault(document: Any) -> str:
    """What is wrong with a status document, or "" if it has the shape of wire-protocol 5.3."""
    if not isinstance(document, dict):
        return "not an object"
    if document.get("version") != "1.1":
        return f"version is {document.get('version')!r}, not '1.1'"
    if not TIMESTAMP.match(str(document.get("timestampUTC"))):
        return f"timestampUTC is {document.get('timestampUTC')!r}"
    aggregate = document.get("aggregateStatus")
    if not isinstance(aggregate, dict):
        return "aggregateStatus is missing"
    agent = aggregate.get("guestAgentStatus")
    if not isinstance(agent, dict) or agent.get("status") != "Ready" or not agent.get("version"):
        return "guestAgentStatus lacks a version or its status is not Ready"
    handlers = aggregate.get("handlerAggregateStatus")
    if not isinstance(handlers, list):
        return "handlerAggregateStatus is not a list"
    for entry in handlers:
        wrong = _handler_fault(entry)
        if wrong:
            return wrong
    goal = part(aggregate, "vmArtifactsAggregateStatus", "goalStateAggregateStatus")
    if goal and (goal.get("status") not in ("Success", "Failed") or "inSvdSeqNo" not in goal):
        return "goalStateAggregateStatus lacks inSvdSeqNo or its status is neither Success nor Failed"
    return ""


def _handler_fault(entry: Any) -> str:
    if not isinstance(entry, dict):
        return "a handler entry is not an object"
    name = entry.get("handlerName")
    for key in ("handlerName", "handlerVersion", "status"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            return f"handler {name!r} has no {key}"
    if not isinstance(entry.get("code"), int):
        return f"handler {name!r} has no code"
    runtime = entry.get("runtimeSettingsStatus")
    if runtime is None:
        return ""
    if not isinstance(runtime, dict) or not isinstance(runtime.get("sequenceNumber"), int):
        return f"handler {name!r}: runtimeSettingsStatus has no sequenceNumber"
    status = part(runtime, "settingsStatus", "status").get("status")
    if status not in ("transitioning", "warning", "error", "success"):
        return f"handler {name!r}: settings status is none of transitioning, warning, error, success"
    return ""


def error_document(refused: Refused) -> Response:
    """How storage words an error."""
    code = refused.code or "InvalidInput"
    return Response(refused.status, f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
                    f"<Message>{escape(refused.message)}</Message></Error>", "application/xml",
                    {"x-ms-error-code": code, **refused.headers})


def handle(simulator: Simulator, request: Request, path: str) -> Response:
    """A direct request; `path` is below the prefix."""
    if request.method in ("GET", "HEAD"):
        response = simulator.blobs.get(request, path, request.parameters, simulator.blob_base(request))
        if request.method == "HEAD":
            response.headers["Content-Length"] = str(len(response.body))
            response.body = b""
        return response
    if request.method == "PUT":
        return simulator.blobs.put(request, path, request.parameters, request.headers, request.body)
    raise Refused(405, f"{request.method} is not supported on blobs", "method", "UnsupportedHttpVerb",
                  {"Allow": "GET, HEAD, PUT"})
