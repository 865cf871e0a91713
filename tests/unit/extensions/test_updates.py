"""Extensions 12.3: updates and downgrades, and every way in which they stop half-way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, kill_before, multi, settings, single
from waagent.extensions import journal
from waagent.extensions.commands import LIMITS
from waagent.extensions.journal import Journal
from waagent.extensions.plan import Update
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Handler, Settings

NAME = "Contoso.Test.Probe"
CONTINUE = {"continueOnUpdateFailure": True}


def begin(bed: Bed, old: dict[str, str] | None = None, version: str = "1.0.0") -> None:
    """Have the old version enabled, and forget its commands."""
    bed.publish(NAME, version, old)
    assert not bed.process(single(NAME, version)).failed
    bed.ran()


def update(
    bed: Bed, new: dict[str, str] | None = None, manifest: dict[str, Any] | None = None, to: str = "1.1.0"
) -> None:
    bed.publish(NAME, to, new, manifest)
    bed.process(single(NAME, to, sequence=1))


def line(verb: str, version: str) -> str:
    return f"{verb} {NAME}-{version} 1 -"


@pytest.mark.row("extensions", 36)
def test_36_an_update_in_its_order(bed: Bed) -> None:
    begin(bed)
    update(bed)
    assert bed.ran() == [
        line("disable", "1.0.0"),
        line("update", "1.1.0"),
        line("uninstall", "1.0.0"),
        line("install", "1.1.0"),
        line("enable", "1.1.0"),
    ]
    assert not bed.base(NAME, "1.0.0").exists()
    assert bed.state(NAME, "1.1.0") == "Enabled"
    assert bed.entry(NAME)["handlerVersion"] == "1.1.0"
    seen = bed.environment("update")
    assert seen["VERSION"] == "1.1.0"
    assert seen["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] == "1.0.0"
    assert seen["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "0"
    assert bed.environment("install")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "0"
    assert bed.environment("enable")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "0"


@pytest.mark.row("extensions", 37)
@pytest.mark.parametrize("mode", ["UpdateWithoutInstall", "updatewithoutinstall", "anything"])
def test_37_without_install(bed: Bed, mode: str) -> None:
    begin(bed)
    update(bed, manifest={"updateMode": mode})
    assert bed.verbs() == ["disable", "update", "uninstall", "enable"]
    assert bed.state(NAME, "1.1.0") == "Enabled"


@pytest.mark.row("extensions", 38)
def test_38_a_version_that_was_never_enabled_is_not_disabled(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "exit 1"})
    bed.process(single(NAME))
    bed.ran()
    update(bed)
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]
    assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"


@pytest.mark.row("extensions", 39)
def test_39_a_failing_disable_of_the_old_version_stops_the_update(bed: Bed) -> None:
    begin(bed, {"disable": "exit 7"})
    update(bed)
    assert bed.verbs() == ["disable"]
    entry = bed.entry(NAME)
    assert (entry["handlerVersion"], entry["status"], entry["code"]) == ("1.1.0", "NotReady", 1008)
    message = entry["formattedMessage"]["message"]
    assert message.startswith("[ExtensionUpdateError]") and "exit code 7 " in message
    assert bed.state(NAME, "1.0.0") == "Enabled"


@pytest.mark.row("extensions", 40)
@pytest.mark.parametrize("word", [True, "true", "TRUE"], ids=["40", "34-true", "34-TRUE"])
def test_40_a_tolerated_failure_of_disable_is_passed_on(bed: Bed, word: object) -> None:
    begin(bed, {"disable": "exit 7"})
    update(bed, manifest={"continueOnUpdateFailure": word})
    assert bed.verbs() == ["disable", "update", "uninstall", "install", "enable"]
    assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "7"
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("extensions", 34)
@pytest.mark.parametrize("word", ["yes", 1, None, "false"])
def test_34_other_words_than_true_are_false(bed: Bed, word: object) -> None:
    begin(bed, {"disable": "exit 7"})
    update(bed, manifest={"continueOnUpdateFailure": word})
    assert bed.verbs() == ["disable"]


@pytest.mark.row("extensions", 41)
def test_41_a_tolerated_failure_of_uninstall_is_passed_on(bed: Bed) -> None:
    begin(bed, {"uninstall": "exit 9"})
    update(bed, manifest=CONTINUE)
    assert bed.environment("install")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"
    assert bed.environment("enable")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"
    assert bed.entry(NAME)["status"] == "Ready"


def test_a_handler_without_settings_is_told_of_the_uninstall_too(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"uninstall": "exit 9"})
    bed.process(Handler(NAME, "1.0.0"))
    bed.publish(NAME, "1.1.0", manifest=CONTINUE)
    bed.process(Handler(NAME, "1.1.0"))
    assert bed.environment("enable")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"


def test_a_failing_uninstall_of_the_old_version_stops_the_update(bed: Bed) -> None:
    begin(bed, {"uninstall": "[ -e ../ready ] || exit 9"})
    update(bed)
    assert bed.verbs() == ["disable", "update", "uninstall"]
    assert (bed.entry(NAME)["code"], bed.state(NAME, "1.0.0")) == (1008, "Installed")
    Path(bed.layout.lib, "ready").touch()
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]


@pytest.mark.row("extensions", 42)
def test_42_a_tolerated_time_out_is_passed_on_as_1011(bed: Bed) -> None:
    begin(bed, {"disable": "sleep 60"})
    bed.rules = Rules(limits={**LIMITS, "disable": 0.3})
    update(bed, manifest=CONTINUE)
    assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "1011"


@pytest.mark.row("extensions", 43)
def test_43_a_failing_update_is_repeated_without_disable(bed: Bed) -> None:
    begin(bed)
    update(bed, {"update": "exit 1"})
    assert bed.verbs() == ["disable", "update"]
    assert bed.state(NAME, "1.1.0") == "FailedUpgrade"
    assert (bed.entry(NAME)["status"], bed.entry(NAME)["code"]) == ("NotReady", 1008)
    update(bed)
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]
    assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"
    assert bed.fetched == [f"{NAME} 1.0.0", f"{NAME} 1.1.0", f"{NAME} 1.1.0"]


@pytest.mark.row("extensions", 44)
def test_44_a_failing_update_is_never_tolerated(bed: Bed) -> None:
    begin(bed, {"disable": "exit 1"})
    update(bed, {"update": "exit 1"}, CONTINUE)
    assert bed.verbs() == ["disable", "update"]
    assert bed.state(NAME, "1.1.0") == "FailedUpgrade"


@pytest.mark.row("extensions", 45)
def test_45_after_a_failing_install_the_next_goal_state_installs_plainly(bed: Bed) -> None:
    begin(bed, {"uninstall": "exit 1"})
    update(bed, {"install": "exit 1"}, CONTINUE)
    assert bed.entry(NAME)["code"] == 1007
    bed.ran()
    update(bed)
    assert bed.verbs() == ["install", "enable"]
    assert bed.environment("install")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "NOT_RUN"


@pytest.mark.row("extensions", 46)
def test_46_mrseq_and_status_are_carried_over_with_their_times(bed: Bed) -> None:
    begin(bed, {"enable": "echo 0 > mrseq; status success old"})
    old = bed.base(NAME, "1.0.0")
    os.utime(old / "mrseq", (1000, 1000))
    bed.publish(NAME, "1.1.0")
    bed.process(single(NAME, "1.1.0", sequence=0))
    new = bed.base(NAME, "1.1.0")
    assert (new / "mrseq").read_text() == "0\n"
    assert (new / "mrseq").stat().st_mtime == 1000
    assert settings(bed.entry(NAME))["formattedMessage"]["message"] == "old"


@pytest.mark.row("extensions", 47)
def test_47_a_downgrade_runs_the_higher_version_s_update(bed: Bed) -> None:
    begin(bed, version="2.0.0")
    update(bed, to="1.9.0")
    assert bed.ran() == [
        line("disable", "2.0.0"),
        line("update", "2.0.0"),
        line("uninstall", "2.0.0"),
        line("install", "1.9.0"),
        line("enable", "1.9.0"),
    ]
    seen = bed.environment("update")
    assert (seen["VERSION"], seen["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"]) == ("1.9.0", "2.0.0")
    assert seen["AZURE_GUEST_AGENT_EXTENSION_VERSION"] == "2.0.0"


@pytest.mark.row("extensions", 48)
def test_48_a_failed_downgrade_is_taken_up_again(bed: Bed) -> None:
    begin(bed, {"update": "[ -e ../ready ] || exit 1"}, version="2.0.0")
    update(bed, to="1.9.0")
    assert (bed.state(NAME, "2.0.0"), bed.state(NAME, "1.9.0")) == ("Installed", "FailedUpgrade")
    Path(bed.layout.lib, "ready").touch()
    bed.ran()
    update(bed, to="1.9.0")
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]
    assert not bed.base(NAME, "2.0.0").exists()


@pytest.mark.row("extensions", 49)
def test_49_a_corrupt_package_leaves_the_old_version_running(bed: Bed) -> None:
    begin(bed)
    bed.publish_raw(NAME, "1.1.0", b"PK\x03\x04 this is no zip")
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.ran() == []
    assert (bed.entry(NAME)["handlerVersion"], bed.entry(NAME)["code"]) == ("1.1.0", 1001)
    assert "[ExtensionDownloadError]" in bed.entry(NAME)["formattedMessage"]["message"]
    assert bed.state(NAME, "1.0.0") == "Enabled"


@pytest.mark.row("extensions", 50, 51)
@pytest.mark.parametrize(
    "before,rest",
    [
        ("carry", ["update", "uninstall", "install", "enable"]),
        ("update", ["update", "uninstall", "install", "enable"]),
        ("uninstall", ["uninstall", "install", "enable"]),
        ("remove", ["install", "enable"]),
        ("install", ["install", "enable"]),
        ("enable", ["enable"]),
    ],
    ids=["50-carry", "50", "uninstall", "remove", "51", "enable"],
)
def test_50_51_a_power_cut_in_an_update_is_resumed_at_the_next_step(bed: Bed, before: str, rest: list[str]) -> None:
    begin(bed, {"disable": "exit 7", "uninstall": "exit 9"})
    bed.publish(NAME, "1.1.0", manifest=CONTINUE)
    kill_before(bed, before, single(NAME, "1.1.0", sequence=1))
    done = bed.verbs()
    assert done + rest == ["disable", "update", "uninstall", "install", "enable"]
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.verbs() == rest
    if "update" in rest:
        assert bed.environment("update")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "7"
    assert bed.environment("enable")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"
    assert not bed.base(NAME, "1.0.0").exists()
    assert bed.entry(NAME)["status"] == "Ready"
    assert Journal(bed.system, bed.layout).updates == {}


def test_a_power_cut_keeps_update_without_install(bed: Bed) -> None:
    begin(bed)
    bed.publish(NAME, "1.1.0", manifest={"updateMode": "UpdateWithoutInstall"})
    kill_before(bed, "install", single(NAME, "1.1.0", sequence=1))
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.verbs() == ["disable", "update", "uninstall", "enable"]


def test_an_update_to_another_version_than_the_interrupted_one_begins_anew(bed: Bed) -> None:
    begin(bed)
    bed.publish(NAME, "1.1.0")
    kill_before(bed, "update", single(NAME, "1.1.0", sequence=1))
    bed.ran()
    update(bed, to="1.2.0")
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]
    assert bed.environment("update")["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] == "1.0.0"


@pytest.mark.row("extensions", 52)
def test_52_a_new_version_that_cannot_have_instances(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"supportsMultipleExtensions": True})
    bed.process(multi(NAME, "1.0.0", Settings("A", 0)))
    bed.ran()
    bed.publish(NAME, "1.1.0")
    bed.process(multi(NAME, "1.1.0", Settings("A", 1)))
    assert bed.ran() == []
    assert bed.instance(NAME, "A")["code"] == -1
    assert bed.state(NAME, "1.0.0") == "Enabled"


def test_the_journal_survives_nonsense(bed: Bed) -> None:
    begin(bed)
    Path(bed.layout.journal).write_text(
        '{"updates": {"X": 3}, "turns": [], "operation": {"pair": 1}, "began": null}'
    )
    update(bed)
    assert bed.entry(NAME)["status"] == "Ready"
    Path(bed.layout.journal).write_bytes(b"\xff\x00")
    bed.process(single(NAME, "1.1.0", sequence=2))
    assert bed.entry(NAME)["status"] == "Ready"


def test_the_journal_is_read_as_it_was_written(bed: Bed) -> None:
    journal = Journal(bed.system, bed.layout)
    journal.begin("incarnation:1")
    journal.updates["X"] = Update("1", "2", {"": "7"}, True, "9")
    journal.ended("X/", "failed", "why")
    again = Journal(bed.system, bed.layout)
    assert (again.updates, again.turns, again.identity) == (journal.updates, journal.turns, "incarnation:1")
    assert os.stat(bed.layout.journal).st_mode & 0o777 == 0o600
    assert json.loads(Path(bed.layout.journal).read_text())["identity"] == "incarnation:1"


@pytest.mark.row("extensions", 126)
def test_126_a_full_disk_fails_the_operation_and_keeps_what_was_written(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from waagent.system import files

    other = "Contoso.Test.Other"
    begin(bed)
    bed.publish(other, "1.0.0")
    write = files.write_atomic

    def full(path: str, content: bytes, mode: int, owner: tuple[int, int] | None, **more: Any) -> None:
        if path.startswith(f"{bed.layout.lib}/{NAME}") and path.endswith(("HandlerState", "HandlerStatus")):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content, mode, owner, **more)

    monkeypatch.setattr(files, "write_atomic", full)
    summary = bed.process(single(NAME, state="uninstall"), single(other))
    assert [fate.result for fate in summary.failed] == ["failed"]
    assert "No space left" in summary.failed[0].message
    assert bed.state(NAME, "1.0.0") == "Enabled"
    told = bed.entry(NAME)
    assert told["status"] == "NotReady" and "No space left" in told["formattedMessage"]["message"]
    assert bed.entry(other)["status"] == "Ready"
    monkeypatch.undo()
    bed.process(single(NAME, state="uninstall"), single(other))
    assert not bed.base(NAME, "1.0.0").exists() and not os.listdir(bed.layout.spare)
    assert [entry["handlerName"] for entry in bed.entries()] == [other]


def test_a_journal_that_cannot_be_written_starts_no_command(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from waagent.errors import SystemRefused
    from waagent.system import files

    begin(bed)
    write = files.write_atomic

    def full(path: str, content: bytes, mode: int, owner: tuple[int, int] | None, **more: Any) -> None:
        if path.endswith("journal.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content, mode, owner, **more)

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(SystemRefused):
        bed.process(single(NAME, sequence=1))
    assert bed.ran() == []
    monkeypatch.undo()
    bed.process(single(NAME, sequence=1))
    assert bed.verbs() == ["enable"]


def test_only_updates_make_the_journal_wait_for_the_disk(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    durable: list[bool] = []
    save = journal.save_json

    def watched(*words: Any, **more: Any) -> None:
        durable.append(more["durable"])
        save(*words, **more)

    monkeypatch.setattr(journal, "save_json", watched)
    kept = Journal(bed.system, bed.layout)
    kept.begin("incarnation:1")
    kept.begin_update(NAME, Update("1.0.0", "1.1.0", {}))
    assert durable == [False], "its first step writes it down"
    kept.update(NAME, Update("1.0.0", "1.1.0", {"": "0"}))
    Journal(bed.system, bed.layout).begin("incarnation:2")  # another process finds the update on disk
    kept.forget_update(NAME)
    kept.save()  # that it is over has to last, too
    kept.save()
    assert durable == [False, True, True, True, False]
