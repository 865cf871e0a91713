"""ExtensionsConfig to Desired: the sample, and every error that stays with one handler."""

from __future__ import annotations

import json

import pytest

from tests.unit.fabric.samples import TENANT, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import extensions_config
from waagent.fabric.desired import Desired, Handler


def document(plugins: str = "", settings: str = "", rest: str = "") -> Desired:
    text = f"<Extensions><Plugins>{plugins}</Plugins><PluginSettings>{settings}</PluginSettings>{rest}</Extensions>"
    return extensions_config.parse(text, "5").desired


def handler(settings: str, plugin: str = '<Plugin name="A.B" version="1.0" state="enabled" location="https://a/"/>') -> Handler:
    (found,) = document(plugin, settings).handlers
    return found


def runtime(public: object = None, attributes: str = 'seqNo="3"', tag: str = "RuntimeSettings") -> str:
    body = json.dumps({"runtimeSettings": [{"handlerSettings": {"publicSettings": public}}]})
    return f"<{tag} {attributes}><![CDATA[{body}]]></{tag}>"


def test_the_sample() -> None:
    parsed = extensions_config.parse(sample("extensions_config.xml"), "1")
    desired = parsed.desired
    assert (desired.source, desired.identity, desired.sequence) == ("fabric", "incarnation:1", "1")
    assert desired.created == "2026-11-23T09:15:30.0000000Z"
    assert desired.activity_id == "2d7f9a10-3c4b-4e5d-8f60-718293a4b5c6"
    assert desired.required_features == ("MultipleExtensionsPerHandler",)
    assert desired.status_blob_type == "BlockBlob"
    assert desired.status_blob.endswith("sp=w")
    assert "&amp;" not in desired.status_blob
    assert parsed.profile_url.endswith("sp=r")
    prod, test = desired.families
    assert (prod.name, prod.version, prod.is_version_from_rsm, len(prod.uris)) == ("Prod", "3.1.0.4", True, 2)
    assert (test.version, test.is_version_from_rsm, test.is_vm_enabled_for_rsm) == (None, None, None)
    monitor, run_command, old_tool = desired.handlers
    assert len(monitor.manifest_uris) == 3
    assert monitor.signature
    assert monitor.settings[0].public == {"collectLogs": True, "intervalSeconds": 60}
    assert monitor.settings[0].thumbprint == TENANT
    assert run_command.multi_config
    assert [(one.name, one.sequence, one.level) for one in run_command.settings] == [
        ("prepareDisk", 0, 1),
        ("startApp", 3, 2),
    ]
    assert run_command.settings[1].depends_on == ("Contoso.Sim.RunCommand/prepareDisk", "Contoso.Sim.Monitor")
    assert (old_tool.state, old_tool.settings) == ("uninstall", ())
    assert Desired.from_json(json.loads(json.dumps(desired.to_json()))) == desired


def test_an_empty_document_is_an_empty_wish() -> None:
    desired = extensions_config.parse("<Extensions/>", "9").desired
    assert desired == Desired(
        source="fabric",
        identity="incarnation:9",
        sequence="9",
        activity_id=extensions_config.ZERO_GUID,
        correlation_id=extensions_config.ZERO_GUID,
    )


