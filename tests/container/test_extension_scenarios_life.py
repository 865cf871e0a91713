"""Extensions 12.1 and 12.3 in a booted guest: handlers in shell and in Python from their install to their end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import pytest
from bed import Bed
from bed.scene import LIB, LOGS, PYTHON, SHELL, Day, Scene, base, package, single

BOTH = {"Contoso.Shell.Life": SHELL, "Contoso.Python.Life": PYTHON}
both = pytest.mark.parametrize("name", list(BOTH))


@pytest.fixture(scope="module")
def scene(bed: Bed) -> Scene:
    made = Scene(bed)
    for name, program in BOTH.items():
        made.offer(name, program=program)
    return made


def times(scene: Scene, path: str) -> float:
    return float(scene.guest.succeed(["stat", "-c", "%.9Y", path]))


# -- the life of a handler -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def born(scene: Scene) -> Day:
    return scene.process(*(single(name, message=f"this is {name}") for name in BOTH))


@pytest.mark.row("extensions", 1)
@both
def test_1_a_handler_is_downloaded_installed_and_enabled(scene: Scene, born: Day, name: str) -> None:
    assert born.ran(name) == [f"install {name}-1.0.0 0 -", f"enable {name}-1.0.0 0 -"]
    assert scene.state(name) == "Enabled"
    assert born.verdict(name) == ("Ready", 0)
    assert born.entry(name)["runtimeSettingsStatus"]["sequenceNumber"] == 0
    assert (born.inner(name)["status"], born.told(name)) == ("success", f"this is {name}")
    assert born.aggregate["status"] == "Success"


@both
def test_what_a_command_finds(scene: Scene, born: Day, name: str) -> None:
    """Extensions 3.3, 3.5, 3.6, 2.2."""
    found = scene.environment("enable", name)
    assert found["AZURE_GUEST_AGENT_EXTENSION_PATH"] == found["PWD"] == base(name)
    assert found["AZURE_GUEST_AGENT_EXTENSION_VERSION"] == "1.0.0"
    assert found["AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS"] == "168.63.129.16"
    assert found["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "NOT_RUN"
    assert json.loads(found["AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES"])
    assert "ConfigExtensionName" not in found
    modes = scene.guest.succeed(f"cd {base(name)} && stat -c '%a' config status {LOGS}/{name}/events {LOGS}/{name}")
    assert modes.split() == ["700", "700", "700", "755"]
    (environment,) = json.loads(scene.guest.read(f"{base(name)}/HandlerEnvironment.json"))
    assert (environment["name"], environment["version"]) == (name, 1.0)
    settings = json.loads(scene.guest.read(f"{base(name)}/config/0.settings"))
    inner = settings["runtimeSettings"][0]["handlerSettings"]
    assert (inner["protectedSettings"], inner["protectedSettingsCertThumbprint"]) == (None, None)


@pytest.mark.row("extensions", 2, 3)
def test_2_3_another_number_and_the_same_once_more_only_enable(scene: Scene, born: Day) -> None:
    first = {name: times(scene, f"{base(name)}/config/0.settings") for name in BOTH}
    day = scene.process(*(single(name, message="second") for name in BOTH))
    for name in BOTH:
        assert day.ran(name) == [f"enable {name}-1.0.0 1 -"]
        assert day.entry(name)["runtimeSettingsStatus"]["sequenceNumber"] == 1
        assert day.told(name) == "second"
        assert times(scene, f"{base(name)}/config/0.settings") == first[name]
    before = {name: times(scene, f"{base(name)}/config/1.settings") for name in BOTH}
    day = scene.process(*(single(name, message="second") for name in BOTH))
    for name in BOTH:
        assert day.ran(name) == [f"enable {name}-1.0.0 1 -"]
        assert times(scene, f"{base(name)}/config/1.settings") > before[name]


@pytest.mark.row("extensions", 5)
def test_5_a_restart_of_the_agent_enables_once_more(scene: Scene, born: Day) -> None:
    scene.simulator.requests.clear()
    day = scene.again(lambda: scene.guest.succeed("systemctl restart waagent.service"))
    assert [day.verbs(name) for name in BOTH] == [["enable"], ["enable"]]
    places = [one.headers.get("x-ms-artifact-location", one.target) for one in scene.simulator.requests]
    assert not [place for place in places if "__1.0.0" in place]


@pytest.mark.row("extensions", 15)
def test_15_a_number_that_goes_back(scene: Scene, born: Day) -> None:
    scene.process(*(single(name, sequence=5, message="five") for name in BOTH))
    day = scene.process(*(single(name, sequence=0, message="anew") for name in BOTH))
    for name in BOTH:
        assert day.ran(name) == [f"enable {name}-1.0.0 0 -"]
        assert day.entry(name)["runtimeSettingsStatus"]["sequenceNumber"] == 0
        assert day.told(name) == "anew"


@pytest.mark.row("extensions", 4)
def test_4_without_a_change_nothing_runs_and_the_report_goes_on(scene: Scene, born: Day) -> None:
    before = scene.machine.reports.status
    assert before is not None
    begun = len(scene.day().lines)
    scene.machine.wait_for("status", 90)  # the watcher's own, after the worker's
    now = scene.machine.wait_for("status", 90)
    assert now["timestampUTC"] > before["timestampUTC"]
    assert now["aggregateStatus"]["handlerAggregateStatus"]
    assert scene.day(begun).lines == []


@pytest.mark.row("extensions", 6, 7, 14, 124)
def test_6_7_14_124_a_removed_handler_leaves_its_logs_and_what_is_not_its_own(scene: Scene, born: Day) -> None:
    foreign = ["events/note.txt", "history/note", "ManagedIdentity-abc.json", "notes.txt", "Own-folder/file"]
    for path in foreign:
        scene.guest.write(f"{LIB}/{path}", "mine")
    for name in BOTH:
        scene.guest.write(f"{LOGS}/{name}/own.log", "said")
    strange = "Contoso.Shell.Never"
    scene.offer(strange)
    day = scene.process(*(single(name, state="uninstall") for name in (*BOTH, strange)))
    for name in BOTH:
        assert day.verbs(name) == ["disable", "uninstall"]
        assert scene.guest.run(f"ls -d {LIB}/{name}*").out == ""
        assert scene.guest.succeed(f"ls {LOGS}/{name}").split() == ["CommandExecution.log", "events", "own.log"]
    assert (day.entries, day.ran(strange)) == ([], [])
    assert day.aggregate["status"] == "Success"
    assert [path for path in foreign if not scene.guest.exists(f"{LIB}/{path}")] == []


# -- odd goal states, and odd ends ---------------------------------------------------------------------------

FAILS, STAYS, GONE, DEAF = (f"Contoso.Shell.{word}" for word in ("UninstallFails", "Stays", "Gone", "Deaf"))
PLAIN, LEGACY, SLASH, LOST = (f"Contoso.Python.{word}" for word in ("Plain", "Legacy", "Slash", "Lost"))


@pytest.fixture(scope="module")
def odd(scene: Scene) -> Day:
    scene.offer(FAILS, do={"uninstall": "exit 1"})
    scene.offer(STAYS, do={"disable": "[ -e /var/tmp/cured ] || exit 1"})
    for name in (GONE, DEAF):
        scene.offer(name)
    for name in (PLAIN, LEGACY, LOST):
        scene.offer(name, program=PYTHON)
    lines = {f"{verb}Command": f"/handle.py {verb}" for verb in ("install", "enable", "disable")}
    scene.offer(SLASH, program=PYTHON, manifest=lines)
    wanted = [single(name) for name in (FAILS, STAYS, GONE, DEAF, LEGACY, SLASH, LOST)]
    return scene.process(*wanted, {"name": PLAIN, "version": "1.0.0"})


@pytest.mark.row("extensions", 12)
def test_12_a_handler_without_settings(scene: Scene, odd: Day) -> None:
    assert odd.ran(PLAIN) == [f"install {PLAIN}-1.0.0 0 -", f"enable {PLAIN}-1.0.0 0 -"]
    assert scene.guest.succeed(f"stat -c %s {base(PLAIN)}/config/0.settings") == "0\n"
    assert scene.environment("enable", PLAIN)["ConfigSequenceNumber"] == "0"
    assert odd.verdict(PLAIN) == ("Ready", 0)
    assert "runtimeSettingsStatus" not in odd.entry(PLAIN)


@pytest.mark.row("extensions", 21)
def test_21_a_command_line_with_a_slash_in_front(odd: Day) -> None:
    assert odd.verbs(SLASH) == ["install", "enable"]
    assert odd.inner(SLASH)["status"] == "success"


@pytest.fixture(scope="module")
def ended(scene: Scene, odd: Day) -> Day:
    """All of them are removed, one is switched off in the old way, one is left out; two manifests have changed."""
    packages = scene.simulator.blobs.packages
    del packages[GONE, "1.0.0"]
    scene.offer(GONE, "2.0.0")
    nowhere = [scene.simulator.blob_url + "/files/nowhere.xml"]
    wanted = [single(name, state="uninstall") for name in (FAILS, STAYS, GONE)]
    deaf = single(DEAF, state="uninstall", locations=nowhere)
    return scene.process(*wanted, deaf, single(LEGACY, state="disabled"), {"name": PLAIN, "version": "1.0.0"}, single(SLASH))


@pytest.mark.row("extensions", 8, 10, 11)
@pytest.mark.parametrize("name", [FAILS, GONE, DEAF], ids=["8-uninstall-fails", "10-not-offered", "11-no-manifest"])
def test_8_10_11_what_does_not_keep_a_handler_from_going(scene: Scene, ended: Day, name: str) -> None:
    assert ended.verbs(name) == ["disable", "uninstall"]
    assert ended.find(name) == []
    assert not scene.guest.exists(base(name))


@pytest.mark.row("extensions", 13)
def test_13_what_the_goal_state_does_not_name_goes_without_a_word(scene: Scene, ended: Day) -> None:
    assert ended.ran(LOST) == []
    assert not scene.guest.exists(base(LOST))


@pytest.mark.row("extensions", 20)
def test_20_the_state_disabled_of_old(scene: Scene, ended: Day) -> None:
    assert ended.verbs(LEGACY) == ["disable"]
    assert scene.state(LEGACY) == "Installed"
    assert (ended.verdict(LEGACY), ended.message(LEGACY)) == (("NotReady", 0), "Plugin disabled")


@pytest.mark.row("extensions", 9)
def test_9_a_failing_disable_keeps_a_handler_until_the_next_goal_state(scene: Scene, ended: Day) -> None:
    assert ended.verbs(STAYS) == ["disable"]
    assert ended.verdict(STAYS) == ("NotReady", 1010)
    assert scene.guest.exists(f"{base(STAYS)}/HandlerManifest.json")
    scene.guest.succeed("touch /var/tmp/cured")
    day = scene.process(single(STAYS, state="uninstall"))
    assert day.verbs(STAYS) == ["disable", "uninstall"]
    assert day.find(STAYS) == []
    assert not scene.guest.exists(base(STAYS))


@pytest.mark.row("extensions", 16, 17, 18, 19)
def test_16_17_18_19_settings_that_are_not_as_agreed(scene: Scene) -> None:
    prose, twice, other, case, good = (f"Contoso.Shell.{word}" for word in ("Prose", "Twice", "Other", "Case", "Good"))
    names = (prose, twice, other, case, good)
    for name in names:
        scene.offer(name)

    def spoil(body: bytes) -> bytes:
        head, settings, tail = re.split(r"(?<=<PluginSettings>)(.*)(?=</PluginSettings>)", body.decode(), flags=re.S)
        found = {name: re.search(rf'<Plugin name="{name}".*?</Plugin>', settings, re.S) for name in names}
        texts = {name: match[0] for name, match in found.items() if match}
        texts[prose] = re.sub(r"(<RuntimeSettings[^>]*>).*(</RuntimeSettings>)", r"\1no JSON\2", texts[prose], flags=re.S)
        texts[twice] *= 2
        texts[other] = texts[other].replace('version="1.0.0"', 'version="1.0.7"')
        texts[case] = texts[case].replace(case, case.upper())
        return f"{head}{''.join(texts.values())}{tail}".encode()

    fault = scene.simulator.fault("*type=extensionsConfig*", transform=spoil)
    day = scene.process(*(single(name, sequence=3, message="read") for name in names))
    scene.simulator.clear_faults(fault.number)
    assert fault.met
    assert day.ran(prose)[-1] == f"enable {prose}-1.0.0 3 -"
    settings = json.loads(scene.guest.read(f"{base(prose)}/config/3.settings"))
    assert settings["runtimeSettings"][0]["handlerSettings"]["publicSettings"] is None
    for name in (twice, other):
        assert (day.ran(name), day.verdict(name)) == ([], ("NotReady", -1))
    for name in (case, good):
        assert (day.verdict(name), day.told(name)) == (("Ready", 0), "read")


# -- updates -------------------------------------------------------------------------------------------------

CONTINUE = {"continueOnUpdateFailure": True}
WHOLE = ["disable", "update", "uninstall", "install", "enable"]


class Case(NamedTuple):
    """One row: how the old version and the new one behave, by their settings and the new one's manifest."""

    program: str = SHELL
    old: Mapping[str, int] = {}
    new: Mapping[str, int] = {}
    manifest: Optional[Mapping[str, Any]] = None
    versions: tuple[str, str] = ("1.0.0", "1.1.0")


