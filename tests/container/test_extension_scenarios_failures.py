"""Extensions 12.2 and 12.6 in a booted guest: commands that fail, packages that do not come, handlers that misbehave.

Limits of time are the handlers' own affair here: `waagent extensions run --limit` runs the same commands in the same
scopes, and lets a test wait for seconds instead of minutes.
"""

from __future__ import annotations

import base64
import json
import random
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bed import Bed
from bed.scene import LIB, LOGS, PYTHON, SHELL, WORKER, Day, Scene, base, inner, pack, package, single

GOOD = "Contoso.Shell.Good"


@pytest.fixture(scope="module")
def scene(bed: Bed) -> Scene:
    made = Scene(bed)
    made.offer(GOOD)
    return made


def is_good(day: Day) -> bool:
    """Whether the handler beside the bad ones fared well."""
    return day.verdict(GOOD) == ("Ready", 0) and day.inner(GOOD)["status"] == "success"


def runs(scene: Scene, what: str) -> bool:
    """Whether a process with exactly these arguments is there."""
    return scene.guest.run(["pgrep", "-xf", what]).status == 0


# -- commands that fail --------------------------------------------------------------------------------------

INSTALL, PYTHON_INSTALL = "Contoso.Shell.C22", "Contoso.Python.C22"
ENABLE, PYTHON_ENABLE = "Contoso.Shell.C23", "Contoso.Python.C23"
CHILD, FLOOD, BYTES, MISSING, KEY = (f"Contoso.Python.C{row}" for row in (26, 27, 28, 32, 33))
SIGNED, GIBIBYTE = "Contoso.Shell.C29", "Contoso.Shell.Gibibyte"

LEFT_BEHIND = """
import subprocess
subprocess.Popen(["sleep", "86426"], start_new_session=True)
"""
FLOODING = """
print("x" * 5 * 1024 * 1024)
print("the reason")
sys.exit(3)
"""
NO_UTF_8 = r"""
sys.stdout.flush()
os.write(1, b"bad \xff byte")
sys.exit(1)
"""
# The address is put together here, so that it stands in no file but in what the command says.
SAYS_ADDRESS = """
echo "from https://x.blob.example/a?sv=2018&sig=SIG""NATURE here"
exit 1
"""


@pytest.fixture(scope="module")
def failed(scene: Scene) -> Day:
    for name, program in ((INSTALL, SHELL), (PYTHON_INSTALL, PYTHON), (ENABLE, SHELL), (PYTHON_ENABLE, PYTHON)):
        scene.offer(name, program=program)
    scene.offer(CHILD, program=PYTHON, do={"enable": LEFT_BEHIND})
    scene.offer(FLOOD, program=PYTHON, do={"enable": FLOODING})
    scene.offer(BYTES, program=PYTHON, do={"enable": NO_UTF_8})
    scene.offer(MISSING, program=PYTHON, manifest={"enableCommand": "nothing.py enable"})
    scene.offer(KEY, program=PYTHON, manifest={"disableCommand": None})
    scene.offer(SIGNED, do={"enable": SAYS_ADDRESS})
    install = {"install.exit": 1, "install.say": "no room"}
    wanted = [single(name, **install) for name in (INSTALL, PYTHON_INSTALL)]
    wanted += [single(name, **{"enable.exit": 52}) for name in (ENABLE, PYTHON_ENABLE)]
    others = [single(name) for name in (CHILD, FLOOD, BYTES, MISSING, KEY, SIGNED, GOOD)]
    return scene.process(*wanted, *others)


def test_failures_are_nobody_else_s(failed: Day) -> None:
    assert is_good(failed)
    assert failed.aggregate["status"] == "Success"


@pytest.mark.row("extensions", 22, 23)
def test_22_23_what_failed_is_repeated_with_the_next_goal_state(scene: Scene, failed: Day) -> None:
    for name in (INSTALL, PYTHON_INSTALL):
        assert (failed.verbs(name), failed.verdict(name)) == (["install"], ("NotReady", 1007))
        assert failed.message(name).startswith("[ExtensionOperationError]")
        assert "exit code 1 " in failed.message(name)
        assert "no room" in failed.message(name)
        assert scene.state(name) == "NotInstalled"
    for name in (ENABLE, PYTHON_ENABLE):
        assert (failed.verbs(name), failed.verdict(name)) == (["install", "enable"], ("NotReady", 1009))
        assert "exit code 52 " in failed.message(name)
        assert scene.state(name) == "Installed"
    scene.simulator.requests.clear()
    day = scene.process(*(single(name) for name in (INSTALL, PYTHON_INSTALL, ENABLE, PYTHON_ENABLE, CHILD, GOOD)))
    for name in (INSTALL, PYTHON_INSTALL):
        assert (day.verbs(name), day.verdict(name)) == (["install", "enable"], ("Ready", 0))
        assert fetched(scene, name)
    for name in (ENABLE, PYTHON_ENABLE):
        assert (day.verbs(name), day.verdict(name)) == (["enable"], ("Ready", 0))
        assert not fetched(scene, name)