def test_settings_are_found_by_name_in_any_case() -> None:
    found = handler(f'<Plugin name="a.b" version="1.0">{runtime([1])}</Plugin>')
    assert (found.settings[0].name, found.settings[0].public, found.settings[0].sequence) == ("A.B", [1], 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (f'<Plugin name="A.B" version="2.0">{runtime()}</Plugin>', "for version 2.0"),
        (f'<Plugin name="A.B" version="1.0">{runtime()}</Plugin>' * 2, "2 entries of settings"),
        (f'<Plugin name="A.B" version="1.0">{runtime()}{runtime()}</Plugin>', "2 RuntimeSettings"),
        (
            f'<Plugin name="A.B" version="1.0">{runtime()}'
            f'{runtime(attributes="""seqNo="1" name="x" """, tag="ExtensionRuntimeSettings")}</Plugin>',
            "both RuntimeSettings",
        ),
        (f'<Plugin name="A.B" version="1.0"><DependsOn/><DependsOn/>{runtime()}</Plugin>', "2 DependsOn"),
        (f'<Plugin name="A.B" version="1.0">{runtime(attributes="")}</Plugin>', "no seqNo"),
        (f'<Plugin name="A.B" version="1.0">{runtime(attributes="""seqNo="x" """)}</Plugin>', "no seqNo"),
        (
            f'<Plugin name="A.B" version="1.0">'
            f'{runtime(attributes="""seqNo="1" """, tag="ExtensionRuntimeSettings")}</Plugin>',
            "has no name",
        ),
        (
            f'<Plugin name="A.B" version="1.0"><DependsOn dependencyLevel="1"/>'
            f'{runtime(attributes="""seqNo="1" name="x" """, tag="ExtensionRuntimeSettings")}</Plugin>',
            "DependsOn beside ExtensionRuntimeSettings has no name",
        ),
    ],
)
def test_a_wrong_entry_stays_with_its_handler(settings: str, message: str) -> None:
    other = '<Plugin name="C.D" version="1" state="enabled"/>'
    wrong, good = document('<Plugin name="A.B" version="1.0" state="enabled"/>' + other, settings).handlers
    assert message in wrong.invalid
    assert wrong.settings == ()
    assert good.invalid == ""


@pytest.mark.parametrize(("state", "message"), [("", "no state"), ('state="gone"', "'gone'"), ('state=""', "no state")])
def test_a_state_that_is_none_stays_with_its_handler(state: str, message: str) -> None:
    (found,) = document(f'<Plugin name="A.B" version="1.0" {state}/>').handlers
    assert message in found.invalid


@pytest.mark.parametrize(
    "body", ["{", "null", "[]", '{"runtimeSettings": 1}', '{"runtimeSettings": [{}]}', "[" * 100_000, ""]
)
def test_settings_that_are_no_json_keep_their_sequence(body: str) -> None:
    found = handler(f'<Plugin name="A.B" version="1.0"><RuntimeSettings seqNo="4">{body}</RuntimeSettings></Plugin>')
    assert found.invalid == ""
    (settings,) = found.settings
    assert (settings.sequence, settings.public) == (4, None)
    assert "sequence 4" in settings.invalid


def test_protected_settings_of_another_type_are_told() -> None:
    body = json.dumps({"runtimeSettings": [{"handlerSettings": {"protectedSettings": {"a": 1}}}]})
    found = handler(f'<Plugin name="A.B" version="1.0"><RuntimeSettings seqNo="4">{body}</RuntimeSettings></Plugin>')
    assert "protectedSettings" in found.settings[0].invalid


def test_a_plugin_without_name_or_version_is_noted() -> None:
    parsed = extensions_config.parse(
        '<Extensions><Plugins><Plugin version="1"/><Plugin name="A.B"/></Plugins></Extensions>', "1"
    )
    assert parsed.desired.handlers == ()
    assert [note.split(": ")[1][:24] for note in parsed.notes] == ["plugin 1 has no name; it", "plugin 2 has no version;"]


def test_states_and_levels_of_instances() -> None:
    instances = "".join(
        runtime(attributes=f'seqNo="1" name="{name}" {state}', tag="ExtensionRuntimeSettings")
        for name, state in (("a", ""), ("b", 'state="DISABLED"'))
    )
    found = handler(
        f'<Plugin name="A.B" version="1.0"><DependsOn dependencyLevel="x" name="a"/>'
        f'<DependsOn dependencyLevel="2" name="b"/>{instances}</Plugin>'
    )
    assert [(one.state, one.level) for one in found.settings] == [("enabled", 0), ("disabled", 2)]


@pytest.mark.parametrize(("given", "kept"), [("PageBlob", "PageBlob"), ("Append", "BlockBlob"), ("", "BlockBlob")])
def test_the_type_of_the_status_blob(given: str, kept: str) -> None:
    blob = f'<StatusUploadBlob statusBlobType="{given}"> https://a/b?sig=c </StatusUploadBlob>'
    desired = document(rest=blob)
    assert (desired.status_blob, desired.status_blob_type) == ("https://a/b?sig=c", kept)


def test_another_document_is_refused() -> None:
    with pytest.raises(GoalStateInvalid, match="not a <Extensions>"):
        extensions_config.parse(sample("goal_state.xml"), "1")
