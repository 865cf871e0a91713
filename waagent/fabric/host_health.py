"""Whether the host's services work, as seen from this VM, and what the platform is told about it. Lean.

    answered = {PLUGIN: plugin_answers(http, endpoint), METADATA: probe(http).healthy}
    healthy, troubles = judge(troubles, answered, now)      troubles: since when one has been failing, in seconds
    report(http, endpoint, healthy, descriptions)           one POST to the health service; raises FabricError

A single failure says nothing: a service is reported unhealthy once it has failed for some minutes on end, and
healthy again with its first good answer. Each question is asked once, within a few seconds.

    is_valid(metadata) -> "" or what is missing      whether the metadata are what the service should give

Source: wire-protocol 3.2, 5.5, 5.7, guest-operations 5.3.
"""

from __future__ import annotations

import json
from collections import namedtuple

from waagent import __version__
from waagent.errors import FabricError, FabricRejected, FabricUnreachable
from waagent.fabric import headers, health
from waagent.fabric.endpoint import METADATA_SERVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from waagent.fabric.endpoint import Endpoint
    from waagent.system.http import Http

PLUGIN, METADATA = "GuestAgentPluginHeartbeat", "InstanceMetadataHeartbeat"
# Seconds of failing on end after which a service is called unhealthy.
PATIENCE: Mapping[str, float] = {PLUGIN: 300.0, METADATA: 180.0}
HEARTBEAT_VERSION = "2018-02-01"
HEALTH_SERVICE = "/HealthService"
SIZE = 4 * 1024 * 1024
TIMEOUT = 5.0


# healthy is false only when the service itself is at fault, not when we cannot reach it.
Health = namedtuple("Health", ("healthy", "description"), defaults=("",))


def judge(
    troubles: Mapping[str, float], answered: Mapping[str, bool], now: float
) -> tuple[dict[str, bool], dict[str, float]]:
    """Whether each service is to be called healthy, and since when those that do not answer have been failing."""
    healthy: dict[str, bool] = {}
    since: dict[str, float] = {}
    for name, good in answered.items():
        if not good:
            since[name] = troubles.get(name, now)
        healthy[name] = good or now - since[name] < PATIENCE[name]
    return healthy, since


def plugin_answers(http: Http, endpoint: Endpoint) -> bool:
    try:
        return http.request("GET", endpoint.plugin("/health"), timeout=TIMEOUT).good
    except FabricError:
        return False


def probe(http: Http, *, service: str = METADATA_SERVICE) -> Health:
    """Ask the metadata service; raises nothing."""
    url = f"http://{service}/metadata/instance?api-version={HEARTBEAT_VERSION}"
    sent = [("Metadata", "true"), ("User-Agent", f"waagent/{__version__}+health")]
    try:
        response = http.request("GET", url, sent, limit=SIZE, timeout=TIMEOUT)
    except FabricUnreachable as error:
        # Refused or unroutable is this VM's trouble; an answer that breaks off is the service's.
        ours = error.facts.get("cause") in ("refused", "unreachable", "unresolved")
        return Health(ours, error.message)
    except FabricRejected as error:
        return Health(True, error.message)
    if response.status >= 500 or response.status == 410:
        return Health(False, f"{response.status} {response.reason}")
    if response.status != 200:
        return Health(True, f"{response.status} {response.reason}")
    try:
        metadata = json.loads(response.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Health(False, "the answer is no JSON")
    if not isinstance(metadata, dict):
        return Health(False, "the answer is no JSON object")
    missing = is_valid(metadata)
    return Health(not missing, f"{missing} is missing" if missing else "")


def is_valid(metadata: Mapping[str, object]) -> str:
    """"" when the document has what the heartbeat looks for, else the name of the first part that is missing."""
    network = _object(metadata.get("network"))
    interface = _first(network.get("interface"))
    address = _first(_object(interface.get("ipv4")).get("ipAddress"))
    checks: tuple[tuple[str, object], ...] = (
        ("network", network),
        ("network.interface", interface),
        ("network.interface[0].macAddress", interface.get("macAddress")),
        ("network.interface[0].ipv4", interface.get("ipv4")),
        ("network.interface[0].ipv4.ipAddress", address),
        ("network.interface[0].ipv4.ipAddress[0].privateIpAddress", address.get("privateIpAddress")),
    )
    return next((name for name, value in checks if not value), "")


def report(
    http: Http,
    endpoint: Endpoint,
    healthy: Mapping[str, bool],
    descriptions: Mapping[str, str],
    also: Sequence[dict[str, object]] = (),
) -> None:
    """Tell the health service; also: observations of host_calls. Raises FabricUnreachable, FabricRejected."""
    seen = [
        health.observation(name, healthy=good, value="" if good else descriptions.get(name, ""))
        for name, good in healthy.items()
    ]
    url = endpoint.wire(HEALTH_SERVICE)
    response = http.request("POST", url, [headers.JSON_BODY], health.observations([*also, *seen]), timeout=TIMEOUT)
    if not response.good:
        raise FabricRejected(
            f"cannot report on the host's health: {response.status} {response.reason} from {url}",
            url=url,
            status=response.status,
        )


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _first(value: object) -> Mapping[str, object]:
    """The first object of a list."""
    return next((entry for entry in value if isinstance(entry, dict)), {}) if isinstance(value, list) else {}
