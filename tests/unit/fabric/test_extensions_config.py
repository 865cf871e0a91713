"""ExtensionsConfig to Desired: the sample, and every error that stays with one handler."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.unit.fabric.samples import TENANT, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import extensions_config
from waagent.fabric.desired import Desired, Handler
from waagent.fabric.extensions_config import ZERO_GUID, Document

BLOB_TYPES = [("PageBlob", "PageBlob")] + [(given, "BlockBlob") for given in ("BlockBlob", "Append", "pageblob", "")]


def document(plugins: str = "", settings: str = "") -> Desired:
    text = f"<Extensions><Plugins>{plugins}</Plugins><PluginSettings>{settings}</PluginSettings></Extensions>"
    return extensions_config.parse(text, "5").desired


def handler(settings: str, plugin: str = '<Plugin name="A.B" version="1.0" state="enabled" location="https://a/"/>') -> Handler:
    (found,) = document(plugin, settings).handlers
    return found


def runtime(public: object = None, attributes: str = 'seqNo="3"', tag: str = "RuntimeSettings") -> str:
    body = json.dumps({"runtimeSettings": [{"handlerSettings": {"publicSettings": public}}]})
    return f"<{tag} {attributes}><![CDATA[{body}]]></{tag}>"


@pytest.mark.wire("2.7/document")
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


def root(*parts: str) -> extensions_config.Document:
    return extensions_config.parse(f"<Extensions>{''.join(parts)}</Extensions>", "5")


def family(inner: str) -> str:
    return f"<GuestAgentExtension><GAFamilies><GAFamily>{inner}</GAFamily></GAFamilies></GuestAgentExtension>"


def plugin(attributes: str = "", children: str = "") -> str:
    return f'<Plugins><Plugin name="A.B" version="1.0" state="enabled" {attributes}>{children}</Plugin></Plugins>'


def node(inner: str) -> str:
    return f'{plugin()}<PluginSettings><Plugin name="A.B" version="1.0">{inner}</Plugin></PluginSettings>'


def instance(inner: str = "", attributes: str = 'seqNo="1" name="x"') -> str:
    return node(f"{inner}{runtime(attributes=attributes, tag='ExtensionRuntimeSettings')}")


def values(**fields: object) -> str:
    body = json.dumps({"runtimeSettings": [{"handlerSettings": fields}]})
    return node(f'<RuntimeSettings seqNo="3">{body}</RuntimeSettings>')


def families(field: str) -> Callable[[Document], object]:
    return lambda parsed: [getattr(one, field) for one in parsed.desired.families]


def handlers(field: str) -> Callable[[Document], object]:
    return lambda parsed: [getattr(one, field) for one in parsed.desired.handlers]


def entries(*fields: str) -> Callable[[Document], object]:
    return lambda parsed: [tuple(getattr(one, name) for name in fields) for one in parsed.desired.handlers[0].settings]


def whole(*fields: str) -> Callable[[Document], object]:
    return lambda parsed: tuple(getattr(parsed.desired, name) for name in fields)


FLAGS = [("TRUE", True), ("true", True), ("false", False), ("other", False)]
SIGNED = "https://a/b?sk=system-1&sig=c%3d"
ESCAPED = SIGNED.replace("&", "&amp;")
ELEMENTS: dict[str, tuple[Callable[[Document], object], list[tuple[str, object]]]] = {
    "2.7/GAFamily.Name": (families("name"), [(family("<Name> Prod </Name>"), ["Prod"]), (family(""), [""])]),
    "2.7/GAFamily.Uris": (
        families("uris"),
        [
            (family("<Uris><Uri>a</Uri><Uri> b </Uri><Uri/></Uris>"), [("a", "b")]),
            (family("<Uris/>"), [()]),
            (family(""), [()]),
        ],
    ),
    "2.7/GAFamily.Version": (families("version"), [(family("<Version>3.1</Version>"), ["3.1"]), (family(""), [None])]),
    "2.7/GAFamily.FromVersion": (
        families("from_version"), [(family("<FromVersion>3.1</FromVersion>"), ["3.1"]), (family(""), [None])]
    ),
    "2.7/GAFamily.IsVersionFromRSM": (
        families("is_version_from_rsm"),
        [(family(f"<IsVersionFromRSM>{text}</IsVersionFromRSM>"), [value]) for text, value in FLAGS]
        + [(family(""), [None])],
    ),
    "2.7/GAFamily.IsVMEnabledForRSMUpgrades": (
        families("is_vm_enabled_for_rsm"),
        [(family(f"<IsVMEnabledForRSMUpgrades>{text}</IsVMEnabledForRSMUpgrades>"), [value]) for text, value in FLAGS]
        + [(family(""), [None])],
    ),
    "2.7/Plugin.name": (
        handlers("name"), [('<Plugins><Plugin name="A.B.C.D" version="1" state="enabled"/></Plugins>', ["A.B.C.D"])]
    ),
    "2.7/Plugin.version": (
        handlers("version"), [('<Plugins><Plugin name="A.B" version="1.02" state="enabled"/></Plugins>', ["1.02"])]
    ),
    "2.7/Plugin.state": (
        handlers("state"),
        [
            (f'<Plugins><Plugin name="A.B" version="1" state="{state}"/></Plugins>', [state])
            for state in ("enabled", "disabled", "uninstall")
        ],
    ),
    "2.7/Plugin.location": (handlers("manifest_uris"), [(plugin('location=" https://a "'), [("https://a",)]), (plugin(), [()])]),
    "2.7/Plugin.failoverlocation": (
        handlers("manifest_uris"), [(plugin('location="https://a" failoverlocation="https://b"'), [("https://a", "https://b")])]
    ),
    "2.7/Plugin.additionalLocations": (
        handlers("manifest_uris"),
        [
            (
                plugin(
                    'location="https://a"',
                    "<additionalLocations><additionalLocation>https://c</additionalLocation>"
                    "<additionalLocation>https://a</additionalLocation></additionalLocations>",
                ),
                [("https://a", "https://c")],
            )
        ],
    ),
    "2.7/Plugin.encodedSignature": (
        handlers("signature"),
        [(plugin('encodedSignature="MII="'), ["MII="]), (plugin('encodedSignature=""'), [""]), (plugin(), [""])],
    ),
    "2.7/Plugin.ignored": (
        lambda parsed: parsed.desired.handlers,
        [
            (plugin(f'{name}="{text}"'), root(plugin()).desired.handlers)
            for name in ("config", "autoUpgrade", "runAsStartupTask", "isJson", "useExactVersion", "upgradeGuid", "runAsRoot")
            for text in ("true", "x")
        ],
    ),
    "2.7/RuntimeSettings": (entries("name", "sequence", "state", "level"), [(node(runtime()), [("A.B", 3, "enabled", 0)])]),
    "2.7/ExtensionRuntimeSettings": (
        entries("name", "sequence", "state"),
        [
            (instance(), [("x", 1, "enabled")]),
            (instance(attributes='seqNo="1" name="x" state="Disabled"'), [("x", 1, "disabled")]),
            (instance(attributes='seqNo="1" name="x" state="ENABLED"'), [("x", 1, "enabled")]),
        ],
    ),
    "2.7/DependsOn": (
        entries("level"),
        [
            (node(f'<DependsOn dependencyLevel="2"/>{runtime()}'), [(2,)]),
            (node(f'<DependsOn dependencyLevel="two"/>{runtime()}'), [(0,)]),
            (node(f"<DependsOn/>{runtime()}"), [(0,)]),
            (instance('<DependsOn dependencyLevel="2" name="x"/>'), [(2,)]),
            (instance('<DependsOn dependencyLevel="2" name="y"/>'), [(0,)]),
        ],
    ),
    "2.7/DependsOnExtension": (
        entries("level", "depends_on"),
        [
            (
                node(
                    '<DependsOn dependencyLevel="1"><DependsOnExtension handler="C.D"/>'
                    f'<DependsOnExtension handler="E.F" extension="g"/></DependsOn>{runtime()}'
                ),
                [(1, ("C.D", "E.F/g"))],
            )
        ],
    ),
    "2.7/runtimeSettings": (
        entries("public"),
        [
            (
                node(
                    '<RuntimeSettings seqNo="1">{"runtimeSettings": [{"handlerSettings": {"publicSettings": 1}}, {}]}'
                    "</RuntimeSettings>"
                ),
                [(1,)],
            )
        ],
    ),
    "2.7/publicSettings": (
        entries("public"),
        [(values(publicSettings=value), [(value,)]) for value in ({"a": [1, None]}, [1], "text", 0, False, None)]
        + [(values(), [(None,)])],
    ),
    "2.7/protectedSettings": (
        entries("protected"),
        [(values(protectedSettings="MII=", protectedSettingsCertThumbprint="AB"), [("MII=",)]), (values(), [(None,)])],
    ),
    "2.7/protectedSettingsCertThumbprint": (
        entries("thumbprint"),
        [(values(protectedSettings="MII=", protectedSettingsCertThumbprint="AB"), [("AB",)]), (values(), [(None,)])],
    ),
    "2.7/RequiredFeatures": (
        whole("required_features"),
        [
            (
                "<RequiredFeatures><RequiredFeature><Name>One</Name><Value>1</Value></RequiredFeature>"
                "<RequiredFeature><Name>Two</Name></RequiredFeature></RequiredFeatures>",
                (("One", "Two"),),
            ),
            ("", ((),)),
        ],
    ),
    "2.7/StatusUploadBlob": (
        whole("status_blob"), [(f"<StatusUploadBlob> {ESCAPED} </StatusUploadBlob>", (SIGNED,)), ("", ("",))]
    ),
    "2.7/statusBlobType": (
        whole("status_blob_type"),
        [(f'<StatusUploadBlob statusBlobType="{given}">x</StatusUploadBlob>', (kept,)) for given, kept in BLOB_TYPES]
        + [("<StatusUploadBlob>x</StatusUploadBlob>", ("BlockBlob",)), ("", ("BlockBlob",))],
    ),
    "2.7/InVMArtifactsProfileBlob": (
        lambda parsed: (parsed.profile_url, parsed.desired.status_blob_type),
        [
            (
                f'<InVMArtifactsProfileBlob statusBlobType="PageBlob"> {ESCAPED} </InVMArtifactsProfileBlob>',
                (SIGNED, "BlockBlob"),
            ),
            ("", ("", "BlockBlob")),
        ],
    ),
    "2.7/InVMGoalStateMetaData": (
        whole("sequence", "created", "activity_id", "correlation_id"),
        [
            (
                '<InVMGoalStateMetaData inSvdSeqNo="9" createdOnTicks="639310221300000001" activityId="a" correlationId="c"/>',
                ("5", "2026-11-23T09:15:30.0000001Z", "a", "c"),  # the sequence is the incarnation
            ),
            ('<InVMGoalStateMetaData createdOnTicks="soon"/>', ("5", "", ZERO_GUID, ZERO_GUID)),
            ("", ("5", "", ZERO_GUID, ZERO_GUID)),
        ],
    ),
    "2.7/ignored": (
        lambda parsed: parsed,
        [("<HealthProbe>x</HealthProbe><HealthStatusBlobUri>https://a?sig=b</HealthStatusBlobUri><News a='1'/>", root())],
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ELEMENTS)
def test_elements(row: str) -> None:
    read, cases = ELEMENTS[row]
    for text, expected in cases:
        assert read(root(text)) == expected, text


@pytest.mark.wire("2.7/document")
def test_an_empty_document_is_an_empty_wish() -> None:
    desired = extensions_config.parse("<Extensions/>", "9").desired
    assert desired == Desired(
        source="fabric",
        identity="incarnation:9",
        sequence="9",
        activity_id=extensions_config.ZERO_GUID,
        correlation_id=extensions_config.ZERO_GUID,
    )


@pytest.mark.row("extensions", 19)
@pytest.mark.wire("2.7/RuntimeSettings")
def test_settings_are_found_by_name_in_any_case() -> None:
    found = handler(f'<Plugin name="a.b" version="1.0">{runtime([1])}</Plugin>')
    assert (found.settings[0].name, found.settings[0].public, found.settings[0].sequence) == ("A.B", [1], 3)


WRONG = {
    "2.7/another-version": (f'<Plugin name="A.B" version="2.0">{runtime()}</Plugin>', "for version 2.0"),
    "2.7/two-nodes": (f'<Plugin name="A.B" version="1.0">{runtime()}</Plugin>' * 2, "2 entries of settings"),
    "2.7/both-kinds": (
        f'<Plugin name="A.B" version="1.0">{runtime()}'
        f'{runtime(attributes="""seqNo="1" name="x" """, tag="ExtensionRuntimeSettings")}</Plugin>',
        "both RuntimeSettings",
    ),
    "2.7/two-RuntimeSettings": (f'<Plugin name="A.B" version="1.0">{runtime()}{runtime()}</Plugin>', "2 RuntimeSettings"),
    "2.7/two-DependsOn": (f'<Plugin name="A.B" version="1.0"><DependsOn/><DependsOn/>{runtime()}</Plugin>', "2 DependsOn"),
    "2.7/DependsOn-without-name": (
        f'<Plugin name="A.B" version="1.0"><DependsOn dependencyLevel="1"/>'
        f'{runtime(attributes="""seqNo="1" name="x" """, tag="ExtensionRuntimeSettings")}</Plugin>',
        "DependsOn beside ExtensionRuntimeSettings has no name",
    ),
    "2.7/instance-without-name": (
        f'<Plugin name="A.B" version="1.0">{runtime(attributes="""seqNo="1" """, tag="ExtensionRuntimeSettings")}</Plugin>',
        "has no name",
    ),
    "2.7/no-seqNo": (f'<Plugin name="A.B" version="1.0">{runtime(attributes="")}</Plugin>', "no seqNo"),
    "2.7/bad-seqNo": (f'<Plugin name="A.B" version="1.0">{runtime(attributes="""seqNo="x" """)}</Plugin>', "no seqNo"),
}


@pytest.mark.parametrize("row", WRONG)
def test_a_wrong_entry_stays_with_its_handler(row: str) -> None:
    settings, message = WRONG[row]
    other = '<Plugin name="C.D" version="1" state="enabled"/>'
    wrong, good = document('<Plugin name="A.B" version="1.0" state="enabled"/>' + other, settings).handlers
    assert message in wrong.invalid
    assert wrong.settings == ()
    assert good.invalid == ""


@pytest.mark.wire("2.7/Plugin.state")
@pytest.mark.parametrize(("state", "message"), [("", "no state"), ('state="gone"', "'gone'"), ('state=""', "no state")])
def test_a_state_that_is_none_stays_with_its_handler(state: str, message: str) -> None:
    (found,) = document(f'<Plugin name="A.B" version="1.0" {state}/>').handlers
    assert message in found.invalid


@pytest.mark.wire("2.7/bad-json")
@pytest.mark.parametrize(
    "body", ["{", "null", "[]", '{"runtimeSettings": 1}', '{"runtimeSettings": [{}]}', "[" * 100_000, ""]
)
def test_settings_that_are_no_json_keep_their_sequence(body: str) -> None:
    found = handler(f'<Plugin name="A.B" version="1.0"><RuntimeSettings seqNo="4">{body}</RuntimeSettings></Plugin>')
    assert found.invalid == ""
    (settings,) = found.settings
    assert (settings.sequence, settings.public) == (4, None)
    assert "sequence 4" in settings.invalid


@pytest.mark.wire("2.7/protectedSettings")
def test_protected_settings_of_another_type_are_told() -> None:
    body = json.dumps({"runtimeSettings": [{"handlerSettings": {"protectedSettings": {"a": 1}}}]})
    found = handler(f'<Plugin name="A.B" version="1.0"><RuntimeSettings seqNo="4">{body}</RuntimeSettings></Plugin>')
    assert "protectedSettings" in found.settings[0].invalid


@pytest.mark.wire("2.7/Plugin.name", "2.7/Plugin.version")
def test_a_plugin_without_name_or_version_is_noted() -> None:
    parsed = extensions_config.parse(
        '<Extensions><Plugins><Plugin version="1"/><Plugin name="A.B"/></Plugins></Extensions>', "1"
    )
    assert parsed.desired.handlers == ()
    assert [note.split(": ")[1][:24] for note in parsed.notes] == ["plugin 1 has no name; it", "plugin 2 has no version;"]


@pytest.mark.row("extensions", 71)
@pytest.mark.wire("2.7/ExtensionRuntimeSettings", "2.7/DependsOn")
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


@pytest.mark.wire("2.7/document")
def test_another_document_is_refused() -> None:
    with pytest.raises(GoalStateInvalid, match="not a <Extensions>"):
        extensions_config.parse(sample("goal_state.xml"), "1")
