"""Extensions 12.4 and 12.5: handlers with several instances, and the order among extensions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, multi, settings, single
from waagent.extensions.policy import Policy
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Handler, Settings

NAME = "Contoso.Test.Runs"
MANY = {"supportsMultipleExtensions": True}


def instances(*names: str, off: str = "", sequence: int = 0, **levels: int) -> tuple[Settings, ...]:
    return tuple(
        Settings(name, sequence, "disabled" if name in off.split() else "enabled", level=levels.get(name, 0))
        for name in names
    )


def abc(bed: Bed, scripts: dict[str, str] | None = None, **more: Any) -> None:
    bed.publish(NAME, "1.0.0", scripts, MANY)
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C")))


@pytest.mark.row("extensions", 53, 62)
def test_53_62_one_install_and_an_enable_for_each(bed: Bed) -> None:
    abc(bed, {"enable": "status success $ConfigExtensionName"})
    assert bed.ran() == [
        f"install {NAME}-1.0.0 0 A",
        f"enable {NAME}-1.0.0 0 A",
        f"enable {NAME}-1.0.0 0 B",
        f"enable {NAME}-1.0.0 0 C",
    ]
    assert [one["runtimeSettingsStatus"]["extensionName"] for one in bed.entries()] == ["A", "B", "C"]
    assert [settings(one)["name"] for one in bed.entries()] == ["A", "B", "C"]
    assert bed.environment("enable", "B")["ConfigExtensionName"] == "B"  # 62


@pytest.mark.row("extensions", 54, 55)
@pytest.mark.parametrize("script", ["true", "exit 1"], ids=["54", "55-disable-fails"])
def test_54_55_an_instance_is_disabled_alone(bed: Bed, script: str) -> None:
    abc(bed, {"disable": script, "enable": "status success ok"})
    bed.ran()
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C", off="A", sequence=1)))
    assert bed.ran() == [
        f"disable {NAME}-1.0.0 1 A",
        f"enable {NAME}-1.0.0 1 B",
        f"enable {NAME}-1.0.0 1 C",
    ]
    left = sorted(str(path.name) for path in bed.base(NAME, "1.0.0").glob("*/A.*"))
    assert left == []
    assert [one["runtimeSettingsStatus"]["extensionName"] for one in bed.entries()] == ["B", "C"]
    assert {one["status"] for one in bed.entries()} == {"Ready"}


@pytest.mark.row("extensions", 56)
def test_56_a_failing_instance_fails_alone(bed: Bed) -> None:
    abc(bed, {"enable": '[ "$ConfigExtensionName" != B ] || { echo why; exit 3; }; status success ok'})
    assert settings(bed.instance(NAME, "B"))["status"] == "error"
    assert "exit code 3 " in settings(bed.instance(NAME, "B"))["formattedMessage"]["message"]
    assert settings(bed.instance(NAME, "B"))["operation"] == "Enable"
    assert [settings(bed.instance(NAME, one))["status"] for one in "AC"] == ["success", "success"]
    assert {one["status"] for one in bed.entries()} == {"Ready"}
    bed.publish(NAME, "1.0.0")
    Path(bed.base(NAME, "1.0.0"), "bin/enable.sh").unlink()
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C")))
    assert settings(bed.instance(NAME, "B"))["status"] == "transitioning"  # what the agent wrote is withdrawn


@pytest.mark.row("extensions", 57)
def test_57_a_failing_install_is_tried_again_in_the_next_turn(bed: Bed) -> None:
    bed.publish(
        NAME,
        "1.0.0",
        {"install": "[ -e ../tried ] || { touch ../tried; exit 1; }", "enable": "status success ok"},
        MANY,
    )
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C")))
    assert bed.verbs() == ["install", "install", "enable", "enable"]
    assert settings(bed.instance(NAME, "A"))["status"] == "error"
    assert settings(bed.instance(NAME, "C"))["status"] == "success"


@pytest.mark.row("extensions", 58)
def test_58_an_update_disables_all_and_enables_what_is_wanted(bed: Bed) -> None:
    abc(bed)
    bed.ran()
    bed.publish(NAME, "1.1.0", None, MANY)
    bed.process(multi(NAME, "1.1.0", *instances("A", "B", "C", off="A B", sequence=1)))
    assert bed.ran() == [
        f"disable {NAME}-1.0.0 1 A",
        f"disable {NAME}-1.0.0 1 B",
        f"disable {NAME}-1.0.0 1 C",
        f"update {NAME}-1.1.0 1 A",
        f"uninstall {NAME}-1.0.0 1 A",
        f"install {NAME}-1.1.0 1 A",
        f"enable {NAME}-1.1.0 1 C",
    ]
    codes = json.loads(
        bed.environment("update", "A")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"]
    )
    assert codes == [{"extensionName": name, "exitCode": "0"} for name in "ABC"]
    assert "AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE" not in bed.environment("update", "A")
    assert [one["runtimeSettingsStatus"]["extensionName"] for one in bed.entries()] == ["C"]


@pytest.mark.row("extensions", 59)
def test_59_a_failing_update_is_tried_again_without_disabling(bed: Bed) -> None:
    abc(bed)
    bed.ran()
    bed.publish(NAME, "1.1.0", {"update": "[ -e ../tried ] || { touch ../tried; exit 1; }"}, MANY)
    bed.process(multi(NAME, "1.1.0", *instances("A", "B", "C", sequence=1)))
    assert bed.verbs() == ["disable"] * 3 + ["update", "update", "uninstall", "install", "enable", "enable"]


@pytest.mark.row("extensions", 60)
def test_60_all_instances_disabled(bed: Bed) -> None:
    abc(bed)
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C", off="A B C", sequence=1)))
    assert bed.state(NAME, "1.0.0") == "Installed"
    (entry,) = bed.entries()
    assert entry["formattedMessage"]["message"] == "Plugin disabled"
    assert "runtimeSettingsStatus" not in entry


@pytest.mark.row("extensions", 61)
def test_61_a_version_that_is_not_offered(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", None, MANY)
    bed.process(multi(NAME, "3.0.0", *instances("A", "B")))
    for name in "AB":
        told = settings(bed.instance(NAME, name))
        assert (told["status"], told["operation"]) == ("error", "Download")
        assert "3.0.0" in told["formattedMessage"]["message"]
    assert {one["code"] for one in bed.entries()} == {-1}


def test_uninstall_disables_every_instance_once(bed: Bed) -> None:
    abc(bed)
    bed.ran()
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C"), state="uninstall"))
    assert bed.verbs() == ["disable", "disable", "disable", "uninstall"]
    assert bed.entries() == []


@pytest.mark.row("extensions", 115)
def test_115_a_denied_handler_shows_every_instance(bed: Bed) -> None:
    bed.rules = Rules(policy=Policy("/etc/waagent_policy.json", denied=(NAME,)))
    bed.publish(NAME, "1.0.0", None, MANY)
    bed.process(multi(NAME, "1.0.0", *instances("A", "B")))
    assert [(settings(one)["status"], settings(one)["code"]) for one in bed.entries()] == [("error", 1009)] * 2


def test_a_denied_removal_is_told_of_the_handler_alone(bed: Bed) -> None:
    abc(bed, {"enable": "status success ok"})
    before = {path: path.read_text() for path in bed.base(NAME, "1.0.0").glob("status/*")}
    assert len(before) == 3
    bed.rules = Rules(enabled=False)
    bed.process(multi(NAME, "1.0.0", *instances("A", "B", "C", sequence=1), state="uninstall"))
    assert {path: path.read_text() for path in bed.base(NAME, "1.0.0").glob("status/*")} == before
    assert {one["code"] for one in bed.entries()} == {1010}


# -- order ---------------------------------------------------------------------------------------------------

ONE, TWO = "Contoso.Test.One", "Contoso.Test.Two"


def pair_of(bed: Bed, first: str, wait: float = 5400.0, **more: Any) -> list[str]:
    """Level 1 runs `first` on enable, level 2 succeeds; returns what ran."""
    bed.rules = Rules(dependency_wait=wait, dependency_poll=0.05)
    bed.publish(ONE, "1.0.0", {"enable": first})
    bed.publish(TWO, "1.0.0", {"enable": "status success two"})
    bed.process(single(TWO, level=2), single(ONE, level=1))
    return [line.split("-")[0] for line in bed.ran()]


@pytest.mark.row("extensions", 63)
def test_63_the_lower_level_succeeds_before_the_higher_one_starts(bed: Bed) -> None:
    late = "(sleep 0.5; status success one; touch ../done) & true"
    bed.publish(TWO, "1.0.0")
    assert pair_of(bed, late) == [f"install {ONE}", f"enable {ONE}", f"install {TWO}", f"enable {TWO}"]
    assert Path(bed.layout.lib, "done").stat().st_mtime <= Path(f"{bed.record}.install.-").stat().st_mtime


@pytest.mark.row("extensions", 64)
def test_64_removals_come_first_and_in_reverse(bed: Bed) -> None:
    pair_of(bed, "status success one")
    third = "Contoso.Test.Three"
    bed.publish(third, "1.0.0")
    bed.process(single(third), single(ONE, level=1, state="uninstall"), single(TWO, level=2, state="uninstall"))
    assert [line.split("-")[0] for line in bed.ran()] == [
        f"disable {TWO}", f"uninstall {TWO}", f"disable {ONE}", f"uninstall {ONE}", f"install {third}", f"enable {third}",
    ]  # fmt: skip


@pytest.mark.row("extensions", 65)
@pytest.mark.parametrize(
    "first,word",
    [("status error bad", "error"), ("exit 1", "failed")],
    ids=["65", "enable-fails"],
)
def test_65_a_failed_dependency_skips_what_comes_later(bed: Bed, first: str, word: str) -> None:
    assert pair_of(bed, first) == [f"install {ONE}", f"enable {ONE}"]
    entry = bed.entry(TWO)
    assert (entry["status"], entry["code"]) == ("NotReady", -1)
    assert ONE in entry["formattedMessage"]["message"] and word in entry["formattedMessage"]["message"]


@pytest.mark.row("extensions", 66)
def test_66_a_dependency_that_never_ends(bed: Bed) -> None:
    assert pair_of(bed, "status transitioning busy", wait=0.5) == [f"install {ONE}", f"enable {ONE}"]
    told = bed.entry(TWO)["formattedMessage"]["message"]
    assert "transitioning" in told or "did not reach a final state" in told


@pytest.mark.row("extensions", 67)
def test_67_a_late_status_counts(bed: Bed) -> None:
    ran = pair_of(bed, "(sleep 0.4; status success one) > /dev/null 2>&1 & true")
    assert ran[-1] == f"enable {TWO}"


@pytest.mark.row("extensions", 68)
def test_68_a_dependency_without_settings_is_not_awaited(bed: Bed) -> None:
    bed.publish(ONE, "1.0.0")
    bed.publish(TWO, "1.0.0")
    began = time.monotonic()
    bed.process(Handler(ONE, "1.0.0"), single(TWO, level=1))
    assert time.monotonic() - began < 5
    assert bed.entry(TWO)["status"] == "Ready"


@pytest.mark.row("extensions", 69, 70)
def test_69_70_a_failure_below_the_highest_level_stops_its_siblings_too(bed: Bed) -> None:
    third = "Contoso.Test.Three"
    bed.publish(ONE, "1.0.0", {"enable": "exit 1"})
    bed.publish(TWO, "1.0.0")
    bed.publish(third, "1.0.0")
    bed.process(single(ONE), single(TWO), single(third, level=1))
    assert [bed.entry(name)["code"] for name in (ONE, TWO, third)] == [1009, -1, -1]
    bed.process(single(ONE), single(TWO))  # all of one level: nobody else is affected
    assert bed.entry(TWO)["status"] == "Ready"


@pytest.mark.row("extensions", 72)
def test_72_what_was_skipped_is_processed_with_the_next_goal_state(bed: Bed) -> None:
    pair_of(bed, "[ -e ../ready ] && status success one || status error bad")
    assert settings_error(bed, TWO)
    Path(bed.layout.lib, "ready").touch()
    bed.process(single(TWO, level=2), single(ONE, level=1))
    assert settings(bed.entry(TWO))["status"] == "success"


def settings_error(bed: Bed, name: str) -> bool:
    path = Path(bed.layout.status_file(name, "1.0.0", "", 0))
    return bool(json.loads(path.read_text())[0]["status"]["status"] == "error")


@pytest.mark.row("extensions", 111)
def test_111_a_denied_dependency(bed: Bed) -> None:
    from waagent.extensions import policy

    bed.rules = Rules(policy=policy.Policy("/etc/waagent_policy.json", frozenset({TWO.lower()})))
    bed.publish(ONE, "1.0.0")
    bed.publish(TWO, "1.0.0")
    bed.process(single(ONE, level=1), single(TWO, level=2))
    assert [bed.entry(name)["code"] for name in (ONE, TWO)] == [1009, -1]
