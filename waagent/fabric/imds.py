"""The metadata service (IMDS): what the platform tells the VM about itself.

    metadata = fetch_instance(system, http)                    the whole document, as JSON
    facts(metadata) -> (public, secret)                        what the facts imds.* hold
    is_valid(metadata) -> "" or what is missing                whether the service works, as the heartbeat judges it
    probe(http) -> Health(healthy, description)                one heartbeat

The newest version that the service knows is used: 2021-08-01 with extended data, else older ones (400 says "not
this version"). 404, 410, 429 and 5xx are asked again, within `total` seconds in all. The service is never asked
through a proxy; it wants the header "Metadata: true".

Source: wire-protocol 5.5, 10.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent import __version__
from waagent.errors import FabricError, FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric.endpoint import METADATA_SERVICE
from waagent.fabric.retry import Policy, persist, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.system import System
    from waagent.system.http import Http, Response

DOCUMENT = "the instance metadata"
VERSIONS = ("2021-08-01&extended=true", "2019-06-01", "2018-02-01")
HEARTBEAT_VERSION = "2018-02-01"
SIZE = 4 * 1024 * 1024

_COMPUTE = (
    "azEnvironment",
    "location",
    "name",
    "offer",
    "osType",
    "placementGroupId",
    "platformFaultDomain",
    "platformUpdateDomain",
    "publisher",
    "resourceGroupName",
    "resourceId",
    "sku",
    "subscriptionId",
    "tags",
    "version",
    "vmId",
    "vmScaleSetName",
    "vmSize",
    "zone",
)


class Health(NamedTuple):
    """healthy is false only when the service itself is at fault, not when we cannot reach it."""

    healthy: bool
    description: str = ""


def fetch_instance(
    system: System,
    http: Http,
    *,
    service: str = METADATA_SERVICE,
    total: float = 60.0,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """service: host or host:port. Raises FabricUnreachable, FabricRejected or GoalStateInvalid."""
    policy = Policy(attempts=30, total=total, timeout=min(30.0, total), throttled=5.0, again=(404, 410))
    doing = "fetch the instance metadata"
    for version in VERSIONS:
        url = f"http://{service}/metadata/instance?api-version={version}"

        def attempt(url: str = url) -> Response:
            return http.request("GET", url, _headers(), timeout=policy.timeout, limit=SIZE)

        response = persist(system.clock, policy, attempt, doing, note)
        if response.status == 400 and version != VERSIONS[-1]:
            continue
        return parse(require(response, doing, url, (200,)).body)
    raise AssertionError("unreachable")


def parse(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise GoalStateInvalid(f"cannot use {DOCUMENT}: it is no JSON", document=DOCUMENT) from error
    if not isinstance(document, dict):
        raise GoalStateInvalid(f"cannot use {DOCUMENT}: it is no JSON object", document=DOCUMENT)
    return document


def facts(metadata: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Public facts (compute, profile of the first user, keys, network) and secret ones (user data)."""
    compute = _object(metadata.get("compute"))
    profile = _object(compute.get("osProfile"))
    extended = _object(_object(metadata.get("extended")).get("compute"))
    public: dict[str, Any] = {name: compute[name] for name in _COMPUTE if isinstance(compute.get(name), str)}
    public["user_name"] = _text(profile.get("adminUsername"))
    public["host_name"] = _text(profile.get("computerName"))
    public["disable_password"] = _text(profile.get("disablePasswordAuthentication")).lower() == "true"
    public["pps_type"] = _text(extended.get("ppsType"))
    public["public_keys"] = [
        {"path": _text(key.get("path")), "value": "".join(_text(key.get("keyData")).splitlines()).strip()}
        for key in _objects(compute.get("publicKeys"))
        if _text(key.get("keyData"))
    ]
    network = _object(metadata.get("network"))
    public["interfaces"] = [_interface(entry) for entry in _objects(network.get("interface"))]
    secret = {"user_data": _text(compute["userData"])} if _text(compute.get("userData")) else {}
    return public, secret


def is_valid(metadata: dict[str, Any]) -> str:
    """"" when the document has what the heartbeat looks for, else the name of the first part that is missing."""
    network = _object(metadata.get("network"))
    interface = (_objects(network.get("interface")) or [{}])[0]
    addresses = _objects(_object(interface.get("ipv4")).get("ipAddress"))
    address = addresses[0].get("privateIpAddress") if addresses else None
    checks: tuple[tuple[str, object], ...] = (
        ("network", network),
        ("network.interface", interface),
        ("network.interface[0].macAddress", interface.get("macAddress")),
        ("network.interface[0].ipv4", interface.get("ipv4")),
        ("network.interface[0].ipv4.ipAddress", addresses),
        ("network.interface[0].ipv4.ipAddress[0].privateIpAddress", address),
    )
    return next((name for name, value in checks if not value), "")


def probe(http: Http, *, service: str = METADATA_SERVICE) -> Health:
    """One heartbeat; raises nothing."""
    url = f"http://{service}/metadata/instance?api-version={HEARTBEAT_VERSION}"
    sent = [*_headers(), ("User-Agent", f"waagent/{__version__}+health")]
    try:
        response = http.request("GET", url, sent, limit=SIZE)
        if response.status >= 500 or response.status == 410:
            return Health(False, f"{response.status} {response.reason}")
        missing = is_valid(parse(require(response, "fetch the instance metadata", url, (200,)).body))
    except GoalStateInvalid as error:
        return Health(False, error.message)
    except FabricUnreachable as error:
        # Refused or unroutable is this VM's trouble; an answer that breaks off is the service's.
        ours = error.facts.get("cause") in ("refused", "unreachable", "unresolved")
        return Health(ours, error.message)
    except FabricRejected as error:
        return Health(True, error.message)
    except FabricError as error:
        return Health(False, error.message)
    return Health(not missing, f"{missing} is missing" if missing else "")


def _headers() -> list[tuple[str, str]]:
    return [("Metadata", "true")]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _interface(entry: dict[str, Any]) -> dict[str, Any]:
    def addresses(family: str) -> list[str]:
        listed = _objects(_object(entry.get(family)).get("ipAddress"))
        return [address for item in listed if (address := _text(item.get("privateIpAddress")))]

    return {"mac": _text(entry.get("macAddress")), "ipv4": addresses("ipv4"), "ipv6": addresses("ipv6")}
