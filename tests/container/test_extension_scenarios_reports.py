"""Extensions 12.4, 12.5, 12.7 and 12.8 in a booted guest: instances, order, what is reported, and who may run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bed import Bed
from bed.scene import LIB, LOGS, PYTHON, SHELL, Day, Scene, base, inner, several, single

OTHER = "Contoso.Shell.Other"


@pytest.fixture(scope="module")
def scene(bed: Bed) -> Scene:
    made = Scene(bed)
    made.offer(OTHER)
    return made


# -- instances -----------------------------------------------------------------------------------------------

ALONE, STUBBORN, IDLE, LATE = (f"Contoso.Shell.M{row}" for row in (54, 55, 60, 57))
POOR, UPDATED, AGAIN, PLAIN = (f"Contoso.Python.M{row}" for row in (56, 58, 59, 52))
MANY = {"supportsMultipleExtensions": True}
OFF = {"state": "disabled"}


@pytest.fixture(scope="module")
def instances(scene: Scene) -> Day:
    for name in (ALONE, STUBBORN, IDLE):
        scene.offer(name, manifest=MANY)
    scene.offer(LATE, manifest=MANY, do={"install": "[ -e /var/tmp/tried.sh ] || { touch /var/tmp/tried.sh; exit 1; }"})
    scene.offer(POOR, program=PYTHON, manifest=MANY)
    for version in ("1.0.0", "1.1.0"):
        scene.offer(UPDATED, version, PYTHON, manifest=MANY)
    scene.offer(AGAIN, "1.0.0", PYTHON, manifest=MANY)
    tried = "if not os.path.exists('/var/tmp/tried'):\n    open('/var/tmp/tried', 'w')\n    sys.exit(1)\n"
    scene.offer(AGAIN, "1.1.0", PYTHON, manifest=MANY, do={"update": tried})
    scene.offer(PLAIN, "1.0.0", PYTHON, manifest=MANY)
    scene.offer(PLAIN, "1.1.0", PYTHON)
    plain: dict[str, Any] = {name: {"message": name} for name in "ABC"}
    wanted = [several(name, **plain) for name in (ALONE, IDLE, LATE, UPDATED, AGAIN, PLAIN)]
    stubborn = several(STUBBORN, **{**plain, "A": {"disable.exit": 1}})
    return scene.process(*wanted, stubborn, several(POOR, **{**plain, "B": {"enable.exit": 3}}))


def names(day: Day, name: str) -> list[str]:
    return [one["runtimeSettingsStatus"]["extensionName"] for one in day.find(name)]


@pytest.mark.row("extensions", 53, 62)
@pytest.mark.parametrize("name", [ALONE, UPDATED])
def test_53_62_one_install_and_an_enable_for_each(scene: Scene, instances: Day, name: str) -> None:
    assert instances.ran(name) == [f"install {name}-1.0.0 0 A", *(f"enable {name}-1.0.0 0 {one}" for one in "ABC")]
    assert names(instances, name) == ["A", "B", "C"]
    for one in "ABC":
        assert (instances.inner(name, one)["status"], instances.told(name, one)) == ("success", one)
        assert instances.inner(name, one)["name"] == one
        assert scene.state(name, instance=one) == "enabled"
    assert scene.guest.exists(f"{LOGS}/{name}/CommandExecution_B.log")


@pytest.mark.row("extensions", 56)
def test_56_a_failing_instance_fails_alone(instances: Day) -> None:
    assert instances.inner(POOR, "B")["status"] == "error"
    assert "exit code 3 " in instances.told(POOR, "B")
    assert [instances.inner(POOR, one)["status"] for one in "AC"] == ["success", "success"]
    assert {one["status"] for one in instances.find(POOR)} == {"Ready"}


@pytest.mark.row("extensions", 57)
def test_57_a_failing_install_is_tried_again_in_the_next_turn(instances: Day) -> None:
    assert instances.verbs(LATE) == ["install", "install", "enable", "enable"]
    assert [instances.inner(LATE, one)["status"] for one in "ABC"] == ["error", "success", "success"]


@pytest.fixture(scope="module")
def changed(scene: Scene, instances: Day) -> Day:
    plain: dict[str, Any] = {name: {"message": f"{name} again"} for name in "ABC"}
    wanted = [several(name, **{**plain, "A": OFF}) for name in (ALONE, STUBBORN)]
    wanted += [several(IDLE, A=OFF, B=OFF, C=OFF), several(UPDATED, "1.1.0", **{**plain, "A": OFF, "B": OFF})]
    wanted += [several(name, version, **plain) for name, version in ((PLAIN, "1.1.0"), (POOR, "3.0.0"))]
    return scene.process(*wanted, several(AGAIN, "1.1.0", **plain))


@pytest.mark.row("extensions", 54, 55)
@pytest.mark.parametrize("name", [ALONE, STUBBORN], ids=["54", "55"])
def test_54_55_an_instance_is_disabled_alone(scene: Scene, changed: Day, name: str) -> None:
    assert [line.split()[0::3] for line in changed.ran(name)] == [["disable", "A"], ["enable", "B"], ["enable", "C"]]
    assert scene.guest.succeed(f"find {base(name)}/config {base(name)}/status -name 'A.*'") == ""
    assert names(changed, name) == ["B", "C"]
    assert {one["status"] for one in changed.find(name)} == {"Ready"}


@pytest.mark.row("extensions", 58)
def test_58_an_update_disables_all_and_enables_what_is_wanted(scene: Scene, changed: Day) -> None:
    done = [tuple(line.replace(f"{UPDATED}-", "").split()[0:2]) for line in changed.ran(UPDATED)]
    assert done == [
        *[("disable", "1.0.0")] * 3,
        ("update", "1.1.0"), ("uninstall", "1.0.0"), ("install", "1.1.0"), ("enable", "1.1.0"),
    ]  # fmt: skip
    assert changed.ran(UPDATED)[-1].split()[-1] == "C"
    assert names(changed, UPDATED) == ["C"]
    found = scene.environment("update", UPDATED, "1.1.0", "A")
    codes = json.loads(found["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"])
    assert codes == [{"extensionName": one, "exitCode": "0"} for one in "ABC"]


@pytest.mark.row("extensions", 59)
def test_59_a_failing_update_is_tried_again_without_disabling(changed: Day) -> None:
    assert changed.verbs(AGAIN) == [*["disable"] * 3, "update", "update", "uninstall", "install", "enable", "enable"]


@pytest.mark.row("extensions", 52)
def test_52_a_new_version_that_cannot_have_instances(scene: Scene, changed: Day) -> None:
    assert changed.ran(PLAIN) == []
    assert {changed.verdict(PLAIN, one) for one in "ABC"} == {("NotReady", -1)}
    assert scene.state(PLAIN) == "Enabled"


@pytest.mark.row("extensions", 61)
def test_61_a_version_that_is_not_offered(changed: Day) -> None:
    assert changed.ran(POOR) == []
    assert names(changed, POOR) == ["A", "B", "C"]
    for one in "ABC":
        told = changed.inner(POOR, one)
        assert (told["status"], told["operation"]) == ("error", "Download")
        assert "3.0.0" in told["formattedMessage"]["message"]


@pytest.mark.row("extensions", 60)
def test_60_all_instances_disabled(scene: Scene, changed: Day) -> None:
    assert changed.verbs(IDLE) == ["disable"] * 3
    assert scene.state(IDLE) == "Installed"
    assert (changed.message(IDLE), changed.entry(IDLE)["status"]) == ("Plugin disabled", "NotReady")


# -- order ---------------------------------------------------------------------------------------------------

ONE, TWO, THREE = "Contoso.Python.One", "Contoso.Shell.Two", "Contoso.Python.Three"
LATE_SUCCESS = """
if os.fork() == 0:
    os.setsid()
    time.sleep(2)
    status(wanted.get("late", "success"), "late")
    with open(NOTES + "/late", "w") as stream:
        stream.write(str(time.time()))
    os._exit(0)
