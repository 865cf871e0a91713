"""What the fabric wants of the extensions on this machine: one typed model.

It is made by extensions_config.py (the wire server's XML) and vm_settings.py (the host plugin's JSON, "fast
track"), kept on disk as JSON between processes, and read by waagent/extensions.

Desired
    source          "fabric" or "fasttrack"
    identity        str: "incarnation:N" or "etag:E"; compare for equality only
    sequence        str: goes into inSvdSeqNo of the status report (the incarnation, or vmSettings' own number)
    created         str, UTC time of the goal state, "" when unknown
    activity_id, correlation_id   str, GUIDs
    handlers        tuple of Handler, in document order
    status_blob     str, SAS url, secret; "" when absent      status_blob_type  "BlockBlob" or "PageBlob"
    required_features   tuple of str
    on_hold         bool
    families        tuple of AgentFamily

Source: wire-protocol 2.7 (XML) and 3.4 (vmSettings), extensions 3.1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

ENABLED, DISABLED, UNINSTALL = "enabled", "disabled", "uninstall"


@dataclass(frozen=True)
class Settings:
    """One numbered configuration of a handler, or of one instance of a multi-config handler.

    name            str: the handler's name, or the instance's name when the handler is multi-config
    sequence        int, as the document says (seqNo)
    state           enabled or disabled (of the instance)
    public          any JSON value, None when absent
    protected       str, base64 CMS, None when absent; thumbprint  str of its certificate, None when absent
    level           int, dependency level; depends_on  tuple of "Handler" or "Handler/instance", informational
    invalid         "" or why the settings' JSON cannot be used (a status is reported for the sequence all the same)
    """

    name: str
    sequence: int
    state: str = ENABLED
    public: Any = None
    protected: str | None = None
    thumbprint: str | None = None
    level: int = 0
    depends_on: tuple[str, ...] = ()
    invalid: str = ""


@dataclass(frozen=True)
class Handler:
    """One handler at one version.

    manifest_uris   tuple of str, in document order: location, failover, additional ones
    state           enabled, disabled or uninstall
    settings        tuple of Settings; empty for a handler without settings
    multi_config    bool: settings are named instances
    signature       base64 CMS over the package, "" when unsigned
    invalid         "" or why the document's entry cannot be used; it is reported as failed with this text
    """

    name: str
    version: str
    state: str = ENABLED
    manifest_uris: tuple[str, ...] = ()
    settings: tuple[Settings, ...] = ()
    multi_config: bool = False
    signature: str = ""
    invalid: str = ""


@dataclass(frozen=True)
class AgentFamily:
    """Where agents of one family are to be had; version and the two flags are None when the document is silent."""

    name: str
    uris: tuple[str, ...] = ()
    version: str | None = None
    from_version: str | None = None
    is_version_from_rsm: bool | None = None
    is_vm_enabled_for_rsm: bool | None = None


@dataclass(frozen=True)
class Desired:
    source: str
    identity: str
    sequence: str = ""
    created: str = ""
    activity_id: str = ""
    correlation_id: str = ""
    handlers: tuple[Handler, ...] = ()
    status_blob: str = ""
    status_blob_type: str = "BlockBlob"
    required_features: tuple[str, ...] = ()
    on_hold: bool = False
    families: tuple[AgentFamily, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Desired:
        """The inverse of to_json. Raises KeyError or TypeError for anything else."""
        handlers = tuple(
            Handler(
                **{
                    **handler,
                    "manifest_uris": tuple(handler["manifest_uris"]),
                    "settings": tuple(
                        Settings(**{**settings, "depends_on": tuple(settings["depends_on"])})
                        for settings in handler["settings"]
                    ),
                }
            )
            for handler in fields["handlers"]
        )
        families = tuple(AgentFamily(**{**family, "uris": tuple(family["uris"])}) for family in fields["families"])
        return cls(
            **{
                **fields,
                "handlers": handlers,
                "families": families,
                "required_features": tuple(fields["required_features"]),
            }
        )