CASES = {
    "Contoso.Shell.U36": Case(),
    "Contoso.Python.U36": Case(PYTHON),
    "Contoso.Python.U37": Case(PYTHON, manifest={"updateMode": "UpdateWithoutInstall"}),
    "Contoso.Shell.U38": Case(old={"enable.exit": 1}),
    "Contoso.Python.U39": Case(PYTHON, old={"disable.exit": 7}, manifest={"continueOnUpdateFailure": "yes"}),
    "Contoso.Shell.U40": Case(old={"disable.exit": 7}, manifest={"continueOnUpdateFailure": "True"}),
    "Contoso.Python.U41": Case(PYTHON, old={"uninstall.exit": 9}, manifest=CONTINUE),
    "Contoso.Shell.U43": Case(new={"update.exit": 1}),
    "Contoso.Python.U44": Case(PYTHON, old={"disable.exit": 1}, new={"update.exit": 1}, manifest=CONTINUE),
    "Contoso.Shell.U45": Case(old={"uninstall.exit": 1}, new={"install.exit": 1}, manifest=CONTINUE),
    "Contoso.Python.U47": Case(PYTHON, versions=("2.0.0", "1.9.0")),
    "Contoso.Shell.U48": Case(old={"update.exit": 1}, versions=("2.0.0", "1.9.0")),
    "Contoso.Shell.U49": Case(),
}
CARRIED = "Contoso.Shell.U46"