"""


@pytest.fixture(scope="module")
def levels(scene: Scene) -> Scene:
    scene.offer(ONE, program=PYTHON)
    scene.offer(TWO)
    scene.offer(THREE, program=PYTHON)
    return scene


@pytest.mark.row("extensions", 63, 67)
def test_63_the_lower_level_succeeds_before_the_higher_one_starts(scene: Scene) -> None:
    name = "Contoso.Python.Late"
    scene.offer(name, program=PYTHON, do={"enable": LATE_SUCCESS})
    scene.offer(TWO)
    day = scene.process(single(TWO, level=2), single(name, level=1, status="none"))
    assert [line.split()[0] for line in day.ran()] == ["install", "enable", "install", "enable"]
    (began,) = [when for when, line in day.lines if line.startswith(f"install {TWO}")]
    assert float(scene.guest.read("/var/tmp/handlers/late")) <= began
    assert day.told(name) == "late"
    assert day.verdict(TWO) == ("Ready", 0)


@pytest.mark.row("extensions", 65, 72)
@pytest.mark.parametrize("how", [{"status": "error"}, {"enable.exit": 1}], ids=["65", "enable-fails"])
def test_65_72_a_failed_dependency_skips_what_comes_later_until_it_is_well(levels: Scene, how: dict[str, Any]) -> None:
    day = levels.process(single(TWO, level=2), single(ONE, level=1, **how))
    assert day.verbs(TWO) == []
    assert day.verdict(TWO) == ("NotReady", -1)
    assert ONE in day.message(TWO)
    day = levels.process(single(TWO, level=2), single(ONE, level=1))
    assert day.verbs(TWO)[-1] == "enable"
    assert (day.verdict(TWO), day.inner(TWO)["status"]) == (("Ready", 0), "success")
    levels.process(single(OTHER))


@pytest.mark.row("extensions", 64, 68)
def test_64_68_removals_come_first_and_in_reverse(levels: Scene) -> None:
    """What has no settings is not awaited."""
    day = levels.process({"name": ONE, "version": "1.0.0"}, single(TWO, level=2), single(THREE, level=1))
    assert [day.verdict(name) for name in (ONE, TWO, THREE)] == [("Ready", 0)] * 3
    wanted = [single(THREE, level=1, state="uninstall"), single(TWO, level=2, state="uninstall")]
    day = levels.process({"name": ONE, "version": "1.0.0"}, *wanted)
    assert [tuple(line.split("-")[0].split()) for line in day.ran()] == [
        ("disable", TWO), ("uninstall", TWO), ("disable", THREE), ("uninstall", THREE), ("enable", ONE),
    ]  # fmt: skip


@pytest.mark.row("extensions", 70)
def test_70_a_failure_of_the_highest_level_is_nobody_else_s(levels: Scene) -> None:
    wanted = [single(TWO, level=1, **{"enable.exit": 1}), single(THREE, level=1)]
    day = levels.process(single(ONE), *wanted)
    assert [day.verdict(name) for name in (ONE, TWO, THREE)] == [("Ready", 0), ("NotReady", 1009), ("Ready", 0)]


@pytest.mark.row("extensions", 69)
def test_69_a_failure_below_the_highest_level_stops_its_neighbours_too(levels: Scene) -> None:
    wanted = [single(ONE, **{"enable.exit": 1}), single(TWO), single(THREE, level=1)]
    day = levels.process(*wanted)
    assert [day.verdict(name) for name in (ONE, TWO, THREE)] == [("NotReady", 1009), ("NotReady", -1), ("NotReady", -1)]
    assert day.ran(TWO) == day.ran(THREE) == []


@pytest.mark.row("extensions", 71)
def test_71_a_level_that_is_no_number_is_none(levels: Scene) -> None:
    fault = levels.simulator.fault(
        "*type=extensionsConfig*", transform=lambda body: body.replace(b'dependencyLevel="6"', b'dependencyLevel="a6"')
    )
    day = levels.process(single(ONE, level=6), single(TWO))
    levels.simulator.clear_faults(fault.number)
    assert [line.split()[1] for line in day.ran() if line.startswith("enable")] == [f"{ONE}-1.0.0", f"{TWO}-1.0.0"]
    assert [day.verdict(name) for name in (ONE, TWO)] == [("Ready", 0)] * 2


@pytest.mark.row("extensions", 73)
def test_73_cloud_init_comes_first_whatever_becomes_of_it(levels: Scene) -> None:
    conf, program = "/etc/waagent.conf.d/60-cloud-init.conf", "/usr/local/bin/cloud-init"
    levels.guest.write(conf, "Extensions.WaitForCloudInit=y\n")
    levels.guest.write(program, '#!/bin/sh\nsleep 2\necho "$(date +%s.%N) $*" >> /var/tmp/cloud-init\nexit 1\n', 0o755)
    days = [levels.process(single(ONE)) for _ in range(2)]
    levels.guest.succeed(f"rm {conf} {program}")
    assert [day.verdict(ONE) for day in days] == [("Ready", 0)] * 2
    (asked,) = levels.guest.read("/var/tmp/cloud-init").splitlines()  # once in a boot
    assert asked.partition(" ")[2] == "status --wait"
    assert float(asked.split()[0]) < days[0].lines[0][0]


# -- status --------------------------------------------------------------------------------------------------


def document(**more: Any) -> bytes:
    told = {"operation": "Enable", "status": "success", "code": 0, **more}
    return json.dumps([{"version": 1.0, "timestampUTC": "2025-03-04T09:15:22Z", "status": told}]).encode()


def message(text: object) -> dict[str, Any]:
    return {"lang": "en-US", "message": text}


def big() -> bytes:
    subs = [{"name": f"sub {n}", "status": "success", "formattedMessage": message("s" * 11_500)} for n in range(41)]
    return document(formattedMessage=message("m" * 2000), substatus=subs)


WRITTEN = {
    "91": b"garbage here",
    "92": b'{"status": {"status": "success"}}',
    "93": document(status="Success", code=7, formattedMessage=message("hi")),
    "94": document(substatus=[{"name": "a", "status": "sleeping"}]),
    "95": document(substatus=None, formattedMessage=message("none")),
    "95b": document(substatus=[None, {"name": "a", "status": "warning", "formattedMessage": None}, None]),
    "96": big(),
    "97": document(formattedMessage=message(None), substatus=[
        {"name": None, "status": "success", "formattedMessage": message(None)},
        {"name": "big", "status": "success", "formattedMessage": message("x" * 200_000)},
    ]),
    "99": document(code="53"),
}  # fmt: skip
ABSENT, HALF = "Contoso.Shell.S90", "Contoso.Python.S98"
OLD, NONE, EMPTY = (f"Contoso.Shell.B{row}" for row in (100, 101, 102))
BEATS = {"reportHeartbeat": True}
# A bad file that is old: a fresh one may be half written.
COPIES = {
    SHELL: "cp written status/$number.status && touch -d '1 hour ago' status/$number.status; exit 0",
    PYTHON: "import shutil\nfile = 'status/%s.status' % NUMBER\nshutil.copy('written', file)\n"
    "os.utime(file, (1e9, 1e9))\nsys.exit(0)",
}
HALF_A_FILE = """
with open("status/%s.status" % NUMBER, "w") as file:
    file.write('[{"status": {"sta')
