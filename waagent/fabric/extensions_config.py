"""What the platform wants of extensions, from the wire server's ExtensionsConfig document.

parse(content, incarnation) -> Document
    desired       Desired, source "fabric", identity "incarnation:N", not on hold
    profile_url   str, SAS url of the artifacts profile (artifacts_profile.py says whether we are on hold), or ""
    notes         tuple of str: entries that cannot be used and cannot be reported either

Raises GoalStateInvalid when the document as a whole cannot be read. What is wrong with a single handler stays with
that handler (Handler.invalid, Settings.invalid), so that the others go on.

Source: wire-protocol 2.7, extensions 3.1.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from waagent.fabric import xml
from waagent.fabric.desired import AgentFamily, Desired, Handler, Settings
from waagent.fabric.ticks import from_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

DOCUMENT = "the extensions document"
ZERO_GUID = "00000000-0000-0000-0000-000000000000"
STATES = ("enabled", "disabled", "uninstall")
BLOB_TYPES = ("BlockBlob", "PageBlob")


class Document(NamedTuple):
    desired: Desired
    profile_url: str
    notes: tuple[str, ...]


class _Wrong(Exception):
    """What is wrong with one handler's entry."""


def parse(content: bytes | str, incarnation: str) -> Document:
    root = xml.parse(content, DOCUMENT, "Extensions")
    notes: list[str] = []
    handlers: list[Handler] = []
    for number, plugin in enumerate(root.iterfind("Plugins/Plugin"), 1):
        name, version = plugin.get("name", "").strip(), plugin.get("version", "").strip()
        if not name or not version:
            notes.append(f"{DOCUMENT}: plugin {number} has no {'version' if name else 'name'}; it is passed over")
            continue
        handlers.append(_handler(plugin, name, version, list(_settings_nodes(root, name))))
    metadata = root.find("InVMGoalStateMetaData")
    given = metadata.attrib if metadata is not None else {}
    blob = root.find("StatusUploadBlob")
    blob_type = blob.get("statusBlobType", "") if blob is not None else ""
    desired = Desired(
        source="fabric",
        identity=f"incarnation:{incarnation}",
        sequence=incarnation,
        created=from_ticks(given.get("createdOnTicks")),
        activity_id=given.get("activityId") or ZERO_GUID,
        correlation_id=given.get("correlationId") or ZERO_GUID,
        handlers=tuple(handlers),
        status_blob=xml.text(root, "StatusUploadBlob") or "",
        status_blob_type=blob_type if blob_type in BLOB_TYPES else BLOB_TYPES[0],
        required_features=_texts(root, "RequiredFeatures/RequiredFeature/Name"),
        families=tuple(_family(node) for node in root.iterfind("GuestAgentExtension/GAFamilies/GAFamily")),
    )
    return Document(desired, xml.text(root, "InVMArtifactsProfileBlob") or "", tuple(notes))


def _texts(element: Element, path: str) -> tuple[str, ...]:
    return tuple(found for node in element.iterfind(path) if (found := (node.text or "").strip()))


def _family(node: Element) -> AgentFamily:
    return AgentFamily(
        name=xml.text(node, "Name") or "",
        uris=_texts(node, "Uris/Uri"),
        version=xml.text(node, "Version"),
        from_version=xml.text(node, "FromVersion"),
        is_version_from_rsm=xml.flag(node, "IsVersionFromRSM"),
        is_vm_enabled_for_rsm=xml.flag(node, "IsVMEnabledForRSMUpgrades"),
    )


def _settings_nodes(root: Element, name: str) -> Iterator[Element]:
    """The settings of the handler of this name, in any case, whatever their version."""
    for node in root.iterfind("PluginSettings/Plugin"):
        if node.get("name", "").strip().lower() == name.lower():
            yield node


def _handler(plugin: Element, name: str, version: str, nodes: list[Element]) -> Handler:
    locations = [plugin.get("location", ""), plugin.get("failoverlocation", "")]
    locations += _texts(plugin, "additionalLocations/additionalLocation")
    state, invalid = plugin.get("state", "").strip(), ""
    multi_config = False
    settings: tuple[Settings, ...] = ()
    try:
        if state not in STATES:
            what = f"state is {state[:40]!r}, not one of {', '.join(STATES)}" if state else "no state is given"
            state = STATES[0]
            raise _Wrong(what)
        multi_config, settings = _settings(name, version, nodes)
    except _Wrong as wrong:
        invalid = f"{name}-{version}: cannot use its entry in the goal state: {wrong}"
    return Handler(
        name=name,
        version=version,
        state=state,
        manifest_uris=tuple(dict.fromkeys(uri for location in locations if (uri := location.strip()))),
        settings=settings,
        multi_config=multi_config,
        signature=plugin.get("encodedSignature", "").strip(),
        invalid=invalid,
    )


