"""Extensions 12.1: the life of a handler, with real processes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Handler, Settings

NAME = "Contoso.Test.Probe"


@pytest.fixture
def installed(bed: Bed) -> Bed:
    bed.publish(NAME, "1.0.0", {"enable": "status success done"})
    summary = bed.process(single(NAME))
    assert not summary.failed
    return bed


@pytest.mark.row("extensions", 1)
def test_1_a_new_handler_is_downloaded_installed_and_enabled(installed: Bed) -> None:
    assert installed.ran() == [f"install {NAME}-1.0.0 0 -", f"enable {NAME}-1.0.0 0 -"]
    assert installed.state(NAME, "1.0.0") == "Enabled"
    entry = installed.entry(NAME)
    assert (entry["status"], entry["code"], entry["handlerVersion"]) == ("Ready", 0, "1.0.0")
    assert entry["formattedMessage"]["message"] == "Plugin enabled"
    assert entry["useExactVersion"] is True
    assert entry["runtimeSettingsStatus"]["sequenceNumber"] == 0
    assert (settings(entry)["status"], settings(entry)["formattedMessage"]["message"]) == ("success", "done")
    assert settings(entry)["name"] == NAME


@pytest.mark.row("extensions", 2)
def test_2_a_new_number_only_enables(installed: Bed) -> None:
    first = Path(installed.layout.settings_file(NAME, "1.0.0", "", 0))
    before = first.stat()
    installed.ran()
    installed.process(single(NAME, sequence=1, public={"threshold": 85}))
    assert installed.ran() == [f"enable {NAME}-1.0.0 1 -"]
    assert installed.fetched == [f"{NAME} 1.0.0"]
    written = json.loads(Path(installed.layout.settings_file(NAME, "1.0.0", "", 1)).read_text())
    assert written["runtimeSettings"][0]["handlerSettings"] == {
        "publicSettings": {"threshold": 85},
        "protectedSettings": None,
        "protectedSettingsCertThumbprint": None,
    }
    assert first.stat() == before
    assert installed.entry(NAME)["runtimeSettingsStatus"]["sequenceNumber"] == 1


@pytest.mark.row("extensions", 3)
def test_3_the_same_number_enables_again_and_renews_the_time_of_its_settings(installed: Bed) -> None:
    path = installed.layout.settings_file(NAME, "1.0.0", "", 0)
    os.utime(path, (1, 1))
    installed.ran()
    installed.process(single(NAME))
    assert installed.ran() == [f"enable {NAME}-1.0.0 0 -"]
    assert time.time() - os.stat(path).st_mtime < 60


@pytest.mark.row("extensions", 6, 124)
def test_6_124_uninstall_disables_uninstalls_and_removes(installed: Bed) -> None:
    installed.ran()
    installed.process(single(NAME, sequence=1, state="uninstall"))
    assert installed.verbs() == ["disable", "uninstall"]
    assert not installed.base(NAME, "1.0.0").exists()
    assert Path(installed.layout.events(NAME)).is_dir()  # what was not collected yet is told all the same
    assert installed.entries() == []


@pytest.mark.row("extensions", 7)
def test_7_uninstall_of_what_is_not_there_runs_nothing(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    assert not bed.process(single(NAME, state="uninstall")).failed
    assert (bed.ran(), bed.entries()) == ([], [])


@pytest.mark.row("extensions", 8)
def test_8_a_failing_uninstall_removes_the_handler_all_the_same(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"uninstall": "exit 1"})
    bed.process(single(NAME))
    bed.ran()
    assert not bed.process(single(NAME, state="uninstall")).failed
    assert bed.verbs() == ["disable", "uninstall"]
    assert not bed.base(NAME, "1.0.0").exists()


@pytest.mark.row("extensions", 9)
def test_9_a_failing_disable_keeps_the_handler_for_the_next_goal_state(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"disable": "[ -e ../allowed ] || exit 1"})
    bed.process(single(NAME))
    bed.ran()
    bed.process(single(NAME, state="uninstall"))
    assert bed.verbs() == ["disable"]
    assert (bed.entry(NAME)["status"], bed.entry(NAME)["code"]) == ("NotReady", 1010)
    Path(bed.layout.lib, "allowed").touch()
    bed.process(single(NAME, state="uninstall"))
    assert bed.verbs() == ["disable", "uninstall"]


@pytest.mark.row("extensions", 10, 11)
@pytest.mark.parametrize("gone", [True, False], ids=["10-version-gone", "11-manifest-unreachable"])
def test_10_11_uninstall_needs_no_manifest(installed: Bed, gone: bool) -> None:
    installed.ran()
    if gone:
        installed.published[NAME] = {}
    else:
        installed.unreachable.add(NAME)
    assert not installed.process(single(NAME, state="uninstall")).failed
    assert installed.verbs() == ["disable", "uninstall"]


@pytest.mark.row("extensions", 12)
def test_12_a_handler_without_settings_gets_an_empty_file_and_no_extension_status(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(Handler(NAME, "1.0.0"))
    assert bed.ran() == [f"install {NAME}-1.0.0 0 -", f"enable {NAME}-1.0.0 0 -"]
    assert Path(bed.layout.settings_file(NAME, "1.0.0", "", 0)).read_bytes() == b""
    assert "runtimeSettingsStatus" not in bed.entry(NAME)


@pytest.mark.row("extensions", 13, 14)
def test_13_14_what_the_goal_state_does_not_name_is_deleted_and_nothing_else(installed: Bed) -> None:
    installed.ran()
    for folder in ("events", "history", "Fabrikam.Other-2.0", "WALinuxAgent-2.15.0"):
        os.makedirs(f"{installed.layout.lib}/{folder}", exist_ok=True)
    Path(installed.layout.lib, "ManagedIdentity-1").touch()
    Path(installed.layout.lib, "Contoso.Gone__1.0.zip").touch()
    installed.process()
    assert installed.ran() == []
    assert sorted(os.listdir(installed.layout.lib)) == [
        "Fabrikam.Other-2.0",
        "ManagedIdentity-1",
        "WALinuxAgent-2.15.0",
        "events",
        "extensions",
        "history",
    ]


@pytest.mark.row("extensions", 15)
def test_15_a_lower_number_counts_as_any_other(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": 'status success "$ConfigSequenceNumber"'})
    bed.process(single(NAME, sequence=5))
    bed.process(single(NAME, sequence=0))
    assert bed.entry(NAME)["runtimeSettingsStatus"]["sequenceNumber"] == 0
    assert settings(bed.entry(NAME))["formattedMessage"]["message"] == "0"


@pytest.mark.row("extensions", 17, 18)
def test_17_18_a_configuration_error_hurts_nobody_else(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bad = single("Contoso.Test.Bad", invalid=None)
    bad = Handler(
        bad.name, bad.version, settings=bad.settings, invalid="two settings elements of one name and version"
    )
    bed.process(bad, single(NAME))
    assert (bed.entry(bad.name)["status"], bed.entry(bad.name)["code"]) == ("NotReady", -1)
    assert "[ExtensionsGoalStateError]" in bed.entry(bad.name)["formattedMessage"]["message"]
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("extensions", 20)
def test_20_the_retired_state_disabled_disables_once(installed: Bed) -> None:
    installed.ran()
    installed.process(single(NAME, state="disabled"))
    assert installed.verbs() == ["disable"]
    assert installed.state(NAME, "1.0.0") == "Installed"
    entry = installed.entry(NAME)
    assert (entry["status"], entry["formattedMessage"]["message"]) == ("NotReady", "Plugin disabled")
    installed.process(single(NAME, state="disabled"))
    assert installed.verbs() == []


@pytest.mark.row("extensions", 21)
def test_21_a_leading_slash_means_the_package(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"enableCommand": "//bin/run.sh  enable"})
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]


def test_an_unknown_state_fails_that_handler_only(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single("Contoso.Test.Odd", state="sleeping"), single(NAME))
    assert bed.entry("Contoso.Test.Odd")["code"] == -1
    assert bed.entry(NAME)["status"] == "Ready"


def test_modes_of_what_handlers_find(installed: Bed) -> None:
    base = installed.base(NAME, "1.0.0")
    modes = {
        str(path.relative_to(base)): path.stat().st_mode & 0o7777
        for path in (base, *base.rglob("*"))
        if path.parent.name != "bin"
    }
    assert modes["config"] == modes["status"] == 0o700
    assert modes["config/0.settings"] == modes["config/HandlerState"] == modes["config/HandlerStatus"] == 0o600
    assert modes["."] == 0o700, "handlers keep downloads and scripts there, and others may pass the state directory"
    assert (base / "bin/run.sh").stat().st_mode & 0o100
    environment = json.loads((base / "HandlerEnvironment.json").read_text())
    assert environment[0]["version"] == 1.0
    assert environment[0]["handlerEnvironment"]["statusFolder"] == f"{base}/status"


def test_the_environment_of_commands(installed: Bed) -> None:
    seen = installed.environment("enable")
    assert seen["AZURE_GUEST_AGENT_EXTENSION_PATH"] == str(installed.base(NAME, "1.0.0"))
    assert seen["AZURE_GUEST_AGENT_EXTENSION_VERSION"] == "1.0.0"
    assert seen["AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS"] == "168.63.129.16"
    assert seen["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "NOT_RUN"
    assert json.loads(seen["AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES"]) == [
        {"Key": "ExtensionTelemetryPipeline", "Value": "1.0"}
    ]
    assert "ConfigExtensionName" not in seen
    assert "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE" not in seen


@pytest.mark.row("guest-operations", 11)
@pytest.mark.row("field-demands", 69, 70, 73)
@pytest.mark.row("extensions", 116)
@pytest.mark.parametrize("state,code", [("enabled", 1009), ("uninstall", 1010)])
def test_116_extensions_switched_off(installed: Bed, state: str, code: int) -> None:
    installed.ran()
    installed.rules = Rules(enabled=False)
    installed.process(single(NAME, sequence=4, state=state))
    assert installed.ran() == []
    assert installed.entry(NAME)["code"] == code
    assert "Extensions.Enabled=n" in installed.entry(NAME)["formattedMessage"]["message"]
    assert installed.base(NAME, "1.0.0").exists()


@pytest.mark.row("field-demands", 62)
def test_events_around_every_command(installed: Bed) -> None:
    assert [(event, data["operation"], data.get("result")) for event, data in installed.events] == [
        ("extension-started", "install", None),
        ("extension-finished", "install", "succeeded"),
        ("extension-started", "enable", None),
        ("extension-finished", "enable", "succeeded"),
    ]


@pytest.mark.row("extensions", 5)
def test_5_the_same_goal_state_once_more_only_enables(installed: Bed) -> None:
    installed.ran()
    installed.incarnation -= 1
    installed.process(single(NAME))
    assert installed.verbs() == ["enable"]
    assert installed.fetched == [f"{NAME} 1.0.0"]


@pytest.mark.row("extensions", 16)
def test_16_settings_that_are_no_json_are_empty_under_their_number(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"})
    bad = Settings(NAME, 4, invalid="the settings are not JSON")
    bed.process(Handler(NAME, "1.0.0", settings=(bad,)))
    written = json.loads(Path(bed.layout.settings_file(NAME, "1.0.0", "", 4)).read_text())
    assert set(written["runtimeSettings"][0]["handlerSettings"].values()) == {None}
    assert bed.entry(NAME)["runtimeSettingsStatus"]["sequenceNumber"] == 4


def test_protected_settings_pass_through_as_they_are(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME, protected="MIIB==", thumbprint="8C1D"))
    written = json.loads(Path(bed.layout.settings_file(NAME, "1.0.0", "", 0)).read_text())
    assert written["runtimeSettings"][0]["handlerSettings"] == {
        "publicSettings": None,
        "protectedSettings": "MIIB==",
        "protectedSettingsCertThumbprint": "8C1D",
    }
