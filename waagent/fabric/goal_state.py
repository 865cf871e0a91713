"""The goal state: what the platform wants this VM to be, as of one incarnation.

    GET http://168.63.129.16/machine/?comp=goalstate     x-ms-version: 2012-11-30

GoalState
    incarnation     str, opaque; compare for equality only
    container_id    str, the host's container; changes when the VM moves, also while the incarnation stays
    config_name     str, role config name ("" when absent); sent to the host plugin; changes likewise
    instance_id     str, role instance; sent back in every report
    hosting_environment, shared_config, extensions_config, certificates, remote_access
                    str, URLs as written (their percent signs are not to be touched), "" when absent
    deployment_id   str, config_name up to its first "."

parse() is pure. It raises GoalStateInvalid; an answer without a RoleInstance (element "RoleInstance") is one that
the wire server gives while it is busy: ask again.

Source: wire-protocol 2.1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from waagent.fabric import xml

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT = "the goal state"
INCOMPLETE = "RoleInstance"


@dataclass(frozen=True)
class GoalState:
    incarnation: str
    container_id: str
    instance_id: str
    config_name: str = ""
    hosting_environment: str = ""
    shared_config: str = ""
    extensions_config: str = ""
    certificates: str = ""
    remote_access: str = ""

    @property
    def deployment_id(self) -> str:
        return self.config_name.partition(".")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> GoalState:
        """The inverse of to_json. Raises TypeError for other fields."""
        return cls(**fields)


def parse(content: bytes | str) -> GoalState:
    root = xml.parse(content, DOCUMENT, "GoalState")
    incarnation = xml.require_text(root, "Incarnation", DOCUMENT)
    container = xml.require_text(root, "Container/ContainerId", DOCUMENT)
    role = root.find("Container/RoleInstanceList/RoleInstance")
    if role is None:
        raise xml.invalid(DOCUMENT, INCOMPLETE, "<RoleInstance> is missing")

    def url(name: str) -> str:
        return xml.text(role, f"Configuration/{name}") or "" if role is not None else ""

    return GoalState(
        incarnation=incarnation,
        container_id=container,
        instance_id=xml.require_text(role, "InstanceId", DOCUMENT),
        config_name=url("ConfigName"),
        hosting_environment=url("HostingEnvironmentConfig"),
        shared_config=url("SharedConfig"),
        extensions_config=url("ExtensionsConfig"),
        certificates=url("Certificates"),
        remote_access=xml.text(root, "Container/RemoteAccessInfo") or "",
    )
