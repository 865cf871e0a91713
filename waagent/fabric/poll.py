"""What the watcher asks every few seconds: has anything changed? Lean: sockets and json, nothing else.

    known = known_of(text of LIB/goal-state.json)      or Known(endpoint) when there is none yet
    polled = poll(http, endpoint, known, fast_track=True)
    known = polled.known
    if polled.changed: start a worker; when it has ended read `known` from the file again

Known       what the last goal state said; all str, "" when unknown
    endpoint, incarnation, container_id, config_name, instance_id, etag, status_blob, status_blob_type,
    refused_etag (of vmSettings that cannot be used: they are no change until the ETag is another)
    vm_settings (SERVED while the host plugin serves vmSettings, as far as is known)
    ask_vm_settings_at      float, monotonic seconds; before that the host plugin is not asked for vmSettings
Polled
    known       Known with the ids of now. incarnation and etag stay those of `known` while they are `changed`:
                only the worker, by writing the file, makes a new goal state the known one. (What it could not
                fetch is thus still changed at the next poll.)
    changed     tuple of "incarnation", "vm-settings"; empty when nothing is to be done
    moved       bool: container id or config name are others than before (a worker is not needed for that)
    errors      tuple of WaagentError: what could not be asked; the rest of the poll counts all the same
    answered    bool: the wire server gave a goal state (a heartbeat of the fabric)

One request is one attempt; the next period is the retry. vmSettings: 304 is unchanged; 200 of source "Fabric" is
unchanged (its ETag is remembered); 404, or a host plugin that is too old, means that it is not asked again for 6
hours; 410 repeats once with the ids just fetched anew; all else is an error of this period.

put_status(http, endpoint, known, blob_url, blob_type, payload, stamp) uploads through the host plugin. True: taken.
False: the host plugin calls the ids stale (410), try at the next period, after a poll. Raises FabricUnreachable or
FabricRejected: it cannot be done this way, upload directly (blobs.upload, in a worker: that one is not lean).

Source: wire-protocol 2.1, 2.2, 3, 3.4, 3.7.
"""

from __future__ import annotations

import json
import time

from waagent.errors import FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric import headers, upload
from waagent.fabric.endpoint import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.errors import WaagentError
    from waagent.system.http import Http, Response

GOAL_STATE = "/machine/?comp=goalstate"
UNSUPPORTED_FOR = 6 * 3600.0
STALE_BODY = b"InvalidContainerConfiguration"
SERVED = "served"

_TEXTS = (
    "endpoint",
    "incarnation",
    "container_id",
    "config_name",
    "instance_id",
    "etag",
    "refused_etag",
    "status_blob",
    "status_blob_type",
    "vm_settings",
)


class Known:
    __slots__ = (*_TEXTS, "ask_vm_settings_at")
    endpoint: str
    incarnation: str
    container_id: str
    config_name: str
    instance_id: str
    etag: str
    refused_etag: str
    status_blob: str
    status_blob_type: str
    vm_settings: str

    def __init__(self, endpoint: str = "", ask_vm_settings_at: float = 0.0, **texts: str) -> None:
        for name in _TEXTS:
            setattr(self, name, texts.pop(name, ""))
        if texts:
            raise TypeError(f"Known has no {', '.join(texts)}")
        self.endpoint = endpoint
        self.ask_vm_settings_at = ask_vm_settings_at

    def but(self, **texts: str) -> Known:
        """The same with some texts replaced."""
        other = Known(ask_vm_settings_at=self.ask_vm_settings_at)
        for name, value in {**self.to_json(), **texts}.items():
            setattr(other, name, value)
        return other

    def to_json(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in _TEXTS}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Known(incarnation={self.incarnation!r}, container_id={self.container_id!r}, etag={self.etag!r})"


class Polled:
    __slots__ = ("answered", "changed", "errors", "known", "moved")

    def __init__(
        self,
        known: Known,
        changed: tuple[str, ...] = (),
        *,
        moved: bool = False,
        errors: tuple[WaagentError, ...] = (),
        answered: bool = False,
    ) -> None:
        self.known, self.changed, self.moved, self.errors, self.answered = known, changed, moved, errors, answered


def known_of(text: str) -> Known | None:
    """From the text of the cache file; None when it cannot be used (then everything is new)."""
    try:
        fields = json.loads(text)["known"]
        return Known().but(**{name: str(fields[name]) for name in _TEXTS})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def poll(http: Http, endpoint: Endpoint, known: Known, fast_track: bool, *, now: float | None = None) -> Polled:
    """now: monotonic seconds, for tests."""
    now = time.monotonic() if now is None else now
    changed: list[str] = []
    errors: list[WaagentError] = []
    fresh = known.but(endpoint=endpoint.text)
    answered = False
    try:
        ids = _ids(http, endpoint)
        answered = True
    except (FabricUnreachable, FabricRejected, GoalStateInvalid) as error:
        errors.append(error)
    else:
        # A config name that is not there is that of an answer cut short: the one before stays.
        fresh = fresh.but(**{name: value for name, value in ids.items() if value and name != "incarnation"})
        # A disk made from an image may remember another machine's goal state of the same number.
        if (ids["incarnation"], ids["instance_id"]) != (known.incarnation, known.instance_id):
            changed.append("incarnation")
    if fast_track and fresh.container_id and fresh.config_name and now >= fresh.ask_vm_settings_at:
        try:
            if _vm_settings_changed(http, endpoint, fresh, now):
                changed.append("vm-settings")
        except (FabricUnreachable, FabricRejected, GoalStateInvalid) as error:
            errors.append(error)
    moved = (fresh.container_id, fresh.config_name) != (known.container_id, known.config_name)
    return Polled(fresh, tuple(changed), moved=moved, errors=tuple(errors), answered=answered)


