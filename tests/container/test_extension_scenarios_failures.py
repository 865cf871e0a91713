"""Extensions 12.2 in a booted guest: commands that fail, handlers and goal states that do harm.

Limits of time are the handlers' own affair here: `waagent extensions run --limit` runs the same commands in the same
scopes, and lets a test wait for seconds instead of minutes.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import pytest
from bed import Bed
from bed.scene import GOOD, LIB, LOGS, PYTHON, SHELL, Day, Scene, base, inner, package, single


@pytest.fixture(scope="module")
def scene(bed: Bed) -> Scene:
    made = Scene(bed)
    made.offer(GOOD)
    return made


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
    assert failed.is_good()
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
        assert scene.fetched(name)
    for name in (ENABLE, PYTHON_ENABLE):
        assert (day.verbs(name), day.verdict(name)) == (["enable"], ("Ready", 0))
        assert not scene.fetched(name)


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
    assert day.is_good()
    day = scene.process(*(single(name, state="uninstall") for name in names.values()), single(GOOD))
    assert day.is_good()
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
    assert day.is_good()


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
    scene.put("/root/Contoso.Test.Bench-2.0.0.zip", content)
    if old:
        scene.put("/root/Contoso.Test.Bench-1.0.0.zip", old)
    scene.guest.write("/root/settings.json", "{}")
    line = "cd /root && waagent extensions run Contoso.Test.Bench-2.0.0.zip --settings settings.json --limit 2"
    ran = scene.guest.run(f"{line} --wait 0 --format json {shlex.join(words)}")
    found: dict[str, Any] = json.loads(ran.out)
    return found


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
    assert day.is_good()


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
    assert (day.is_good(), day.told(GOOD)) == (True, "fine")


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
    assert bad.is_good()
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


def test_the_fabric_has_not_failed(scene: Scene) -> None:
    assert not scene.simulator.errors
