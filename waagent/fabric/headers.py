"""The headers and versions of the link-local services. Lean: the watcher imports it.

wire()                        of requests to the wire server
plugin(container, config)     of requests to the host plugin

Source: wire-protocol 1.5, 3, 5.5.
"""

from __future__ import annotations

WIRE_VERSION = "2012-11-30"
PLUGIN_VERSION = "2015-09-01"
# The first host plugin that serves vmSettings in full.
VM_SETTINGS_SINCE = (1, 0, 8, 133)
AGENT_NAME = "WALinuxAgent"  # what the wire server expects in x-ms-agent-name and in reports of health

XML_BODY = ("Content-Type", "text/xml;charset=utf-8")
JSON_BODY = ("Content-Type", "application/json")


def wire() -> list[tuple[str, str]]:
    return [("x-ms-agent-name", AGENT_NAME), ("x-ms-version", WIRE_VERSION)]


def plugin(container_id: str, config_name: str) -> list[tuple[str, str]]:
    return [
        ("x-ms-version", PLUGIN_VERSION),
        ("x-ms-containerid", container_id),
        ("x-ms-host-config-name", config_name),
    ]


def correlation() -> tuple[str, str]:
    """A fresh GUID that lets the platform's people find this request."""
    import os

    digits = os.urandom(16).hex()
    groups = (digits[:8], digits[8:12], "4" + digits[13:16], "a" + digits[17:20], digits[20:])
    return ("x-ms-client-correlationid", "-".join(groups))


def serves_vm_settings(version: str) -> bool:
    """Whether a host plugin of this version can be asked for vmSettings. Anything but dotted numbers is older."""
    parts = version.split(".")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        return False
    return tuple(int(part) for part in parts) >= VM_SETTINGS_SINCE