def fetched(scene: Scene, name: str) -> list[str]:
    """The requests for the handler's packages, each with the service it went to."""
    found = []
    for one in scene.simulator.requests:
        place = one.headers.get("x-ms-artifact-location", one.target)
        if f"/{name}__" in place:
            found.append(one.service)
    return found


@pytest.mark.row("extensions", 26)
@pytest.mark.row("field-demands", 164)
def test_26_a_child_outlives_its_command_and_the_agent(scene: Scene, failed: Day) -> None:
    """It keeps the command's output open, and has a session of its own."""
    assert (failed.verdict(CHILD), failed.inner(CHILD)["status"]) == (("Ready", 0), "success")
    assert runs(scene, "sleep 86426")
    scene.again(lambda: scene.guest.succeed("systemctl restart waagent.service"))
    assert runs(scene, "sleep 86426")
    (first, *_) = scene.guest.succeed("pgrep -xf 'sleep 86426'").split()
    assert f"/azure-vmextensions-{CHILD}.slice/enable_" in scene.guest.read(f"/proc/{first}/cgroup")
    scene.guest.succeed("pkill -xf 'sleep 86426'")


@pytest.mark.row("extensions", 27)
def test_27_a_flood_of_output(failed: Day) -> None:
    assert failed.verdict(FLOOD) == ("NotReady", 1009)
    assert len(failed.message(FLOOD)) < 3200 + 400
    assert "the reason" in failed.message(FLOOD)


@pytest.mark.row("extensions", 28)
def test_28_output_that_is_not_utf_8(failed: Day) -> None:
    assert failed.verdict(BYTES) == ("NotReady", 1009)
    assert r"bad \xff byte" in failed.message(BYTES)


@pytest.mark.row("extensions", 29)
def test_29_the_signature_of_an_address_is_told_to_nobody(scene: Scene, failed: Day) -> None:
    assert "from https://x.blob.example/a?" in failed.message(SIGNED)
    scene.guest.fail(f"grep -rF SIGNATURE /var/log {LIB}/history {LIB}/events {LIB}/extensions /run/waagent")
    assert "SIGNATURE" not in scene.guest.journal()
    assert "SIGNATURE" not in json.dumps(failed.entries)
    assert not [one for one in scene.machine.reports.telemetry if "SIGNATURE" in str(one.parameters)]


@pytest.mark.row("extensions", 32)
def test_32_a_program_that_is_missing_is_tried_once(scene: Scene, failed: Day) -> None:
    assert failed.verdict(MISSING) == ("NotReady", 1009)
    assert "exit code 127 " in failed.message(MISSING)
    assert scene.guest.read(f"{LOGS}/{MISSING}/CommandExecution.log").count("not found") == 1


@pytest.mark.row("extensions", 33)
def test_33_a_command_that_is_missing_is_found_at_install(failed: Day) -> None:
    assert (failed.ran(KEY), failed.verdict(KEY)) == ([], ("NotReady", 1003))


@pytest.mark.row("extensions", 35)
@pytest.mark.parametrize("program", [SHELL, PYTHON])
def test_35_a_handler_deletes_its_own_directory(scene: Scene, program: str) -> None:
    """Whatever it is doing, and not only when it is uninstalled."""
    erase = 'rm -rf "$PWD"\nexit 0' if program == SHELL else "import shutil\nshutil.rmtree(os.getcwd())\nsys.exit(0)"
    names = {verb: f"Contoso.Eraser.{verb}.{program[-2:]}" for verb in ("install", "enable", "uninstall")}
    for verb, name in names.items():
        scene.offer(name, program=program, do={verb: erase})
    day = scene.process(*(single(name) for name in (*names.values(), GOOD)))
    assert is_good(day)
    day = scene.process(*(single(name, state="uninstall") for name in names.values()), single(GOOD))
    assert is_good(day)
    assert day.verbs(names["uninstall"]) == ["disable", "uninstall"]
    for name in names.values():
        assert day.find(name) == []
        assert not scene.guest.exists(base(name))