if os.fork() == 0:
    os.setsid()
    time.sleep(3)
    status("success", "complete")
    os._exit(0)
sys.exit(0)
"""


def named(row: str) -> str:
    return f"Contoso.Python.S{row}" if row in ("92", "94", "96") else f"Contoso.Shell.S{row}"


@pytest.fixture(scope="module")
def reported(scene: Scene) -> Day:
    for row, content in WRITTEN.items():
        program = PYTHON if "Python" in named(row) else SHELL
        scene.offer(named(row), program=program, do={"enable": COPIES[program]}, extra={"written": content})
    scene.offer(ABSENT)
    scene.offer(HALF, program=PYTHON, do={"enable": HALF_A_FILE})
    beat = [{"version": 1.0, "heartbeat": {"status": "Ready", "code": 0, "formattedMessage": message("alive")}}]
    scene.offer(OLD, manifest=BEATS, do={"enable": f"echo '{json.dumps(beat)}' > heartbeat.log"})
    scene.offer(NONE, manifest=BEATS)
    scene.offer(EMPTY, manifest=BEATS, do={"enable": "echo '[]' > heartbeat.log"})
    wanted = [single(name) for name in (HALF, OLD, NONE, EMPTY, OTHER, *map(named, WRITTEN))]
    return scene.process(*wanted, single(ABSENT, status="none"))


def test_whatever_one_writes_the_others_are_reported(reported: Day) -> None:
    assert (reported.verdict(OTHER), reported.inner(OTHER)["status"]) == (("Ready", 0), "success")
    for row in WRITTEN:
        assert reported.verdict(named(row)) == ("Ready", 0)


@pytest.mark.row("extensions", 90)
def test_90_no_file_is_transitioning(reported: Day) -> None:
    assert reported.verdict(ABSENT) == ("Ready", 0)
    assert (reported.inner(ABSENT)["status"], reported.inner(ABSENT)["code"]) == ("transitioning", 0)


@pytest.mark.row("extensions", 91, 92, 94)
@pytest.mark.parametrize("row, word", [("91", "garbage here"), ("92", "array"), ("94", "sleeping")])
def test_91_92_94_a_bad_file(reported: Day, row: str, word: str) -> None:
    told = reported.inner(named(row))
    assert (told["status"], told["code"]) == ("error", 1012)
    assert word in told["formattedMessage"]["message"]


@pytest.mark.row("extensions", 93, 95, 97, 99)
def test_93_95_97_99_what_is_accepted(reported: Day) -> None:
    assert (reported.inner(named("93"))["status"], reported.inner(named("93"))["code"]) == ("error", 7)
    assert reported.told(named("93")) == "hi"
    assert "substatus" not in reported.inner(named("95"))
    (sub,) = reported.inner(named("95b"))["substatus"]
    assert (sub["name"], sub["status"], sub["code"]) == ("a", "warning", 0)
    assert reported.inner(named("97"))["status"] == "success"
    assert reported.inner(named("99"))["code"] == "53"


@pytest.mark.row("extensions", 96)
def test_96_an_oversize_file_is_cut(reported: Day) -> None:
    told = reported.inner(named("96"))
    assert told["formattedMessage"]["message"] == "m" * 1024 + " ... [TRUNCATED]"
    texts = [sub["name"] + sub["formattedMessage"]["message"] for sub in told["substatus"]]
    assert texts[0] == "sub 0" + "s" * 10240 + " ... [TRUNCATED]"
    assert len(texts) == 12


@pytest.mark.row("extensions", 98)
def test_98_a_file_that_is_complete_a_little_later(scene: Scene, reported: Day) -> None:
    scene.await_entry(HALF, lambda entry: inner(entry)["status"] == "success")
    entries = [
        one
        for _, status in scene.machine.reports.statuses
        for one in status["aggregateStatus"]["handlerAggregateStatus"]
        if one["handlerName"] == HALF
    ]
    assert {inner(one)["status"] for one in entries if "runtimeSettingsStatus" in one} <= {"transitioning", "success"}


@pytest.mark.row("extensions", 100, 101, 102)
def test_100_101_102_heartbeats(scene: Scene, reported: Day) -> None:
    assert (reported.verdict(OLD), reported.message(OLD)) == (("Ready", 0), "alive")
    scene.guest.succeed(f"touch -d '601 seconds ago' {base(OLD)}/heartbeat.log")
    scene.await_entry(OLD, lambda entry: entry["status"] == "Unresponsive")
    for name in (NONE, EMPTY):
        entry = scene.await_entry(name, lambda entry: entry["status"] == "NotReady")
        assert entry["code"] == -1
    day = scene.day()
    assert day.verdict(OTHER) == ("Ready", 0)
    scene.guest.succeed(f"touch {base(OLD)}/heartbeat.log")
    scene.await_entry(OLD, lambda entry: entry["status"] == "Ready")


@pytest.mark.row("extensions", 106)
def test_106_a_record_that_was_cut_to_nothing(scene: Scene, reported: Day) -> None:
    scene.guest.succeed(f": > {base(ABSENT)}/config/HandlerStatus")
    entry = scene.await_entry(ABSENT, lambda entry: entry["status"] == "NotReady")
    assert entry["code"] == -1
    assert scene.day().verdict(OTHER) == ("Ready", 0)


@pytest.mark.row("extensions", 103)
def test_103_a_report_that_the_host_does_not_take(scene: Scene) -> None:
    fault = scene.simulator.fault("/status", service="host_plugin", status=500)
    day = scene.process(single(OTHER, message="directly"))
    scene.simulator.clear_faults(fault.number)
    assert fault.met
    assert day.told(OTHER) == "directly"


@pytest.mark.row("extensions", 104)
def test_104_a_goal_state_without_a_place_for_the_report(scene: Scene) -> None:
    fault = scene.simulator.fault("*type=extensionsConfig*", content="no-status-blob", count=1)
    day = scene.process(single(OTHER, message="found"))
    assert fault.met == 1
    assert day.told(OTHER) == "found"


@pytest.mark.row("extensions", 105)
def test_105_a_feature_that_the_agent_does_not_have(scene: Scene) -> None:
    scene.process(single(OTHER, message="as it was"))
    number = scene.day().entry(OTHER)["runtimeSettingsStatus"]["sequenceNumber"]
    day = scene.process(single(OTHER, state="uninstall"), required_features=["Teleport"])
    assert day.ran() == []
    assert (day.aggregate["status"], day.aggregate["code"]) == ("Failed", 2001)
    assert day.entry(OTHER)["runtimeSettingsStatus"]["sequenceNumber"] == number
    assert day.told(OTHER) == "as it was"
    assert scene.state(OTHER) == "Enabled"
    scene.process(single(OTHER), required_features=[])


@pytest.mark.row("extensions", 120)
def test_120_on_hold_and_released(scene: Scene) -> None:
    before = scene.process(single(OTHER)).aggregate
    name = "Contoso.Python.Held"
    scene.offer(name, program=PYTHON)
    day = scene.process(single(OTHER), single(name), on_hold=True)
    assert day.ran() == []
    assert day.find(name) == []
    assert day.aggregate == before
    day = scene.process(single(OTHER), single(name), on_hold=False)
    assert (day.verbs(OTHER), day.verbs(name)) == (["enable"], ["install", "enable"])


# -- events --------------------------------------------------------------------------------------------------

TALKS, MUMBLES = "Contoso.Python.Talks", "Contoso.Python.Mumbles"
SAYS_MUCH = """
folder = json.load(open("HandlerEnvironment.json"))[0]["handlerEnvironment"]["eventsFolder"]
event = {"Version": "1.0.0", "Timestamp": "2026-01-01T00:00:00Z", "TaskName": "Enable", "EventLevel": "Informational",
         "Message": "said", "EventPid": "1", "EventTid": "1", "OperationId": "x"}
