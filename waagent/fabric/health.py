"""The documents that tell the platform how this VM is.

ready(...), not_ready(...)      health report, XML, to /machine?comp=health
role_properties(...)            XML, to /machine?comp=roleProperties
observation(...), observations(...)   what we saw of the host's services, JSON, to /HealthService

A description is cut by encoded bytes, so that it fits the host's 4096 however much it has to be escaped.

Source: wire-protocol 5.1, 5.2, 5.7.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

READY, NOT_READY = "Ready", "NotReady"
PROVISIONING, FAILED = "Provisioning", "ProvisioningFailed"
DESCRIPTION_BYTES = 4096
OBSERVATIONS = 10

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def ready(incarnation: str, container_id: str, instance_id: str) -> bytes:
    return _report(incarnation, container_id, instance_id, f"<State>{READY}</State>")


def not_ready(incarnation: str, container_id: str, instance_id: str, substatus: str, description: str) -> bytes:
    details = f"<SubStatus>{escape(substatus)}</SubStatus><Description>{fit(description)}</Description>"
    return _report(
        incarnation, container_id, instance_id, f"<State>{NOT_READY}</State><Details>{details}</Details>"
    )


def role_properties(container_id: str, instance_id: str, properties: Iterable[tuple[str, str]]) -> bytes:
    lines = "".join(f'<Property name="{escape(name)}" value="{escape(value)}" />' for name, value in properties)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<RoleProperties><Container>'
        f"<ContainerId>{escape(container_id)}</ContainerId><RoleInstances><RoleInstance>"
        f"<Id>{escape(instance_id)}</Id><Properties>{lines}</Properties>"
        "</RoleInstance></RoleInstances></Container></RoleProperties>"
    ).encode()


def observation(name: str, *, healthy: bool, description: str = "", value: str = "") -> dict[str, object]:
    return {
        "ObservationName": name[:64],
        "IsHealthy": healthy,
        "Description": description[:128],
        "Value": value[:128],
    }


def observations(seen: Iterable[dict[str, object]], source: str = "WALinuxAgent") -> bytes:
    """At most the ten newest."""
    kept = list(seen)[-OBSERVATIONS:]
    body = {"Api": "reporttargethealth", "Version": "1.0", "Source": source, "Observations": kept}
    return json.dumps(body).encode()


def escape(text: str) -> str:
    """Text for XML; characters that XML cannot hold become spaces."""
    return "".join(_ESCAPES.get(letter, letter) if _allowed(letter) else " " for letter in text)


def fit(text: str, limit: int = DESCRIPTION_BYTES) -> str:
    """The escaped text, cut so that it takes at most `limit` bytes; a cut shows as "..."."""
    escaped = [escape(letter) for letter in text]
    sizes = [len(piece.encode("utf-8")) for piece in escaped]
    if sum(sizes) <= limit:
        return "".join(escaped)
    room, kept = limit - 3, 0
    for size in sizes:
        if size > room:
            break
        room -= size
        kept += 1
    return "".join(escaped[:kept]) + "..."


def _allowed(letter: str) -> bool:
    if letter < " ":
        return letter in "\t\n\r"
    return not ("\ud800" <= letter <= "\udfff" or letter in "\ufffe\uffff")


def _report(incarnation: str, container_id: str, instance_id: str, health: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<Health xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<GoalStateIncarnation>{escape(incarnation)}</GoalStateIncarnation>"
        f"<Container><ContainerId>{escape(container_id)}</ContainerId><RoleInstanceList><Role>"
        f"<InstanceId>{escape(instance_id)}</InstanceId><Health>{health}</Health>"
        "</Role></RoleInstanceList></Container></Health>"
    ).encode()
