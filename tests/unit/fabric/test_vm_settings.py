"""vmSettings to Desired: the sample, keys in any case, and every error that refuses the document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.fabric.samples import TENANT, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import vm_settings
from waagent.fabric.desired import Desired


def plain(**changes: Any) -> dict[str, Any]:
    return {"hostGAPluginVersion": "1.0.8.161", "extensionGoalStatesSource": "FastTrack", **changes}


def handler(**changes: Any) -> dict[str, Any]:
    return plain(extensionGoalStates=[{"name": "A.B", "version": "1.0", "state": "enabled", **changes}])


def parse(document: object) -> vm_settings.VmSettings:
    return vm_settings.parse(json.dumps(document), "9")


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


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_keys_come_in_any_case(change: Any) -> None:
    document = json.loads(sample("vm_settings.json"))
    assert parse(_cased(document, change)) == parse(document)


def test_what_is_absent_has_its_default() -> None:
    desired = parse({}).desired
    assert (desired.created, desired.sequence, desired.handlers) == ("", vm_settings.ZERO_GUID, ())
    assert not parse({}).supported
    assert parse({}).source == "UNKNOWN"


@pytest.mark.parametrize(
    ("version", "supported"),
    [("1.0.8.133", True), ("1.0.8.132", False), ("1.0.9", True), ("2", True), ("", False), ("x.y", False)],
)
def test_which_host_plugins_are_new_enough(version: str, supported: bool) -> None:
    assert parse(plain(hostGAPluginVersion=version)).supported is supported


def test_the_wire_server_s_mirror_does_not_count() -> None:
    assert not parse(plain(extensionGoalStatesSource="Fabric")).is_fast_track


@pytest.mark.parametrize(
    ("document", "element"),
    [
        ([], ""),
        (plain(extensionGoalStates={}), "extensionGoalStates"),
        (plain(extensionGoalStates=["x"]), "extensionGoalStates[0]"),
        (plain(extensionGoalStates=[{"name": "A.B", "version": "1"}]), "extensionGoalStates[0].state"),
        (handler(state="Enabled"), "extensionGoalStates[0].state"),
        (handler(name=""), "extensionGoalStates[0].name"),
        (handler(version=1), "extensionGoalStates[0].version"),
        (handler(isMultiConfig="yes"), "extensionGoalStates[0].isMultiConfig"),
        (handler(settings=[{}]), "extensionGoalStates[0].settingsSeqNo"),
        (handler(settings=[{}, {}], settingsSeqNo=1), "extensionGoalStates[0].settings"),
        (handler(settings=[{"publicSettings": {}}], settingsSeqNo=1), "extensionGoalStates[0].settings[0].publicSettings"),
        (
            handler(settings=[{"protectedSettings": "MII="}], settingsSeqNo=1),
            "extensionGoalStates[0].settings[0].protectedSettingsCertThumbprint",
        ),
        (handler(settings=[{}], settingsSeqNo=1, dependsOn=[{}, {}]), "extensionGoalStates[0].dependsOn"),
        (handler(isMultiConfig=True, settings=[{"seqNo": 1}]), "extensionGoalStates[0].settings[0].extensionName"),
        (
            handler(isMultiConfig=True, settings=[{"extensionName": "x", "extensionState": "enabled"}]),
            "extensionGoalStates[0].settings[0].seqNo",
        ),
        (
            handler(isMultiConfig=True, settings=[{"extensionName": "x", "seqNo": 1, "extensionState": "on"}]),
            "extensionGoalStates[0].settings[0].extensionState",
        ),
        (handler(isMultiConfig=True, dependsOn=[{"name": "x"}]), "extensionGoalStates[0].dependsOn[0].name"),
        (plain(statusUploadBlob={}), "statusUploadBlob.value"),
        (plain(statusUploadBlob="x"), "statusUploadBlob"),
        (plain(requiredFeatures=[{}]), "requiredFeatures[0].name"),
        (plain(gaFamilies=[{"name": "P", "uris": [1]}]), "gaFamilies[0].uris"),
        (plain(gaFamilies=[{"name": "P", "isVersionFromRSM": "true"}]), "gaFamilies[0].isVersionFromRSM"),
        (plain(inSvdSeqNo=True), "inSvdSeqNo"),
    ],
)
def test_a_structural_error_refuses_the_document_and_names_its_place(document: object, element: str) -> None:
    with pytest.raises(GoalStateInvalid) as raised:
        parse(document)
    assert raised.value.facts["element"] == element


@pytest.mark.parametrize("content", ["", "{", "[" * 200_000, b"\xff\xfe\xfd", '{"a": 1' + "0" * 10_000 + "}x"])
def test_what_is_no_json_is_refused(content: str | bytes) -> None:
    with pytest.raises(GoalStateInvalid, match="no JSON"):
        vm_settings.parse(content, "1")


def test_public_settings_that_are_no_json_stay_with_their_handler() -> None:
    (found,) = parse(handler(settings=[{"publicSettings": "{"}], settingsSeqNo=7)).desired.handlers
    assert (found.settings[0].sequence, found.settings[0].public) == (7, None)
    assert "no JSON" in found.settings[0].invalid


def test_ticks_may_be_text_and_nonsense_is_the_beginning_of_time() -> None:
    def created(value: object) -> str:
        return parse(plain(extensionsLastModifiedTickCount=value)).desired.created

    assert created("639310285250000001") == "2026-11-23T11:02:05.0000001Z"
    assert created(639310285250000001) == "2026-11-23T11:02:05.0000001Z"
    assert [created(value) for value in ("x", "", 0, -5, 10**19, "9" * 40)] == [""] * 6