for n in range(500):
    event["Message"] = "said %d" % n
    with open("%s/%d.json" % (folder, 1700000000 + n), "w") as file:
        json.dump([event], file)
"""
SAYS_NONSENSE = SAYS_MUCH.replace("range(500)", "range(1)") + """
del event["TaskName"]
with open(folder + "/1800000000.json", "w") as file:
    json.dump([event], file)
with open(folder + "/readme.txt", "w") as file:
    file.write("not an event")
"""


@pytest.mark.row("extensions", 121, 122, 123)
def test_121_122_123_what_handlers_want_to_be_known(scene: Scene) -> None:
    scene.offer(TALKS, program=PYTHON, do={"enable": SAYS_MUCH})
    scene.offer(MUMBLES, program=PYTHON, do={"enable": SAYS_NONSENSE})
    scene.process(single(TALKS), single(MUMBLES))
    for step in ("extension-events", "telemetry", "telemetry"):  # what one run does not send the next one does
        scene.guest.succeed(f"waagent stage periodic --only {step} --force")

    def arrived(name: str) -> set[str]:
        said = [one.parameters for one in scene.machine.reports.telemetry if one.event_id == "7"]
        return {one["Context1"] for one in said if one["EventName"] == f"{name}-1.0.0"}

    assert arrived(TALKS) == {f"said {n}" for n in range(140, 500)}  # the newest
    assert arrived(MUMBLES) == {"said 0"}
    for name in (TALKS, MUMBLES):
        assert scene.guest.succeed(f"ls -A {LOGS}/{name}/events") == ""


# -- who may run ---------------------------------------------------------------------------------------------

POLICY, SWITCH = "/etc/waagent_policy.json", "/etc/waagent.conf.d/60-who-may-run.conf"
DENIED, STAYING, TOLD = "Contoso.Python.Denied", "Contoso.Shell.Staying", "Contoso.Python.Told"
INVALID = ["nonsense", '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": "true"}}']
INVALID += ['{"policyVersion": "0.1.0", "other": 1}', '{"policyVersion": "9"}']


def allow(scene: Scene, *names: str) -> None:
    listed = {"allowListedExtensionsOnly": True, "extensions": {name: {} for name in names}}
    scene.guest.write(POLICY, json.dumps({"policyVersion": "0.1.0", "extensionPolicies": listed}))


@pytest.fixture(scope="module")
def ruled(scene: Scene, reported: Day) -> Scene:
    for name, program in ((DENIED, PYTHON), (STAYING, SHELL), (TOLD, PYTHON)):
        scene.offer(name, program=program)
    scene.process(single(STAYING), single(OTHER))
    scene.guest.write(SWITCH, "Debug.EnableExtensionPolicy=y\n")
    return scene


@pytest.mark.row("extensions", 107, 108, 109, 111)
def test_107_108_109_111_what_is_not_listed(ruled: Scene) -> None:
    allow(ruled, OTHER.upper(), TOLD)
    ruled.simulator.requests.clear()
    wanted = [single(STAYING, state="uninstall"), single(OTHER), single(DENIED, level=1), single(TOLD, level=2)]
    day = ruled.process(*wanted)
    assert (day.ran(DENIED), day.verdict(DENIED)) == ([], ("NotReady", 1009))
    assert (day.inner(DENIED)["status"], day.inner(DENIED)["code"]) == ("error", 1009)
    assert DENIED in day.message(DENIED)
    assert POLICY in day.message(DENIED)
    assert not ruled.guest.exists(f"{base(DENIED)}/HandlerManifest.json")
    places = [one.headers.get("x-ms-artifact-location", one.target) for one in ruled.simulator.requests]
    assert not [place for place in places if f"/{DENIED}__" in place]
    assert (day.ran(STAYING), day.verdict(STAYING)) == ([], ("NotReady", 1010))  # 108
    assert ruled.state(STAYING) == "Enabled"
    assert day.verdict(OTHER) == ("Ready", 0)  # 109
    assert (day.ran(TOLD), day.verdict(TOLD)) == ([], ("NotReady", -1))  # 111


@pytest.mark.row("extensions", 112)
def test_112_a_denied_handler_keeps_its_denial_and_tells_its_heartbeat(ruled: Scene) -> None:
    allow(ruled, OTHER, OLD)
    assert ruled.process(single(OTHER), single(OLD)).verdict(OLD) == ("Ready", 0)
    allow(ruled, OTHER)
    day = ruled.process(single(OTHER), single(OLD))
    assert (day.ran(OLD), day.verdict(OLD)) == ([], ("NotReady", 1009))
    assert day.message(OLD).endswith("alive")


@pytest.mark.row("extensions", 110)
@pytest.mark.parametrize("text", INVALID, ids=["no-json", "text-for-bool", "unknown-key", "version-9"])
def test_110_an_invalid_policy_refuses_everything(ruled: Scene, text: str) -> None:
    ruled.guest.write(POLICY, text)
    day = ruled.process(single(OTHER), single(DENIED))
    assert day.ran() == []
    assert [day.verdict(name) for name in (OTHER, DENIED)] == [("NotReady", 1009)] * 2
    assert [day.inner(name)["code"] for name in (OTHER, DENIED)] == [1009] * 2


@pytest.mark.row("extensions", 113, 114)
@pytest.mark.parametrize("how", ["relaxed", "off"])
def test_113_114_what_is_allowed_again_is_processed(ruled: Scene, how: str) -> None:
    if how == "relaxed":
        allow(ruled, OTHER, DENIED)
    else:
        ruled.guest.write(POLICY, "nonsense")
        ruled.guest.write(SWITCH, "Debug.EnableExtensionPolicy=n\n")
    day = ruled.process(single(OTHER), single(DENIED))
    for name in (OTHER, DENIED):
        assert (day.verdict(name), day.inner(name)["status"]) == (("Ready", 0), "success")
    assert day.verbs(DENIED)[-1] == "enable"


@pytest.mark.row("extensions", 115, 116)
def test_115_116_extensions_are_switched_off(ruled: Scene) -> None:
    name = "Contoso.Shell.M115"
    ruled.offer(name, manifest=MANY)
    ruled.guest.write(SWITCH, "Extensions.Enabled=n\n")
    day = ruled.process(single(OTHER), several(name, A={}, B={}))
    assert day.ran() == []
    assert day.verdict(OTHER) == ("NotReady", 1009)
    assert [(inner(one)["status"], inner(one)["code"]) for one in day.find(name)] == [("error", 1009)] * 2
    status = ruled.machine.reports.status
    assert status is not None
    assert status["aggregateStatus"]["guestAgentStatus"]["status"] == "Ready"
    assert ruled.state(OTHER) == "Enabled"
    ruled.guest.succeed(f"rm {SWITCH}")
    day = ruled.process(single(OTHER), several(name, A={}, B={}))
    assert (day.verdict(OTHER), day.verbs(name)) == (("Ready", 0), ["install", "enable", "enable"])
    assert ruled.guest.exists(f"{LIB}/{name}-1.0.0")


def test_the_fabric_has_not_failed(scene: Scene) -> None:
    assert not scene.simulator.errors
