"""vmSettings to Desired: the sample, keys in any case, and every error that refuses the document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.fabric.samples import TENANT, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import vm_settings
from waagent.fabric.desired import Desired

Read = Callable[[vm_settings.VmSettings], object]


def plain(**changes: Any) -> dict[str, Any]:
    return {"hostGAPluginVersion": "1.0.8.161", "extensionGoalStatesSource": "FastTrack", **changes}


def handler(**changes: Any) -> dict[str, Any]:
    return plain(extensionGoalStates=[{"name": "A.B", "version": "1.0", "state": "enabled", **changes}])


def parse(document: object) -> vm_settings.VmSettings:
    return vm_settings.parse(json.dumps(document), "9")


@pytest.mark.wire("3.4/document")
def test_the_sample() -> None:
    parsed = vm_settings.parse(sample("vm_settings.json"), "8402733151920467713")
    desired = parsed.desired
    assert parsed.is_fast_track
    assert parsed.supported
    assert (desired.source, desired.identity, desired.sequence) == ("fasttrack", "etag:8402733151920467713", "2")
    assert desired.created == "2026-11-23T11:02:05.0000000Z"
    monitor, run_command = desired.handlers
    # A text holding JSON here, a JSON value in the wire server's document: the same object in the end.
    assert monitor.settings[0].public == {"collectLogs": True, "intervalSeconds": 30}
    assert monitor.settings[0].thumbprint == TENANT
    assert len(monitor.manifest_uris) == 3
    assert [(one.name, one.sequence, one.state, one.level) for one in run_command.settings] == [
        ("prepareDisk", 0, "disabled", 0),
        ("startApp", 4, "enabled", 1),
    ]
    assert desired.families[0].is_vm_enabled_for_rsm is True
    assert Desired.from_json(json.loads(json.dumps(desired.to_json()))) == desired


def _cased(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {change(key): _cased(inner, change) for key, inner in value.items()}
    return [_cased(inner, change) for inner in value] if isinstance(value, list) else value


@pytest.mark.wire("3.4/case")
@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_keys_come_in_any_case(change: Any) -> None:
    document = json.loads(sample("vm_settings.json"))
    assert parse(_cased(document, change)) == parse(document)


@pytest.mark.wire("3.4/document")
def test_what_is_absent_has_its_default() -> None:
    desired = parse({}).desired
    assert (desired.created, desired.sequence, desired.handlers) == ("", vm_settings.ZERO_GUID, ())
    assert not parse({}).supported
    assert parse({}).source == "UNKNOWN"


@pytest.mark.wire("3.3/version", "3.4/hostGAPluginVersion")
@pytest.mark.parametrize(
    ("version", "supported"),
    [("1.0.8.133", True), ("1.0.8.132", False), ("1.0.9", True), ("2", True), ("", False), ("x.y", False)],
)
def test_which_host_plugins_are_new_enough(version: str, supported: bool) -> None:
    assert parse(plain(hostGAPluginVersion=version)).supported is supported


def single(**changes: Any) -> dict[str, Any]:
    """One handler of one configuration; None takes a key away."""
    return handler(**{"settingsSeqNo": 7, "settings": [{}], **changes})


def multi(settings: object, **changes: Any) -> dict[str, Any]:
    return handler(isMultiConfig=True, settings=settings, **changes)


def whole(*fields: str) -> Read:
    return lambda parsed: [getattr(parsed.desired, name) for name in fields]


def handlers(*fields: str) -> Read:
    return lambda parsed: [tuple(getattr(one, name) for name in fields) for one in parsed.desired.handlers]


def entries(*fields: str) -> Read:
    return lambda parsed: [tuple(getattr(one, name) for name in fields) for one in parsed.desired.handlers[0].settings]


def families(*fields: str) -> Read:
    return lambda parsed: [tuple(getattr(one, name) for name in fields) for one in parsed.desired.families]


INSTANCE = {"extensionName": "x", "seqNo": 1, "extensionState": "enabled"}
# What is read of each element, and what some documents then say.
FIELDS: dict[str, tuple[Read, list[tuple[dict[str, Any], object]]]] = {
    "3.4/hostGAPluginVersion": (
        lambda parsed: (parsed.host_plugin_version, parsed.supported),
        [({}, ("0.0.0.0", False)), (plain(), ("1.0.8.161", True)), (plain(hostGAPluginVersion=""), ("0.0.0.0", False))],
    ),
    "3.4/vmSettingsSchemaVersion": (
        lambda parsed: parsed,
        [(plain(vmSettingsSchemaVersion=value), parse(plain())) for value in ("0.0", "9.9", None, 5)],
    ),
    "3.4/activityId": (
        whole("activity_id", "correlation_id"),
        [
            (plain(activityId="a", correlationId="c"), ["a", "c"]),
            (plain(activityId="", correlationId=""), [vm_settings.ZERO_GUID] * 2),
            (plain(), [vm_settings.ZERO_GUID] * 2),
        ],
    ),
    "3.4/inSvdSeqNo": (whole("sequence"), [(plain(inSvdSeqNo=7), ["7"]), (plain(inSvdSeqNo="07"), ["07"])]),
    "3.4/extensionsLastModifiedTickCount": (
        whole("created"),
        [
            (plain(extensionsLastModifiedTickCount=value), ["2026-11-23T11:02:05.0000001Z"])
            for value in (639310285250000001, "639310285250000001")
        ]
        + [(plain(extensionsLastModifiedTickCount=value), [""]) for value in ("x", "", 0, -5, 10**19, "9" * 40, None)],
    ),
    "3.4/extensionGoalStatesSource": (
        lambda parsed: (parsed.source, parsed.is_fast_track),
        [
            (plain(), ("FastTrack", True)),
            (plain(extensionGoalStatesSource="Fabric"), ("Fabric", False)),
            (plain(extensionGoalStatesSource="Other"), ("Other", True)),
            ({}, ("UNKNOWN", True)),
        ],
    ),
    "3.4/onHold": (whole("on_hold"), [(plain(onHold=True), [True]), (plain(onHold=False), [False]), (plain(), [False])]),
    "3.4/statusUploadBlob": (
        whole("status_blob", "status_blob_type"),
        [
            (plain(statusUploadBlob={"value": " https://a/b?sig=c "}), ["https://a/b?sig=c", "BlockBlob"]),
            (plain(statusUploadBlob={"value": "u", "statusBlobType": "PageBlob"}), ["u", "PageBlob"]),
            (plain(statusUploadBlob={"value": "u", "statusBlobType": "pageblob"}), ["u", "BlockBlob"]),
            (plain(), ["", "BlockBlob"]),
        ],
    ),
    "3.4/inVMMetadata": (lambda parsed: parsed, [(plain(inVMMetadata=value), parse(plain())) for value in ({}, [], 5, "x")]),
    "3.4/requiredFeatures": (
        whole("required_features"),
        [(plain(requiredFeatures=[{"name": "One"}, {"name": "Two", "value": "1"}]), [("One", "Two")]), (plain(), [()])],
    ),
    "3.4/gaFamilies": (
        families("name", "version", "from_version", "is_version_from_rsm", "is_vm_enabled_for_rsm", "uris"),
        [
            (plain(gaFamilies=[{"name": "P"}]), [("P", None, None, None, None, ())]),
            (
                plain(
                    gaFamilies=[
                        {"name": "P", "version": "3", "fromVersion": "4", "uris": ["u"], "isVersionFromRSM": False}
                    ]
                ),
                [("P", "3", "4", False, None, ("u",))],
            ),
            (
                plain(
                    gaFamilies=[
                        {"name": "P", "isVMEnabledForRSMUpgrades": True}
                    ]
                ),
                [("P", None, None, None, True, ())],
            ),
        ],
    ),
    "3.4/extensionGoalStates": (handlers("name"), [(plain(), []), (plain(extensionGoalStates=[]), []), (handler(), [("A.B",)])]),
    "3.4/.state": (
        handlers("name", "version", "state"),
        [(handler(state=state), [("A.B", "1.0", state)]) for state in ("enabled", "disabled", "uninstall")],
    ),
    "3.4/.location": (
        handlers("manifest_uris"),
        [
            (handler(), [((),)]),
            (handler(location="a", failoverLocation="b", additionalLocations=["c", "a", ""]), [(("a", "b", "c"),)]),
        ],
    ),
    "3.4/.encodedSignature": (handlers("signature"), [(handler(encodedSignature="MII="), [("MII=",)]), (handler(), [("",)])]),
    "3.4/.isMultiConfig": (
        handlers("multi_config"), [(handler(), [(False,)]), (handler(isMultiConfig=False), [(False,)]), (multi([]), [(True,)])]
    ),
    "3.4/.settingsSeqNo": (entries("sequence"), [(single(), [(7,)]), (handler(settingsSeqNo=3), [])]),
    "3.4/.settings": (entries("name"), [(handler(), []), (handler(settings=[]), []), (single(), [("A.B",)])]),
    "3.4/.publicSettings": (
        entries("public", "invalid"),
        [
            (single(settings=[{"publicSettings": '{"a": [1, null]}'}]), [({"a": [1, None]}, "")]),
            (single(), [(None, "")]),
            (single(settings=[{"publicSettings": "{"}]), [(None, "the settings of A.B, sequence 7, are no JSON")]),
        ],
    ),
    "3.4/.protectedSettings": (
        entries("protected"),
        [(single(settings=[{"protectedSettings": "MII=", "protectedSettingsCertThumbprint": "AB"}]), [("MII=",)]), (single(), [(None,)])],
    ),
    "3.4/.protectedSettingsCertThumbprint": (
        entries("thumbprint"),
        [(single(settings=[{"protectedSettings": "MII=", "protectedSettingsCertThumbprint": "AB"}]), [("AB",)]), (single(), [(None,)])],
    ),
    "3.4/.extensionName": (
        entries("name", "sequence", "state"),
        [
            (multi([INSTANCE]), [("x", 1, "enabled")]),
            (multi([INSTANCE, {**INSTANCE, "extensionName": "y", "extensionState": "Disabled"}]), [("x", 1, "enabled"), ("y", 1, "disabled")]),
        ],
    ),
    "3.4/.dependsOn": (
        entries("name", "level", "depends_on"),
        [
            (single(dependsOn=[]), [("A.B", 0, ())]),
            (single(dependsOn=[{"dependencyLevel": 2}]), [("A.B", 2, ())]),
            (single(dependsOn=[{"dependencyLevel": "two"}]), [("A.B", 0, ())]),
            (handler(dependsOn=[{"dependencyLevel": 2}, {}]), []),  # without settings it is of no meaning
            (
                multi([INSTANCE], dependsOn=[{"name": "x", "dependencyLevel": 1, "dependsOnExtension": [{"handler": "C.D"}]}]),
                [("x", 1, ("C.D",))],
            ),
        ],
    ),
    "3.4/ignored": (
        lambda parsed: parsed,
        [
            (handler(**{name: value}), parse(handler()))
            for name in ("autoUpgrade", "runAsStartupTask", "isJson", "useExactVersion")
            for value in (True, False, "x", 5)
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", FIELDS)
def test_fields(row: str) -> None:
    read, cases = FIELDS[row]
    for document, expected in cases:
        assert read(parse(document)) == expected, document


# What refuses the whole document, and the place that the error names.
AT = "extensionGoalStates[0]"
REFUSED: dict[str, list[tuple[object, str]]] = {
    "3.4/document": [([], ""), ("text", ""), (None, "")],
    "3.4/extensionGoalStates": [
        (plain(extensionGoalStates={}), "extensionGoalStates"),
        (plain(extensionGoalStates=["x"]), AT),
    ],
    "3.4/hostGAPluginVersion": [(plain(hostGAPluginVersion=1), "hostGAPluginVersion")],
    "3.4/activityId": [(plain(activityId=1), "activityId"), (plain(correlationId=[]), "correlationId")],
    "3.4/inSvdSeqNo": [(plain(inSvdSeqNo=True), "inSvdSeqNo"), (plain(inSvdSeqNo=[]), "inSvdSeqNo")],
    "3.4/onHold": [(plain(onHold="true"), "onHold")],
    "3.4/statusUploadBlob": [(plain(statusUploadBlob={}), "statusUploadBlob.value"), (plain(statusUploadBlob="x"), "statusUploadBlob")],
    "3.4/requiredFeatures": [(plain(requiredFeatures=[{}]), "requiredFeatures[0].name")],
    "3.4/gaFamilies": [
        (plain(gaFamilies=[{}]), "gaFamilies[0].name"),
        (plain(gaFamilies=[{"name": "P", "uris": [1]}]), "gaFamilies[0].uris"),
        (plain(gaFamilies=[{"name": "P", "isVersionFromRSM": "true"}]), "gaFamilies[0].isVersionFromRSM"),
    ],
    "3.4/.state": [
        (plain(extensionGoalStates=[{"name": "A.B", "version": "1"}]), f"{AT}.state"),
        (handler(state="Enabled"), f"{AT}.state"),
        (handler(name=""), f"{AT}.name"),
        (handler(version=1), f"{AT}.version"),
    ],
    "3.4/.location": [(handler(location=1), f"{AT}.location"), (handler(additionalLocations="x"), f"{AT}.additionalLocations")],
    "3.4/.isMultiConfig": [(handler(isMultiConfig="yes"), f"{AT}.isMultiConfig")],
    "3.4/.settingsSeqNo": [(handler(settings=[{}]), f"{AT}.settingsSeqNo"), (single(settingsSeqNo="7"), f"{AT}.settingsSeqNo")],
    "3.4/.settings": [(single(settings=[{}, {}]), f"{AT}.settings"), (single(settings={}), f"{AT}.settings")],
    "3.4/.publicSettings": [(single(settings=[{"publicSettings": {}}]), f"{AT}.settings[0].publicSettings")],
    "3.4/.protectedSettings": [(single(settings=[{"protectedSettings": {}}]), f"{AT}.settings[0].protectedSettings")],
    "3.4/.protectedSettingsCertThumbprint": [
        (single(settings=[{"protectedSettings": "MII="}]), f"{AT}.settings[0].protectedSettingsCertThumbprint"),
    ],
    "3.4/.extensionName": [
        (multi([{"seqNo": 1}]), f"{AT}.settings[0].extensionName"),
        (multi([{"extensionName": "x", "extensionState": "enabled"}]), f"{AT}.settings[0].seqNo"),
        (multi([{"extensionName": "x", "seqNo": 1}]), f"{AT}.settings[0].extensionState"),
        (multi([{**INSTANCE, "extensionState": "on"}]), f"{AT}.settings[0].extensionState"),
        (multi([INSTANCE, INSTANCE]), f"{AT}.settings[1].extensionName"),
    ],
    "3.4/.dependsOn": [
        (single(dependsOn=[{}, {}]), f"{AT}.dependsOn"),
        (multi([INSTANCE], dependsOn=[{"name": "y"}]), f"{AT}.dependsOn[0].name"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED)
def test_a_structural_error_refuses_the_document_and_names_its_place(row: str) -> None:
    for document, element in REFUSED[row]:
        with pytest.raises(GoalStateInvalid) as raised:
            parse(document)
        assert raised.value.facts["element"] == element, document


@pytest.mark.wire("3.4/parse-failure")
@pytest.mark.parametrize("content", ["", "{", "[" * 200_000, b"\xff\xfe\xfd", '{"a": 1' + "0" * 10_000 + "}x"])
def test_what_is_no_json_is_refused(content: str | bytes) -> None:
    with pytest.raises(GoalStateInvalid, match="no JSON"):
        vm_settings.parse(content, "1")