def _settings(name: str, version: str, nodes: list[Element]) -> tuple[bool, tuple[Settings, ...]]:
    """Whether the handler is multi-config, and its settings."""
    matching = [node for node in nodes if node.get("version", "").strip() == version]
    others = [node.get("version", "") for node in nodes if node not in matching]
    if others:
        raise _Wrong(f"its settings are for version {', '.join(others)[:100]}")
    if len(matching) > 1:
        raise _Wrong(f"it has {len(matching)} entries of settings")
    if not matching:
        return False, ()
    node = matching[0]
    single, multiple = node.findall("RuntimeSettings"), node.findall("ExtensionRuntimeSettings")
    if single and multiple:
        raise _Wrong("it has both RuntimeSettings and ExtensionRuntimeSettings")
    if len(single) > 1:
        raise _Wrong(f"it has {len(single)} RuntimeSettings")
    if multiple:
        return True, _instances(node, multiple)
    return False, tuple(_single(node, name, element) for element in single)


def _single(node: Element, name: str, element: Element) -> Settings:
    dependencies = node.findall("DependsOn")
    if len(dependencies) > 1:
        raise _Wrong(f"it has {len(dependencies)} DependsOn beside RuntimeSettings")
    level, on = _dependency(dependencies[0]) if dependencies else (0, ())
    return _parsed(element, name, "enabled", level, on)


def _instances(node: Element, elements: list[Element]) -> tuple[Settings, ...]:
    levels: dict[str, tuple[int, tuple[str, ...]]] = {}
    for dependency in node.iterfind("DependsOn"):
        of = dependency.get("name", "").strip()
        if not of:
            raise _Wrong("a DependsOn beside ExtensionRuntimeSettings has no name")
        levels[of] = _dependency(dependency)
    found: list[Settings] = []
    for element in elements:
        instance = element.get("name", "").strip()
        if not instance:
            raise _Wrong("an ExtensionRuntimeSettings has no name")
        state = element.get("state", "").strip().lower() or "enabled"
        if state not in ("enabled", "disabled"):
            raise _Wrong(f"the state of {instance} is {state[:40]!r}, neither enabled nor disabled")
        level, on = levels.get(instance, (0, ()))
        found.append(_parsed(element, instance, state, level, on))
    return tuple(found)


def _dependency(node: Element) -> tuple[int, tuple[str, ...]]:
    on: list[str] = []
    for target in node.iterfind("DependsOnExtension"):
        handler, extension = target.get("handler", "").strip(), target.get("extension", "").strip()
        on.append(f"{handler}/{extension}" if extension else handler)
    return whole(node.get("dependencyLevel")) or 0, tuple(on)


def _parsed(element: Element, name: str, state: str, level: int, on: tuple[str, ...]) -> Settings:
    sequence = whole(element.get("seqNo"))
    if sequence is None:
        raise _Wrong(f"the settings of {name} have no seqNo")
    plain = Settings(name=name, sequence=sequence, state=state, level=level, depends_on=on)
    return with_text(plain, "".join(element.itertext()))


def with_text(plain: Settings, content: str) -> Settings:
    """The settings with what their JSON text says; text that says nothing usable is told in `invalid`."""
    from dataclasses import replace

    try:
        document = json.loads(content)
        listed = document["runtimeSettings"]
        inner: dict[str, Any] = listed[0]["handlerSettings"] if listed else {}
        public, protected = inner.get("publicSettings"), inner.get("protectedSettings")
        thumbprint = inner.get("protectedSettingsCertThumbprint")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        kind = "are no JSON" if isinstance(error, ValueError) else "are not of the form that is agreed"
        return replace(plain, invalid=f"the settings of {plain.name}, sequence {plain.sequence}, {kind}")
    for key, value in (("protectedSettings", protected), ("protectedSettingsCertThumbprint", thumbprint)):
        if value is not None and not isinstance(value, str):
            return replace(plain, invalid=f"{key} of {plain.name}, sequence {plain.sequence}, is no text")
    return replace(plain, public=public, protected=protected, thumbprint=thumbprint)


def whole(text: str | None) -> int | None:
    """The whole number that the text is, else None."""
    try:
        return int((text or "").strip()[:20])
    except ValueError:
        return None