@pytest.mark.row("extensions", 31)
def test_31_a_broken_systemd_run(scene: Scene) -> None:
    name = "Contoso.Python.C31"
    scene.offer(name, program=PYTHON)
    scene.guest.write("/usr/local/sbin/systemd-run", "#!/bin/sh\necho no bus >&2\nexit 1\n", 0o755)
    day = scene.process(single(name), single(GOOD))
    scene.guest.succeed("rm /usr/local/sbin/systemd-run")
    assert (day.verbs(name), day.verdict(name)) == (["install", "enable"], ("Ready", 0))
    assert "azure-vmextensions" not in scene.guest.read(f"/var/tmp/handlers/{name}-1.0.0.enable.-.cgroup")
    assert is_good(day)


def test_35d_an_error_that_comes_later_is_the_extension_s_own(scene: Scene) -> None:
    name = "Contoso.Shell.C35d"
    scene.offer(name)
    day = scene.process(single(name), single(GOOD))
    assert day.inner(name)["status"] == "success"
    path, begun = f"{base(name)}/status/0.status", len(scene.day().lines)
    scene.guest.succeed(f"sed 's/success/error/' {path} > {path}.tmp && mv {path}.tmp {path}")
    entry = scene.await_entry(name, lambda entry: inner(entry)["status"] == "error")
    assert (entry["status"], entry["code"]) == ("Ready", 0)
    assert scene.day(begun).ran() == []


@pytest.mark.row("extensions", 30)
def test_30_a_place_where_nothing_may_run(scene: Scene) -> None:
    name = "Contoso.Shell.C30"
    scene.offer(name)
    scene.guest.succeed(f"mount --bind {LIB} {LIB} && mount -o remount,bind,noexec {LIB}")
    try:
        day = scene.process(single(name))
    finally:
        scene.guest.succeed(f"umount -l {LIB}")
    assert day.verdict(name) == ("NotReady", 1007)
    assert "exit code 126 " in day.message(name)
    assert f"{LIB} is mounted noexec" in day.message(name)
    assert scene.process(single(name), single(GOOD)).verdict(name) == ("Ready", 0)


# -- over the limit ------------------------------------------------------------------------------------------


def bench(scene: Scene, content: bytes, *words: str, old: bytes = b"") -> dict[str, Any]:
    """What `waagent extensions run` says of a package, with two seconds for every command."""
    put(scene, "/root/Contoso.Test.Bench-2.0.0.zip", content)
    if old:
        put(scene, "/root/Contoso.Test.Bench-1.0.0.zip", old)
    scene.guest.write("/root/settings.json", "{}")
    line = "cd /root && waagent extensions run Contoso.Test.Bench-2.0.0.zip --settings settings.json --limit 2"
    ran = scene.guest.run(f"{line} --wait 0 --format json {shlex.join(words)}")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def put(scene: Scene, path: str, content: bytes) -> None:
    scene.guest.write(path, content, 0o600)


HANGS = {
    SHELL: "echo begun; trap '' TERM INT HUP; sleep 86424 & setsid sleep 86425 & sleep 86424; sleep 86424",
    PYTHON: """
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("begun", flush=True)
subprocess.Popen(["sleep", "86424"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "86425"])
    os._exit(0)
time.sleep(86424)
""",
}


@pytest.mark.row("extensions", 24, 25)
@pytest.mark.row("field-demands", 164)
@pytest.mark.parametrize("verb", ["enable", "install"], ids=["24", "25"])
@pytest.mark.parametrize("program", [SHELL, PYTHON])
def test_24_25_a_command_over_its_limit_dies_with_everything_it_began(scene: Scene, program: str, verb: str) -> None:
    """It ignores SIGTERM; one child is in its process group, the other has forked twice into a session of its own."""
    began = time.monotonic()
    said = bench(scene, package(program, do={verb: HANGS[program]}))
    assert time.monotonic() - began < 20
    last = said["operations"][-1]
    assert (last["operation"], last["timed_out"], said["result"]) == (verb, True, "failed")
    (entry,) = said["status"]
    assert (entry["status"], entry["code"]) == ("NotReady", 1011)
    assert "begun" in entry["formattedMessage"]["message"]
    scene.guest.wait_until_succeeds("! pgrep -xf 'sleep 8642[45]'", 5)


