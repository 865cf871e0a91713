"""The metadata service (IMDS): what the platform tells the VM about itself.

    metadata = fetch_instance(system, http)                    the whole document, as JSON
    facts(metadata) -> (public, secret)                        what the facts imds.* hold
    is_valid, probe                                            of host_health.py: whether the service works

The newest version that the service knows is used: 2021-08-01 with extended data, else older ones (400 says "not
this version"). 404, 410, 429 and 5xx are asked again, within `total` seconds in all. The service is never asked
through a proxy; it wants the header "Metadata: true".

Source: wire-protocol 5.5, 10.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from waagent.errors import GoalStateInvalid
from waagent.fabric.endpoint import METADATA_SERVICE
from waagent.fabric.host_health import is_valid, probe
from waagent.fabric.retry import Policy, persist, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.system import System
    from waagent.system.http import Http, Response

__all__ = ["facts", "fetch_instance", "is_valid", "parse", "probe"]

DOCUMENT = "the instance metadata"
VERSIONS = ("2021-08-01&extended=true", "2019-06-01", "2018-02-01")
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