@pytest.fixture(scope="module")
def updated(scene: Scene) -> Day:
    """Every handler at its old version, then every one at its new one."""
    for name, case in CASES.items():
        scene.offer(name, case.versions[0], case.program)
        scene.offer(name, case.versions[1], case.program, manifest=case.manifest)
    scene.offer(CARRIED, do={"enable": "echo 4 > mrseq; touch -d @1000000000 mrseq"})
    scene.offer(CARRIED, "1.1.0")
    broken = package()
    for account in ("primary", "secondary"):
        scene.simulator.fault(f"*/{account}/packages/Contoso.Shell.U49__1.1.0", transform=lambda body: broken[:100])
    old = [single(name, case.versions[0], sequence=0, **case.old) for name, case in CASES.items()]
    scene.process(*old, single(CARRIED, sequence=4, message="old"))
    new = [single(name, case.versions[1], sequence=1, **case.new) for name, case in CASES.items()]
    day = scene.process(*new, single(CARRIED, "1.1.0", sequence=4, status="none"))
    scene.simulator.clear_faults()
    return day


def ran(day: Day, name: str) -> list[str]:
    return [f"{line.split()[0]} {line.split()[1].rpartition('-')[2]}" for line in day.ran(name)]


@pytest.mark.row("extensions", 36)
@pytest.mark.parametrize("name", ["Contoso.Shell.U36", "Contoso.Python.U36"])
def test_36_an_update_in_its_order(scene: Scene, updated: Day, name: str) -> None:
    assert ran(updated, name) == ["disable 1.0.0", "update 1.1.0", "uninstall 1.0.0", "install 1.1.0", "enable 1.1.0"]
    assert {line.split()[2] for line in updated.ran(name)} == {"1"}
    assert not scene.guest.exists(base(name))
    assert (updated.entry(name)["handlerVersion"], updated.inner(name)["status"]) == ("1.1.0", "success")
    found = scene.environment("update", name, "1.1.0")
    assert (found["VERSION"], found["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"]) == ("1.1.0", "1.0.0")
    assert found["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "0"
    for verb in ("install", "enable"):
        assert scene.environment(verb, name, "1.1.0")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "0"


@pytest.mark.row("extensions", 37)
def test_37_without_install(updated: Day) -> None:
    assert ran(updated, "Contoso.Python.U37") == ["disable 1.0.0", "update 1.1.0", "uninstall 1.0.0", "enable 1.1.0"]
    assert updated.verdict("Contoso.Python.U37") == ("Ready", 0)


@pytest.mark.row("extensions", 38)
def test_38_a_version_that_was_never_enabled_is_not_disabled(scene: Scene, updated: Day) -> None:
    name = "Contoso.Shell.U38"
    assert updated.verbs(name) == WHOLE[1:]
    assert scene.environment("update", name, "1.1.0")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"


@pytest.mark.row("extensions", 34, 39)
def test_34_39_a_failing_disable_of_the_old_version_stops_the_update(scene: Scene, updated: Day) -> None:
    name = "Contoso.Python.U39"
    assert ran(updated, name) == ["disable 1.0.0"]
    assert (updated.entry(name)["handlerVersion"], updated.verdict(name)) == ("1.1.0", ("NotReady", 1008))
    assert "[ExtensionUpdateError]" in updated.message(name)
    assert "exit code 7 " in updated.message(name)
    assert scene.state(name) == "Enabled"


@pytest.mark.row("extensions", 34, 40)
def test_34_40_a_tolerated_failure_of_disable_is_passed_on(scene: Scene, updated: Day) -> None:
    name = "Contoso.Shell.U40"
    assert (updated.verbs(name), updated.verdict(name)) == (WHOLE, ("Ready", 0))
    assert scene.environment("update", name, "1.1.0")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "7"


@pytest.mark.row("extensions", 41)
def test_41_a_tolerated_failure_of_uninstall_is_passed_on(scene: Scene, updated: Day) -> None:
    name = "Contoso.Python.U41"
    assert (updated.verbs(name), updated.verdict(name)) == (WHOLE, ("Ready", 0))
    for verb in ("install", "enable"):
        assert scene.environment(verb, name, "1.1.0")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "9"


@pytest.mark.row("extensions", 44)
def test_44_a_failing_update_is_never_tolerated(scene: Scene, updated: Day) -> None:
    name = "Contoso.Python.U44"
    assert (updated.verbs(name), updated.verdict(name)) == (["disable", "update"], ("NotReady", 1008))
    assert scene.state(name, "1.1.0") == "FailedUpgrade"


@pytest.mark.row("extensions", 46)
def test_46_mrseq_and_status_are_carried_over_with_their_times(scene: Scene, updated: Day) -> None:
    new = base(CARRIED, "1.1.0")
    assert scene.guest.succeed(f"cat {new}/mrseq; stat -c %Y {new}/mrseq") == "4\n1000000000\n"
    assert (updated.verdict(CARRIED), updated.told(CARRIED)) == (("Ready", 0), "old")


@pytest.mark.row("extensions", 47)
def test_47_a_downgrade_runs_the_higher_version_s_update(scene: Scene, updated: Day) -> None:
    name = "Contoso.Python.U47"
    assert ran(updated, name) == ["disable 2.0.0", "update 2.0.0", "uninstall 2.0.0", "install 1.9.0", "enable 1.9.0"]
    assert (updated.entry(name)["handlerVersion"], updated.verdict(name)) == ("1.9.0", ("Ready", 0))


@pytest.mark.row("extensions", 49)
def test_49_a_corrupt_package_leaves_the_old_version_running(scene: Scene, updated: Day) -> None:
    name = "Contoso.Shell.U49"
    assert updated.ran(name) == []
    assert (updated.entry(name)["handlerVersion"], updated.verdict(name)) == ("1.1.0", ("NotReady", 1001))
    assert scene.state(name) == "Enabled"


@pytest.mark.row("extensions", 43, 45, 48)
def test_43_45_48_the_next_goal_state_goes_on_where_it_can(scene: Scene, updated: Day) -> None:
    late, poor, lower = "Contoso.Shell.U43", "Contoso.Shell.U45", "Contoso.Shell.U48"
    assert (updated.verbs(late), updated.verdict(late)) == (["disable", "update"], ("NotReady", 1008))
    assert scene.state(late, "1.1.0") == "FailedUpgrade"
    assert (updated.verbs(poor), updated.verdict(poor)) == (WHOLE[:-1], ("NotReady", 1007))
    assert (ran(updated, lower), updated.verdict(lower)) == (["disable 2.0.0", "update 2.0.0"], ("NotReady", 1008))
    scene.guest.succeed(f"sed -i 's/update.exit/x/' {base(lower, '2.0.0')}/config/0.settings")  # it will not fail again
    day = scene.process(*(single(name, "1.1.0", sequence=2) for name in (late, poor)), single(lower, "1.9.0", sequence=2))
    assert ran(day, lower) == ["update 2.0.0", "uninstall 2.0.0", "install 1.9.0", "enable 1.9.0"]
    assert not scene.guest.exists(base(lower, "2.0.0"))
    assert ran(day, late) == ["update 1.1.0", "uninstall 1.0.0", "install 1.1.0", "enable 1.1.0"]
    assert scene.environment("update", late, "1.1.0")["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "NOT_RUN"
    assert ran(day, poor) == ["install 1.1.0", "enable 1.1.0"]
    assert scene.environment("install", poor, "1.1.0")["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] == "NOT_RUN"
    assert [day.verdict(name) for name in (late, poor, lower)] == [("Ready", 0)] * 3


HANGS_IN_UPDATE = "[ -e /var/tmp/updating ] || { touch /var/tmp/updating; sleep 600; }"
HANGS_IN_INSTALL = """
if not os.path.exists("/var/tmp/installing"):
    open("/var/tmp/installing", "w").close()
    time.sleep(600)
"""


@pytest.mark.row("extensions", 50, 51)
def test_50_51_a_power_cut_in_an_update(scene: Scene, updated: Day) -> None:
    """After the old version was disabled; after its directory is gone."""
    early, late = "Contoso.Shell.U50", "Contoso.Python.U51"
    for version in ("1.0.0", "1.1.0"):
        scene.offer(early, version, do={"update": HANGS_IN_UPDATE})
    scene.offer(late, "1.0.0", PYTHON)
    scene.offer(late, "1.1.0", PYTHON, do={"install": HANGS_IN_INSTALL})
    scene.process(*(single(name) for name in (early, late)))
    begun = len(scene.day().lines)
    label = scene.machine.publish([single(name, "1.1.0") for name in (early, late)])
    for mark in ("updating", "installing"):
        scene.guest.wait_until_succeeds(f"test -e /var/tmp/{mark}", 60)
        scene.guest.kill()
        scene.guest.boot()
    day = scene.settled(label, begun)
    whole = ["disable 1.0.0", "update 1.1.0", "uninstall 1.0.0", "install 1.1.0", "enable 1.1.0"]
    assert ran(day, early)[:6] == [*whole[:1], "update 1.1.0", *whole[1:]]
    assert ran(day, late) == [*whole[:4], "install 1.1.0", "enable 1.1.0"]
    for name in (early, late):
        assert (day.entry(name)["handlerVersion"], day.verdict(name)) == ("1.1.0", ("Ready", 0))
        assert not scene.guest.exists(base(name))


def test_the_fabric_has_no_complaint(scene: Scene) -> None:
    assert not scene.simulator.violations
    assert not scene.simulator.errors
