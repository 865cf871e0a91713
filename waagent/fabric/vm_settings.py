"""What the platform wants of extensions, from the host plugin's vmSettings ("fast track").

parse(content, etag) -> VmSettings
    desired               Desired, source "fasttrack", identity "etag:E"
    source                str as the document says; "Fabric" only mirrors the wire server's document
    host_plugin_version   str, "0.0.0.0" when absent
    is_fast_track         whether the document counts (its source is not "Fabric")

Keys come in any case at any level. A structural error refuses the whole document (GoalStateInvalid with the path
of the element), unlike in ExtensionsConfig; public settings that are no JSON text stay with their handler.

Source: wire-protocol 3.3, 3.4, extensions 3.1.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

from waagent.errors import GoalStateInvalid
from waagent.fabric.desired import AgentFamily, Desired, Handler, Settings
from waagent.fabric.extensions_config import BLOB_TYPES, STATES, ZERO_GUID
from waagent.fabric.headers import serves_vm_settings
from waagent.fabric.ticks import from_ticks

DOCUMENT = "vmSettings"
SIZE = 16 * 1024 * 1024
FABRIC, FAST_TRACK = "Fabric", "FastTrack"


class VmSettings(NamedTuple):
    desired: Desired
    source: str
    host_plugin_version: str

    @property
    def is_fast_track(self) -> bool:
        return self.source != FABRIC

    @property
    def supported(self) -> bool:
        """Whether this host plugin is new enough to be asked again."""
        return serves_vm_settings(self.host_plugin_version)


def parse(content: bytes | str, etag: str) -> VmSettings:
    if len(content) > SIZE:
        raise _invalid("", f"it has {len(content)} bytes, over the limit of {SIZE}")
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        document = _lowered(json.loads(text.rstrip("\0 \t\r\n")))
    except (ValueError, RecursionError) as error:
        raise _invalid("", f"it is no JSON: {str(error)[:200]}") from error
    root = _Node(document, "")
    blob = root.object("statusUploadBlob")
    desired = Desired(
        source="fasttrack",
        identity=f"etag:{etag}",
        sequence=str(root.value("inSvdSeqNo", (int, str), ZERO_GUID)),
        created=from_ticks(root.value("extensionsLastModifiedTickCount", (int, str), "")),
        activity_id=root.text("activityId") or ZERO_GUID,
        correlation_id=root.text("correlationId") or ZERO_GUID,
        handlers=tuple(_handler(node) for node in root.list("extensionGoalStates")),
        status_blob=blob.require("value").strip() if blob is not None else "",
        status_blob_type=_blob_type(blob.text("statusBlobType")) if blob is not None else BLOB_TYPES[0],
        required_features=tuple(node.require("name") for node in root.list("requiredFeatures")),
        on_hold=bool(root.value("onHold", (bool,), False)),
        families=tuple(_family(node) for node in root.list("gaFamilies")),
    )
    version = root.text("hostGAPluginVersion") or "0.0.0.0"
    return VmSettings(desired, root.text("extensionGoalStatesSource") or "UNKNOWN", version)


class _Node:
    """A JSON object of the document with its path, for messages."""

    def __init__(self, fields: object, path: str) -> None:
        if not isinstance(fields, dict):
            raise _invalid(path, f"{path or 'it'} is {_kind(fields)}, not an object")
        self.fields, self.path = fields, path

    def value(self, key: str, kinds: tuple[type, ...], default: Any = None) -> Any:
        found = self.fields.get(key.lower())
        if found is None:
            return default
        if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
            wanted = " or ".join(_NAMES[kind] for kind in kinds)
            raise self.wrong(key, f"is {_kind(found)}, not {wanted}")
        return found

    def text(self, key: str) -> str | None:
        found: str | None = self.value(key, (str,))
        return found

    def require(self, key: str) -> str:
        found = self.text(key)
        if not found:
            raise self.wrong(key, "is missing or empty")
        return found

    def number(self, key: str) -> int | None:
        found: int | None = self.value(key, (int,))
        return found

    def object(self, key: str) -> _Node | None:
        found = self.fields.get(key.lower())
        return None if found is None else _Node(found, self._at(key))

    def list(self, key: str) -> list[_Node]:
        found = self.value(key, (list,), [])
        return [_Node(entry, f"{self._at(key)}[{index}]") for index, entry in enumerate(found)]

    def texts(self, key: str) -> tuple[str, ...]:
        found = self.value(key, (list,), [])
        if not all(isinstance(entry, str) for entry in found):
            raise self.wrong(key, "holds an entry that is no text")
        return tuple(entry.strip() for entry in found if entry.strip())

    def wrong(self, key: str, what: str) -> GoalStateInvalid:
        return _invalid(self._at(key), f"{self._at(key)} {what}")

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


_NAMES: dict[type, str] = {
    bool: "true or false",
    dict: "an object",
    int: "a whole number",
    list: "a list",
    str: "text",
}


def _kind(value: object) -> str:
    return "null" if value is None else _NAMES.get(type(value), "a number")


def _invalid(element: str, what: str) -> GoalStateInvalid:
    return GoalStateInvalid(f"cannot use {DOCUMENT}: {what}", document=DOCUMENT, element=element)


def _lowered(value: Any) -> Any:
    """The same with all keys in lower case; values stay, settings are texts here and not touched."""
    if isinstance(value, dict):
        return {key.lower(): _lowered(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_lowered(inner) for inner in value]
    return value


def _blob_type(text: str | None) -> str:
    return text if text in BLOB_TYPES else BLOB_TYPES[0]


def _family(node: _Node) -> AgentFamily:
    return AgentFamily(
        name=node.require("name"),
        uris=node.texts("uris"),
        version=node.text("version") or None,
        from_version=node.text("fromVersion") or None,
        is_version_from_rsm=node.value("isVersionFromRSM", (bool,)),
        is_vm_enabled_for_rsm=node.value("isVMEnabledForRSMUpgrades", (bool,)),
    )


def _handler(node: _Node) -> Handler:
    name, version, state = node.require("name"), node.require("version"), node.require("state")
    if state not in STATES:
        raise node.wrong("state", f"is {state[:40]!r}, not one of {', '.join(STATES)}")
    locations = [node.text("location") or "", node.text("failoverLocation") or ""]
    locations += node.texts("additionalLocations")
    multi_config = bool(node.value("isMultiConfig", (bool,), False))
    return Handler(
        name=name,
        version=version,
        state=state,
        manifest_uris=tuple(dict.fromkeys(uri for location in locations if (uri := location.strip()))),
        settings=_instances(node) if multi_config else _single(node, name),
        multi_config=multi_config,
        signature=(node.text("encodedSignature") or "").strip(),
    )


def _single(node: _Node, name: str) -> tuple[Settings, ...]:
    listed = node.list("settings")
    if not listed:
        return ()
    if len(listed) > 1:
        raise node.wrong("settings", f"has {len(listed)} entries, and {name} takes one")
    sequence = node.number("settingsSeqNo")
    if sequence is None:
        raise node.wrong("settingsSeqNo", "is missing")
    dependencies = node.list("dependsOn")
    if len(dependencies) > 1:
        raise node.wrong("dependsOn", f"has {len(dependencies)} entries, and {name} takes one")
    level, on = _dependency(dependencies[0]) if dependencies else (0, ())
    return (_with_values(Settings(name=name, sequence=sequence, level=level, depends_on=on), listed[0]),)


def _instances(node: _Node) -> tuple[Settings, ...]:
    found: dict[str, Settings] = {}
    for entry in node.list("settings"):
        instance, sequence = entry.require("extensionName"), entry.number("seqNo")
        state = entry.require("extensionState").lower()
        if sequence is None:
            raise entry.wrong("seqNo", "is missing")
        if state not in ("enabled", "disabled"):
            raise entry.wrong("extensionState", f"is {state[:40]!r}, neither enabled nor disabled")
        if instance in found:
            raise entry.wrong("extensionName", f"{instance[:100]!r} occurs twice")
        found[instance] = _with_values(Settings(name=instance, sequence=sequence, state=state), entry)
    for dependency in node.list("dependsOn"):
        of = dependency.require("name")
        if of not in found:
            raise dependency.wrong("name", f"{of[:100]!r} is no instance of this handler")
        level, on = _dependency(dependency)
        found[of] = replace(found[of], level=level, depends_on=on)
    return tuple(found.values())


def _dependency(node: _Node) -> tuple[int, tuple[str, ...]]:
    level = node.value("dependencyLevel", (int, str), 0)
    on: list[str] = []
    for target in node.list("dependsOnExtension"):
        handler, extension = target.text("handler") or "", target.text("extension") or ""
        on.append(f"{handler}/{extension}" if extension else handler)
    try:
        return int(level), tuple(on)
    except ValueError:
        return 0, tuple(on)


def _with_values(plain: Settings, node: _Node) -> Settings:
    """The settings with public, protected and thumbprint of their entry. Public settings are JSON inside a text."""
    protected, thumbprint = node.text("protectedSettings"), node.text("protectedSettingsCertThumbprint")
    if protected and not thumbprint:
        raise node.wrong("protectedSettingsCertThumbprint", "is missing, and there are protected settings")
    public = node.text("publicSettings")
    whole = replace(plain, protected=protected, thumbprint=thumbprint)
    if public is None:
        return whole
    try:
        return replace(whole, public=json.loads(public))
    except (ValueError, RecursionError):
        return replace(whole, invalid=f"the settings of {plain.name}, sequence {plain.sequence}, are no JSON")