@pytest.mark.row("extensions", 42)
def test_42_a_tolerated_time_out_is_passed_on_as_1011(scene: Scene) -> None:
    old = package(PYTHON, do={"disable": "time.sleep(86424)"})
    new = package(PYTHON, {"continueOnUpdateFailure": True})
    said = bench(scene, new, "--from", "Contoso.Test.Bench-1.0.0.zip", old=old)
    assert [one["operation"] for one in said["operations"]][2:] == ["disable", "update", "uninstall", "install", "enable"]
    assert said["operations"][2]["timed_out"]
    found = scene.environment("update", "Contoso.Test.Bench", "2.0.0")
    assert found["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] == "1011"


# -- handlers and goal states that do harm -------------------------------------------------------------------


def test_a_gibibyte_on_stdout(scene: Scene) -> None:
    room = f"du -sk {LIB}/extensions/running > /var/tmp/room"
    scene.offer(GIBIBYTE, do={"enable": f"head -c 1073741824 /dev/zero\necho\necho the end\nsleep 1\n{room}\nexit 3"})
    day = scene.process(single(GIBIBYTE), single(GOOD))
    assert day.verdict(GIBIBYTE) == ("NotReady", 1009)
    assert "the end" in day.message(GIBIBYTE)
    for room in (scene.guest.read("/var/tmp/room"), scene.guest.succeed(f"du -sk {LOGS}")):
        assert int(room.split()[0]) < 4 * 1024
    assert is_good(day)


def test_a_log_that_is_full(scene: Scene) -> None:
    """The logs lie on a file system of their own, which a handler fills; it was there before, as the other one was."""
    name = "Contoso.Python.Fills"
    scene.offer(name, program=PYTHON, do={"enable": FILLS})
    scene.process(single(name), single(GOOD))
    scene.guest.succeed(f"mount -t tmpfs -o size=256k tmpfs {LOGS} && mkdir {LOGS}/{name} && touch /var/tmp/fill")
    try:
        day = scene.process(single(name, message="full"), single(GOOD, message="fine"))
        assert scene.guest.succeed(f"df --output=avail {LOGS} | tail -n 1").strip() == "0"
    finally:
        scene.guest.succeed(f"umount {LOGS}")
    assert (day.verdict(name), day.told(name)) == (("Ready", 0), "full")
    assert (is_good(day), day.told(GOOD)) == (True, "fine")


FILLS = f"""
if os.path.exists("/var/tmp/fill"):
    try:
        with open("{LOGS}/Contoso.Python.Fills/own.log", "wb", 0) as log:
            while True:
                log.write(b"y" * 4096)
    except OSError:
        pass
"""

BOMB, OUTSIDE, UTF = "Contoso.Shell.Bomb", "Contoso.Shell.Outside", "Contoso.Shell.Utf"
WRONG, DOUBLE, TWIN = "Contoso.Shell.Wrong", "Contoso.Shell.Double", "Contoso.Shell.Twin"


@pytest.fixture(scope="module")
def bad(scene: Scene) -> Day:
    scene.offer(BOMB, extra={"bomb": bytes(128 * 1024 * 1024)})
    scene.offer(OUTSIDE, manifest={"enableCommand": "../../../../bin/touch /var/tmp/outside"})
    scene.offer(UTF, do={"enable": "printf '[{\"status\": {\"status\": \"\\377\"}}]' > status/0.status\nexit 0"})
    # As published handlers do it; without the key it is an error of the handler's own.
    decrypts = "ls ../0123456789ABCDEF0123456789ABCDEF01234567.prv || { status error undecryptable; exit 0; }"
    scene.offer(WRONG, do={"enable": decrypts})
    scene.offer(DOUBLE)
    scene.offer(TWIN)
    wrong = {"public": {}, "encrypted": "AAAA", "thumbprint": "0123456789ABCDEF0123456789ABCDEF01234567"}
    bare = [{"name": name, "version": "1.0.0"} for name in (DOUBLE, DOUBLE.lower())]
    wanted = [single(name) for name in (BOMB, OUTSIDE, UTF, TWIN, TWIN.lower(), GOOD)]
    return scene.process(single(WRONG, settings=[wrong]), *wanted, *bare)


def test_bad_ones_are_nobody_else_s(scene: Scene, bad: Day) -> None:
    assert is_good(bad)
    assert bad.aggregate["status"] == "Success"


def test_a_zip_bomb(scene: Scene, bad: Day) -> None:
    assert (bad.ran(BOMB), bad.verdict(BOMB)) == ([], ("NotReady", 1001))
    assert scene.guest.succeed(f"find {LIB} -size +1M -name '*omb*'") == ""


def test_a_command_outside_the_package(scene: Scene, bad: Day) -> None:
    assert (bad.ran(OUTSIDE), bad.verdict(OUTSIDE)) == ([], ("NotReady", 1003))
    assert not scene.guest.exists("/var/tmp/outside")


def test_two_handlers_of_one_name_in_different_case(bad: Day) -> None:
    """One of them runs. With settings neither does: those are matched in any case, so both have two of them."""
    assert (bad.verdict(DOUBLE), bad.verdict(DOUBLE.lower())) == (("Ready", 0), ("NotReady", -1))
    assert bad.verbs(DOUBLE) == ["install", "enable"]
    assert bad.verdict(TWIN) == bad.verdict(TWIN.lower()) == ("NotReady", -1)
    assert [bad.ran(name) for name in (DOUBLE.lower(), TWIN, TWIN.lower())] == [[], [], []]


def test_settings_for_a_certificate_that_is_not_here(scene: Scene, bad: Day) -> None:
    assert (bad.verdict(WRONG), bad.told(WRONG)) == (("Ready", 0), "undecryptable")
    settings = json.loads(scene.guest.read(f"{base(WRONG)}/config/0.settings"))["runtimeSettings"][0]["handlerSettings"]
    assert (settings["protectedSettings"], settings["protectedSettingsCertThumbprint"][:8]) == ("AAAA", "01234567")


def test_a_status_file_that_is_not_utf_8(scene: Scene, bad: Day) -> None:
    assert bad.verdict(UTF) == ("Ready", 0)
    scene.guest.succeed(f"touch -d '1 hour ago' {base(UTF)}/status/0.status")
    entry = scene.await_entry(UTF, lambda entry: inner(entry)["status"] == "error")
    assert (entry["status"], inner(entry)["code"]) == ("Ready", -1)
    assert scene.machine.reports.extension(GOOD) is not None


# -- downloads -----------------------------------------------------------------------------------------------


def manifest_of(scene: Scene, name: str, *places: str) -> str:
    """The address of a manifest that offers version 1.0.0 at these places, in this order."""
    uris = "".join(f"<Uri>{place}</Uri>" for place in places)
    text = f"<Plugin><Version>1.0.0</Version><Uris>{uris}</Uris></Plugin>"
    content = f"<PluginVersionManifest><Plugins>{text}</Plugins></PluginVersionManifest>"
    return scene.simulator.put_file(f"{name}.xml", content.encode())


@pytest.mark.row("extensions", 74, 76)
def test_74_76_what_does_not_come_directly_comes_through_the_host(scene: Scene) -> None:
    first, later = "Contoso.Shell.D74", "Contoso.Python.D76"
    scene.offer(first)
    scene.offer(later, program=PYTHON)
    scene.simulator.requests.clear()
    scene.simulator.fault("/blob/*_manifest.xml", service="blob", status=503)
    day = scene.process(single(first), single(GOOD))
    assert day.verdict(first) == ("Ready", 0)
    assert fetched(scene, first) == ["host_plugin"]  # the channel that worked is tried first
    scene.simulator.clear_faults()
    unplugged = scene.simulator.fault("/blob/*", service="blob", reset=True)
    day = scene.process(single(first), single(later), single(GOOD))
    assert day.verdict(later) == ("Ready", 0)
    assert is_good(day)
    scene.simulator.clear_faults(unplugged.number)
    scene.guest.succeed("rm /run/waagent/download-channel")


@pytest.mark.row("extensions", 77, 78)
@pytest.mark.parametrize("answer", [{"answer": "stale"}, {"status": 400}], ids=["77-moved", "78-cache"])
def test_77_78_a_host_that_stumbles_is_asked_again(scene: Scene, answer: dict[str, Any]) -> None:
    name = f"Contoso.Shell.D{''.join(answer)}"
    scene.offer(name)
    unplugged = scene.simulator.fault("/blob/*", service="blob", method="GET", reset=True)
    stumbles = scene.simulator.fault("/extensionArtifact", count=1, **answer)
    day = scene.process(single(name), single(GOOD))
    for fault in (unplugged, stumbles):
        scene.simulator.clear_faults(fault.number)
    scene.guest.succeed("rm /run/waagent/download-channel")
    assert stumbles.met == 1
    assert (day.verdict(name), is_good(day)) == (("Ready", 0), True)


@pytest.mark.row("extensions", 81)
def test_81_a_worker_is_killed_in_the_middle_of_a_download(scene: Scene) -> None:
    name = "Contoso.Python.D81"
    scene.offer(name, program=PYTHON, extra={"ballast": random.randbytes(3000)})
    trickle = scene.simulator.fault(f"*/{name}__1.0.0", drip=0.01)
    label = scene.machine.publish([single(name), single(GOOD)])
    scene.guest.wait_until_succeeds(f"test -e {LIB}/.{name}-1.0.0.fetched.part", 30)
    scene.guest.succeed(f"systemctl kill -s KILL {WORKER}")
    scene.simulator.clear_faults(trickle.number)
    scene.guest.succeed("systemctl restart waagent.service")
    day = scene.settled(label)
    assert (day.ran(name)[-2:], day.verdict(name)) == ([f"{verb} {name}-1.0.0 0 -" for verb in ("install", "enable")], ("Ready", 0))
    assert scene.guest.succeed(f"ls -A {LIB} | grep {name}").split() == [f"{name}-1.0.0"]


MOVED, GONE, NOWHERE, CUT = "Contoso.Shell.D75", "Contoso.Shell.D79", "Contoso.Python.D79", "Contoso.Python.D80"
STAGED, SPOILT, CLIMBS, NESTED = "Contoso.Shell.D82", "Contoso.Shell.D83", "Contoso.Shell.D84", "Contoso.Shell.D86"
EMPTY, ROOTED, NEWEST = "Contoso.Shell.D87", "Contoso.Python.D84", "Contoso.Shell.D89"


@pytest.fixture(scope="module")
def loaded(scene: Scene) -> Day:
    put_file = scene.simulator.put_file
    good, lost = put_file("good.zip", package()), scene.simulator.blob_url + "/files/lost"
    moved = [lost + ".xml", manifest_of(scene, MOVED, lost + ".zip", good)]
    gone = [manifest_of(scene, GONE, lost + "1.zip", lost + "2.zip")]
    whole = package(PYTHON)
    cut = [manifest_of(scene, CUT, put_file("cut1.zip", whole), put_file("cut2.zip", whole))]
    # Whichever of the two is asked for first gives half of it. What is lost is lost for the host, too.
    scene.simulator.fault("/blob/files/cut*.zip", count=1, transform=lambda body: body[: len(body) // 2])
    scene.simulator.fault("/extensionArtifact", status=404)
    put(scene, f"{LIB}/{STAGED}__1.0.0.zip", scene.offer(STAGED, extra={"staged": b"1"}))
    scene.offer(SPOILT)
    put(scene, f"{LIB}/{SPOILT}__1.0.0.zip", whole[:99])
    scene.offer(CLIMBS, extra={"../../../../var/tmp/climbed": b"1"})
    scene.offer(ROOTED, program=PYTHON, extra={"/var/tmp/climbed": b"1"})
    body = {f"{verb}Command": "sub/x.sh" for verb in ("install", "uninstall", "update", "enable", "disable")}
    text = b"\xef\xbb\xbf" + json.dumps([{"handlerManifest": body}]).encode()
    scene.simulator.add_package(pack({"sub/HandlerManifest.json": text, "sub/x.sh": b"#!/bin/sh\n"}), NESTED, "1.0.0")
    scene.simulator.add_package(pack({"x.sh": b"#!/bin/sh\n"}), EMPTY, "1.0.0")
    for version in ("4.0.0.0", "4.0.0.1", "4.1.0.0", "5.0"):
        scene.offer(NEWEST, version)
    scene.simulator.requests.clear()
    wanted = [single(name) for name in (STAGED, SPOILT, CLIMBS, ROOTED, NESTED, EMPTY, GOOD)]
    wanted += [single(MOVED, locations=moved), single(GONE, locations=gone), single(CUT, locations=cut)]
    day = scene.process(*wanted, single(NOWHERE, locations=[lost + "3.xml"]), single(NEWEST, "4.0"))
    scene.simulator.clear_faults()
    return day


@pytest.mark.row("extensions", 75)
def test_75_the_second_address_is_good(loaded: Day) -> None:
    assert (loaded.verbs(MOVED), loaded.verdict(MOVED)) == (["install", "enable"], ("Ready", 0))


@pytest.mark.row("extensions", 79)
def test_79_nothing_to_be_had(scene: Scene, loaded: Day) -> None:
    for name, code, kind in ((GONE, 1001, "[ExtensionDownloadError]"), (NOWHERE, -1, "[ExtensionError]")):
        assert (loaded.ran(name), loaded.verdict(name)) == ([], ("NotReady", code))
        assert kind in loaded.message(name)
        left = scene.guest.succeed(f"cd {LIB} && find . -path '*{name}*' -type f").split()
        assert set(left) <= {f"./{name}-1.0.0/config/{file}" for file in ("HandlerState", "HandlerStatus")}
    assert is_good(loaded)


@pytest.mark.row("extensions", 80)
def test_80_half_a_package_is_not_used(scene: Scene, loaded: Day) -> None:
    assert (loaded.verbs(CUT), loaded.verdict(CUT)) == (["install", "enable"], ("Ready", 0))
    asked = sorted(one.target for one in scene.simulator.requests if one.target.startswith("/blob/files/cut"))
    assert asked == ["/blob/files/cut1.zip", "/blob/files/cut2.zip"]
    assert scene.guest.succeed(f"ls -A {LIB} | grep '^\\..*{CUT}' || true") == ""


@pytest.mark.row("extensions", 82, 83)
def test_82_83_packages_that_the_image_brought(scene: Scene, loaded: Day) -> None:
    for name in (STAGED, SPOILT):
        assert (loaded.verbs(name), loaded.verdict(name)) == (["install", "enable"], ("Ready", 0))
    assert (fetched(scene, STAGED), len(fetched(scene, SPOILT))) == ([], 1)
    assert scene.guest.exists(f"{base(STAGED)}/staged")
    assert not scene.guest.exists(f"{LIB}/{SPOILT}__1.0.0.zip")


@pytest.mark.row("extensions", 84)
@pytest.mark.parametrize("name", [CLIMBS, ROOTED])
def test_84_a_package_that_leads_out_of_its_directory(scene: Scene, loaded: Day, name: str) -> None:
    assert (loaded.ran(name), loaded.verdict(name)) == ([], ("NotReady", 1001))
    assert not scene.guest.exists("/var/tmp/climbed")
    assert scene.guest.succeed("find / -xdev -name climbed") == ""


@pytest.mark.row("extensions", 86, 87)
def test_86_87_where_the_manifest_is(scene: Scene, loaded: Day) -> None:
    assert loaded.verdict(NESTED) == ("Ready", 0)
    assert scene.guest.read(f"{base(NESTED)}/HandlerManifest.json")[0] == "["
    assert loaded.verdict(EMPTY) == ("NotReady", -1)
    assert "HandlerManifest.json" in loaded.message(EMPTY)


@pytest.mark.row("extensions", 89)
def test_89_the_highest_version_that_fits(loaded: Day) -> None:
    assert (loaded.entry(NEWEST)["handlerVersion"], loaded.verdict(NEWEST)) == ("4.0.0.1", ("Ready", 0))


@pytest.mark.row("extensions", 117, 118, 119)
def test_117_118_119_signatures_that_are_not_good_are_noted(scene: Scene) -> None:
    """The root that they are to lead up to is the administrator's."""
    folder = scene.bed.directory

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "root.pem", "-days", "1", "-subj", "/CN=Root")

    def sign(content: bytes) -> str:
        (folder / "zip").write_bytes(content)
        words = ["-signer", "root.pem", "-inkey", "key", "-outform", "DER", "-out", "signature"]
        openssl("cms", "-sign", "-binary", "-in", "zip", *words)
        return base64.b64encode((folder / "signature").read_bytes()).decode()

    scene.guest.write("/etc/waagent/extension-root.pem", (folder / "root.pem").read_bytes())
    conf = "/etc/waagent.conf.d/60-signatures.conf"
    scene.guest.write(conf, "Debug.EnableSignatureValidation=y\n")
    kinds = {"Good": "1.0.0", "Forged": "1.0.0", "Renamed": "9.9"}
    signing = {kind: {"publisher": "Contoso.Signed", "type": kind, "version": said} for kind, said in kinds.items()}
    content = {kind: scene.offer(f"Contoso.Signed.{kind}", signing=signing[kind]) for kind in kinds}
    content["Forged"] += b"x"
    day = scene.process(*(single(f"Contoso.Signed.{kind}", signature=sign(content[kind])) for kind in kinds))
    marked = {kind: scene.guest.exists(f"{base(f'Contoso.Signed.{kind}')}/package_validated") for kind in kinds}
    assert marked == {"Good": True, "Forged": False, "Renamed": False}
    assert {day.verdict(f"Contoso.Signed.{kind}") for kind in kinds} == {("Ready", 0)}
    log = scene.guest.read("/var/log/waagent.log")
    assert "Contoso.Signed.Forged: its signature is not good" in log
    assert "Contoso.Signed.Renamed: signingInfo names version '9.9'" in log
    # An openssl as of version 1.0, which cannot leave the time out of account.
    old = '#!/bin/sh\ncase "$*" in *-no_check_time*) echo unknown option >&2; exit 1;; esac\nexec openssl "$@"\n'
    scene.guest.write("/usr/local/bin/old-openssl", old, 0o755)
    scene.guest.write(conf, "Debug.EnableSignatureValidation=y\nOS.OpensslPath=/usr/local/bin/old-openssl\n")
    unchecked = scene.offer("Contoso.Signed.Unchecked", signing={**signing["Good"], "type": "Unchecked"})
    day = scene.process(single("Contoso.Signed.Unchecked", signature=sign(unchecked)))
    scene.guest.succeed(f"rm {conf}")
    assert day.verdict("Contoso.Signed.Unchecked") == ("Ready", 0)
    assert not scene.guest.exists(f"{base('Contoso.Signed.Unchecked')}/package_validated")


@pytest.fixture
def small_disk(scene: Scene) -> Iterator[None]:
    """For a moment the agent's state lies on a file system of its own, with 80 MiB to spare."""
    scene.guest.succeed(f"mount -t tmpfs -o size=150m tmpfs /mnt && cp -a {LIB}/. /mnt && chmod 711 /mnt")
    scene.guest.succeed(f"head -c 70M /dev/zero > /mnt/ballast && mount --bind /mnt {LIB} && umount /mnt")
    yield
    scene.guest.succeed(f"umount -l {LIB}")


@pytest.mark.row("extensions", 85)
def test_85_a_package_that_is_too_large_for_the_disk(scene: Scene, small_disk: None) -> None:
    name = "Contoso.Shell.D85"
    # Bigger than what is free, and not packed so tightly that it counts as a bomb.
    scene.offer(name, extra={"ballast": bytes(90 * 1024 * 1024) + random.randbytes(1024 * 1024)})
    day = scene.process(single(name), single(GOOD))
    assert (day.ran(name), day.verdict(name)) == ([], ("NotReady", 1001))
    assert scene.guest.succeed(f"ls -A {LIB} | grep {name}").split() == [f"{name}-1.0.0"]
    assert scene.guest.succeed(f"ls -A {base(name)}").split() == ["config", "status"]
    assert is_good(day)
    scene.guest.succeed(f"rm {LIB}/ballast")
    assert scene.process(single(name), single(GOOD)).verdict(name) == ("Ready", 0)


FILLS_THE_DISK = """
if os.path.exists("../ballast"):
    try:
        with open("fill", "wb", 0) as file:
            while True:
                file.write(b"y" * 4096)
    except OSError:
        sys.exit(0)
"""


@pytest.mark.row("extensions", 126)
def test_126_a_handler_fills_the_disk(scene: Scene, small_disk: None) -> None:
    name = "Contoso.Python.D126"
    scene.offer(name, program=PYTHON, do={"enable": FILLS_THE_DISK})
    label = scene.machine.publish([single(name)])
    scene.guest.wait_until_succeeds(f"test -e {base(name)}/fill && ! systemctl is-active -q {WORKER}")
    assert scene.state(name) == "Installed"
    told = scene.machine.reports.extension(name)
    assert told is not None
    assert told["status"] == "NotReady" and "No space left on device" in told["formattedMessage"]["message"]
    log = scene.guest.read("/var/log/waagent.log")
    assert f"cannot write {base(name)}/config/HandlerState: No space left on device" in log
    scene.guest.succeed(f"rm {LIB}/ballast {base(name)}/fill")
    scene.settled(label)
    day = scene.process(single(name), single(GOOD))
    assert (day.verbs(name), day.verdict(name)) == (["enable"], ("Ready", 0))
    assert is_good(day)


def test_the_fabric_has_not_failed(scene: Scene) -> None:
    assert not scene.simulator.errors
