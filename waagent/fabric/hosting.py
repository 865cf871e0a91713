"""HostingEnvironmentConfig: the three names that telemetry carries.

parse(content) -> Names(vm, role, tenant), each "" when absent. Raises GoalStateInvalid.

Source: wire-protocol 2.5.
"""

from __future__ import annotations

from typing import NamedTuple

from waagent.fabric import xml

DOCUMENT = "the hosting environment document"


class Names(NamedTuple):
    vm: str = ""
    role: str = ""
    tenant: str = ""


def parse(content: bytes | str) -> Names:
    root = xml.parse(content, DOCUMENT, "HostingEnvironmentConfig")

    def attribute(element: str, name: str) -> str:
        node = root.find(element)
        return "" if node is None else node.get(name, "")

    return Names(attribute("Incarnation", "instance"), attribute("Role", "name"), attribute("Deployment", "name"))