def put_status(
    http: Http, endpoint: Endpoint, known: Known, blob_url: str, blob_type: str, payload: bytes, stamp: str
) -> bool:
    """stamp: the time as "2026-11-23T09:16:12Z"."""
    url = endpoint.plugin("/status")
    sent = [*headers.plugin(known.container_id, known.config_name), headers.JSON_BODY]
    for body in upload.descriptions(blob_url, blob_type, payload, stamp):
        response = http.request("PUT", url, sent, body)
        if response.status == 410:
            return False
        if not response.good:
            raise _refused("upload the status through the host plugin", url, response)
    return True


def is_stale(response: Response) -> bool:
    """Whether the host plugin calls container id or config name outdated (not for vmSettings and status)."""
    return response.status == 410 or (response.status == 400 and STALE_BODY in response.body)


def _ids(http: Http, endpoint: Endpoint) -> dict[str, str]:
    """Incarnation and ids of the goal state of now."""
    url = endpoint.wire(GOAL_STATE)
    response = http.request("GET", url, headers.wire(), limit=1024 * 1024)
    if not response.good:
        raise _refused("fetch the goal state", url, response)
    found = {
        "incarnation": _element(response.body, b"Incarnation"),
        "container_id": _element(response.body, b"ContainerId"),
        "config_name": _element(response.body, b"ConfigName"),
        "instance_id": _element(response.body, b"InstanceId"),
    }
    missing = [name for name in ("incarnation", "container_id", "instance_id") if not found[name]]
    if missing:
        raise GoalStateInvalid(
            f"cannot use the goal state from {url}: it has no {', '.join(missing)} ({len(response.body)} bytes)",
            document="the goal state",
            element=missing[0],
        )
    return found


def _element(document: bytes, name: bytes) -> str:
    """The text of the first element of this name; "" when there is none. Good enough to tell new from known."""
    at = -1
    while True:
        at = document.find(b"<" + name, at + 1)
        if at < 0:
            return ""
        after = document[at + 1 + len(name) : at + 2 + len(name)]
        if after in (b">", b" ", b"\t", b"\r", b"\n"):
            break
    begin = document.find(b">", at) + 1
    end = document.find(b"<", begin)
    if not begin or end < 0 or document[begin - 2 : begin - 1] == b"/":
        return ""
    return document[begin:end].decode("utf-8", "replace").strip().replace("&amp;", "&")


def _vm_settings_changed(http: Http, endpoint: Endpoint, fresh: Known, now: float) -> bool:
    """Ask for vmSettings; keeps in `fresh` what follows for the ids, the ETag and the next time."""
    response = _ask(http, endpoint, fresh)
    url = endpoint.plugin("/vmSettings")
    if response.status == 410:
        for name, value in _ids(http, endpoint).items():
            if value and name != "incarnation":
                setattr(fresh, name, value)
        response = _ask(http, endpoint, fresh)
    if response.status == 304:
        fresh.vm_settings = SERVED
        return False
    if response.status == 404:
        return _not_served(fresh, now)
    if response.status != 200:
        raise _refused("fetch vmSettings", url, response)
    etag = response.headers.get("etag", "")
    if not etag:
        raise GoalStateInvalid(f"cannot use vmSettings from {url}: no ETag came with it", document="vmSettings")
    if etag in (fresh.etag, fresh.refused_etag):
        return False
    source, version = _source(response.body, url)
    if not headers.serves_vm_settings(version):
        return _not_served(fresh, now)
    fresh.vm_settings = SERVED
    if source == "Fabric":
        fresh.etag = etag
        return False
    return True


def _not_served(fresh: Known, now: float) -> bool:
    """The host plugin has none: nothing has changed, and it is left in peace for a while."""
    fresh.vm_settings, fresh.ask_vm_settings_at = "", now + UNSUPPORTED_FOR
    return False


def _ask(http: Http, endpoint: Endpoint, known: Known) -> Response:
    sent = [*headers.plugin(known.container_id, known.config_name), headers.correlation()]
    if known.etag:
        sent.append(("if-none-match", known.etag))
    return http.request("GET", endpoint.plugin("/vmSettings"), sent)


def _source(body: bytes, url: str) -> tuple[str, str]:
    """Where the document says it comes from, and the host plugin's version."""
    try:
        document = json.loads(body.decode("utf-8-sig").rstrip("\0 \t\r\n"))
        fields = {key.lower(): value for key, value in document.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        what = f"cannot use vmSettings from {url}: it is no JSON object"
        raise GoalStateInvalid(what, document="vmSettings") from error
    return str(fields.get("extensiongoalstatessource", "")), str(fields.get("hostgapluginversion", ""))


def _refused(doing: str, url: str, response: Response) -> FabricRejected:
    told = response.excerpt(120)
    return FabricRejected(
        f"cannot {doing}: {response.status} {response.reason} from {url}" + (f': "{told}"' if told else ""),
        url=url,
        status=response.status,
    )
