"""waagent extensions: what it shows of a machine, what a retry does, and packages run without a fabric."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Said, Waagent
from tests.unit.extensions.conftest import Bed, multi, pack, single
from tests.unit.runner.conftest import TOP, Machine
from waagent.cli.__main__ import main
from waagent.extensions.layout import LIB, LOGS, Layout
from waagent.fabric.desired import Settings

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"
RUN = """#!/bin/sh
echo "$1 of $(basename "$PWD")"
env > "$PWD/../env.$1"
[ ! -e "$1.sh" ] || . "./$1.sh"
"""
STATUS = """printf '[{"status": {"operation": "Enable", "status": "%s", "code": %s,
    "formattedMessage": {"lang": "en-US", "message": "%s"}}}]' "$@" > "status/$ConfigSequenceNumber.status"
"""
# Where the flags begin of every entry of a zip file, in its directory and beside its content.
ENCRYPTED = re.compile(rb"(PK\x01\x02.{4}|PK\x03\x04..)\0", re.DOTALL)
SUCCESS = "set -- success 0 hello\n" + STATUS


@pytest.fixture
def bed(machine: Machine) -> Bed:
    """Extensions of the machine that `waagent` looks at."""
    made = Bed(machine.root.parent)
    made.layout = Layout(f"{machine.root}{LIB}", f"{machine.root}{LOGS}")
    os.makedirs(made.layout.lib, exist_ok=True)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """waagent extensions run, on this machine: the handlers need its programs."""

    def said(*words: str) -> Said:
        capsys.readouterr()
        try:
            status = main(["extensions", "run", *words])
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        told = capsys.readouterr()
        return Said(status, told.out, told.err)

    return said


def make(
    folder: Path, scripts: Mapping[str, str], version: str = "1.0.0", *, multi: bool = False, **top: Any
) -> str:
    verbs = ("install", "uninstall", "update", "enable", "disable")
    body: dict[str, Any] = {f"{verb}Command": f"run.sh {verb}" for verb in verbs}
    body["supportsMultipleExtensions"] = multi
    files = {"HandlerManifest.json": json.dumps([{"handlerManifest": body, **top}]).encode(), "run.sh": RUN.encode()}
    files.update({f"{verb}.sh": text.encode() for verb, text in scripts.items()})
    path = folder / f"{NAME}-{version}.zip"
    path.write_bytes(pack(files))
    return str(path)


# -- list, show, logs ----------------------------------------------------------------------------------------


def test_list_shows_every_handler_with_its_status(bed: Bed, waagent: Waagent) -> None:
    assert waagent("extensions", "list").out == "no extensions\n"
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"})
    bed.publish(OTHER, "2.0.0", {"install": "echo broken; exit 3"})
    bed.process(single(NAME), single(OTHER, "2.0.0"))
    said = waagent("extensions", "list")
    assert said.status == 0
    head, first, second = said.out.splitlines()
    assert head.split() == ["NAME", "VERSION", "STATE", "HANDLER", "EXTENSION", "MESSAGE"]
    assert first.split() == [NAME, "1.0.0", "Enabled", "Ready", "success", "fine"]
    assert second.split()[:5] == [OTHER, "2.0.0", "NotInstalled", "NotReady", "(1007)"]
    whole = waagent("extensions", "list", "--format", "json").json()
    assert whole["schema"] == 1
    assert whole["goal_state"]["identity"] == "incarnation:1"
    assert [entry["status"] for entry in whole["extensions"]] == ["Ready", "NotReady"]


@pytest.mark.row("field-demands", 149)
def test_row_149_mounts_that_keep_handlers_from_running_are_told(machine: Machine, waagent: Waagent) -> None:
    mounts = machine.root / "proc/self/mounts"
    mounts.parent.mkdir(parents=True, exist_ok=True)
    mounts.write_text("a / ext4 rw 0 0\nb /var ext4 rw,noexec 0 0\nc /tmp tmpfs rw,nosuid,noexec 0 0\n")
    said = waagent("extensions", "list")
    first, second, third = said.err.splitlines()
    assert "/var is mounted noexec, so no handler can run from /var/lib/waagent: mount it with exec, or set Lib.Dir" in first
    assert "/tmp is mounted noexec; handlers that unpack programs into /tmp fail" in second
    assert "/var is mounted noexec; handlers that unpack programs into /var/tmp fail" in third
    assert len(waagent("extensions", "list", "--format", "json").json()["problems"]) == 3
    mounts.write_text("a / ext4 rw 0 0\n")
    assert waagent("extensions", "list").err == ""


def test_show_takes_the_last_part_of_a_name_in_any_case(bed: Bed, waagent: Waagent) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"}, {"supportsMultipleExtensions": True})
    bed.process(multi(NAME, "1.0.0", Settings("Alpha", 3), Settings("Beta", 4)))
    said = waagent("extensions", "show", "probe")
    assert said.status == 0
    assert f"{NAME} 1.0.0: Ready" in said.out
    assert "settings Alpha 3: success" in said.out
    assert f"on disk: 1.0.0 Enabled, enabled: Alpha, Beta, {LIB}/{NAME}-1.0.0" in said.out
    shown = waagent("extensions", "show", NAME, "--format", "json").json()["extension"]
    assert [one["instance"] for one in shown["settings"]] == ["Alpha", "Beta"]
    assert shown["update"] is None


def test_a_name_that_is_not_there_or_not_one(bed: Bed, waagent: Waagent) -> None:
    for name in (NAME, "Fabrikam.Probe"):
        bed.publish(name, "1.0.0")
    bed.process(single(NAME), single("Fabrikam.Probe"))
    for action in ("show", "logs", "retry"):
        said = waagent("extensions", action, "nobody")
        assert (said.status, said.out) == (1, "")
        assert "no extension here" in said.err
    said = waagent("extensions", "show", "Probe")
    assert said.status == 1
    assert "Fabrikam.Probe" in said.err
    assert waagent("extensions", "show").status == 2


def test_logs_shows_the_end_of_each_file(bed: Bed, waagent: Waagent) -> None:
    bed.publish(NAME, "1.0.0", {"install": "echo one; echo two", "enable": "status success fine"})
    bed.process(single(NAME))
    Path(bed.layout.log(NAME), "own.log").write_text("first\nlast\n")
    said = waagent("extensions", "logs", NAME, "--lines", "1")
    assert said.status == 0
    assert said.out.index("CommandExecution.log") < said.out.index("own.log")
    assert "last" in said.out
    assert "first" not in said.out
    files = waagent("extensions", "logs", NAME, "--format", "json").json()["files"]
    assert any("two" in line for line in files[0]["lines"])


# -- retry ---------------------------------------------------------------------------------------------------


def test_only_the_named_handler_is_processed_again(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"install": '[ -e "$BASE/../cure" ]', "enable": "status success fine"})
    bed.publish(OTHER, "1.2.0", {"enable": "status success fine"})
    desired = bed.desired(single(NAME), single(OTHER, "1"))
    assert bed.engine().process(desired).failed
    Path(bed.layout.lib, "cure").touch()
    bed.ran()
    summary = bed.engine().process(desired, only=NAME)
    assert [(fate.label, fate.result) for fate in summary.fates] == [(NAME, "succeeded")]
    assert {line.split()[1] for line in bed.ran()} == {f"{NAME}-1.0.0"}
    assert {entry["handlerName"]: entry["status"] for entry in bed.entries()} == {NAME: "Ready", OTHER: "Ready"}
    assert bed.entry(OTHER)["handlerVersion"] == "1.2.0"


def test_retry_without_a_goal_state_fails_and_says_why(bed: Bed, machine: Machine, waagent: Waagent) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    vendor = machine.root / "usr/lib/waagent/modules/periodic"
    vendor.mkdir(parents=True)
    for module in ("20-extensions.py", "30-status.py"):
        shutil.copy(TOP / "modules/periodic" / module, vendor)
    said = waagent("extensions", "retry", NAME)
    assert said.status == 1
    assert "no goal state" in said.err


# -- check-policy --------------------------------------------------------------------------------------------


def test_check_policy(bed: Bed, machine: Machine, waagent: Waagent) -> None:
    assert waagent("extensions", "check-policy").status == 2
    policy = machine.root / "etc/waagent_policy.json"
    rules = {"allowListedExtensionsOnly": True, "extensions": {NAME: {"signatureRequired": True}}}
    policy.write_text(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": rules}))
    for name in (NAME, OTHER):
        bed.publish(name, "1.0.0")
    bed.process(single(NAME), single(OTHER))
    said = waagent("extensions", "check-policy")
    assert said.status == 0
    assert f"{NAME}: allowed, has to be signed" in said.out
    assert f"{OTHER}: denied" in said.out
    assert "set Policy.Enabled=y" in said.out
    policy.write_text('{"policyVersion": "0.1.0", "extensionPolicies": {"allowListed": true}}')
    said = waagent("extensions", "check-policy", str(policy), "--format", "json")
    assert said.status == 1
    assert not said.json()["valid"]
    assert "allowListed" in said.json()["error"]


def test_check_policy_tells_of_names_that_nobody_has(machine: Machine, waagent: Waagent) -> None:
    policy = machine.root / "etc/waagent_policy.json"
    rules = {"allowListedExtensionsOnly": True, "extensions": {"Contoso.*": {}, NAME: {}}}
    policy.write_text(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": rules}))
    told = "no handler can have the name 'contoso.*' (only deniedExtensions takes patterns)"
    assert f"note: {told}\n" in waagent("extensions", "check-policy", "--extension", "Contoso.Thing").out
    assert waagent("extensions", "check-policy", "--format", "json").json()["notes"] == [told]


def test_an_option_may_stand_before_the_argument(machine: Machine, waagent: Waagent) -> None:
    (machine.root / "policy").write_text('{"policyVersion": "0.1.0"}')
    said = waagent("extensions", "check-policy", "--extension", "A.B", str(machine.root / "policy"))
    assert (said.status, "A.B: allowed" in said.out) == (0, True), said.err


def test_a_python_module_that_is_not_there_is_named(waagent: Waagent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "configobj", None)
    said = waagent("extensions", "check-policy")
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "the Python module configobj is not installed" in said.err


@pytest.mark.row("field-demands", 66)
def test_check_policy_tells_why_for_handlers_that_are_asked_about(bed: Bed, machine: Machine, waagent: Waagent) -> None:
    policy = machine.root / "etc/waagent_policy.json"
    rules = {"deniedExtensions": ["Contoso.Test.*"], "extensions": {"A.B": {"signatureRequired": True}}}
    policy.write_text(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": rules}))
    bed.publish("A.B", "1.0.0")
    bed.process(single("A.B"))
    said = waagent("extensions", "check-policy", "--extension", NAME, "--extension", "a.b")
    assert said.status == 0
    head, first, second, third, _ = said.out.splitlines()
    assert head == "/etc/waagent_policy.json: nothing wrong; allows every extension but Contoso.Test.*"
    where = "/etc/waagent_policy.json (extensionPolicies.deniedExtensions names 'Contoso.Test.*')"
    assert first == f"    {NAME}: denied: it is in the deny list of {where}"
    assert second == "    a.b: allowed, has to be signed"
    assert third.strip().startswith("1.0.0 is here unchecked")
    told = waagent("extensions", "check-policy", "--extension", NAME, "--format", "json").json()["extensions"]
    assert [(one["name"], one["allowed"], where in one["why"]) for one in told] == [(NAME, False, True)]
    Path(bed.layout.validated("A.B", "1.0.0")).touch()
    assert "unchecked" not in waagent("extensions", "check-policy").out


@pytest.mark.row("field-demands", 68)
def test_row_68_check_policy_tells_of_the_image_s(machine: Machine, waagent: Waagent) -> None:
    image = machine.root / "usr/lib/waagent/extension-policy.json"
    rules = {"allowListedExtensionsOnly": True, "extensions": {NAME: {}}}
    image.write_text(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": rules}))
    said = waagent("extensions", "check-policy")
    assert (said.status, "allows contoso" in said.out, "not applied" in said.out) == (0, True, False)
    (machine.root / "etc/waagent_policy.json").write_text('{"policyVersion": "0.1.0"}')
    assert "extension-policy.json holds as well and cannot be relaxed" in waagent("extensions", "check-policy").out


# -- run -----------------------------------------------------------------------------------------------------


def test_run_shows_each_operation_and_the_status(tmp_path: Path, run: Callable[..., Said]) -> None:
    package = make(tmp_path, {"enable": SUCCESS + "echo working >&2"})
    (tmp_path / "settings").write_text('{"name": "Ada"}')
    said = run(package, "--settings", str(tmp_path / "settings"), "--in", str(tmp_path))
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("install 1.0.0: exit code 0 after ")
    assert f"    install of {NAME}-1.0.0" in lines
    assert "    working" in lines
    assert lines.count("    [stdout]") == 2 and lines.count("    [stderr]") == 1  # install said nothing there
    assert "handler: Ready, code 0: Plugin enabled" in lines
    assert "extension: success, code 0: hello" in lines
    assert lines[-1] == f"{NAME} 1.0.0: succeeded"
    assert not list(tmp_path.glob("waagent-extension-*"))


def test_run_as_json_with_everything_and_the_tree_kept(tmp_path: Path, run: Callable[..., Said]) -> None:
    package = make(tmp_path, {"enable": SUCCESS})
    (tmp_path / "settings").write_text("{}")
    verbs = "install,enable,disable,uninstall"
    words = ("--settings", str(tmp_path / "settings"), "--operation", verbs, "--sequence", "7")
    said = run(package, *words, "--keep", "--format", "json", "--in", str(tmp_path))
    report = said.json()
    assert said.status == 0
    assert [one["operation"] for one in report["operations"]] == verbs.split(",")
    assert {one["exit_code"] for one in report["operations"]} == {0}
    assert report["status"][0]["runtimeSettingsStatus"]["sequenceNumber"] == 7
    base = Path(report["tree"], "lib", f"{NAME}-1.0.0")
    assert json.loads((base / "config/7.settings").read_text())["runtimeSettings"]
    assert "ConfigSequenceNumber=7" in (base.parent / "env.enable").read_text()
    assert (base.parent.parent / "log" / NAME / "CommandExecution.log").exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_protected_settings_are_found_and_decrypted_as_on_azure(tmp_path: Path, run: Callable[..., Said]) -> None:
    decrypt = """
json() { python3 -c "import json,sys; print(json.load(open('config/0.settings'))['runtimeSettings'][0]['handlerSettings']['$1'])"; }
THUMB=$(json protectedSettingsCertThumbprint)
[ "$(openssl x509 -in ../$THUMB.crt -noout -fingerprint -sha1 | tr -d : | sed 's/.*=//')" = "$THUMB" ] || exit 8
json protectedSettings | base64 -d | openssl smime -inform DER -decrypt -recip ../$THUMB.crt -inkey ../$THUMB.prv
"""
    package = make(tmp_path, {"enable": decrypt + SUCCESS})
    (tmp_path / "protected").write_text('{"secret": "only for the handler"}')
    said = run(package, "--protected", str(tmp_path / "protected"), "--keep", "--in", str(tmp_path), "--format", "json")
    assert said.status == 0, said.out
    report = said.json()
    assert "only for the handler" in report["operations"][1]["output"]
    settings = Path(report["tree"], "lib", f"{NAME}-1.0.0", "config", "0.settings").read_text()
    assert "only for" not in settings
    assert json.loads(settings)["runtimeSettings"][0]["handlerSettings"]["publicSettings"] is None


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ({"install": "exit 51"}, "exit code 51"),
        ({"enable": "sleep 9"}, "over its limit"),
        ({"enable": "set -- error 4 sorry\n" + STATUS}, "extension: error, code 4: sorry"),
        ({"enable": "true"}, "extension: transitioning"),
    ],
)
def test_run_fails_when_the_handler_does(
    tmp_path: Path, run: Callable[..., Said], scripts: dict[str, str], expected: str
) -> None:
    package = make(tmp_path, scripts)
    (tmp_path / "settings").write_text("{}")
    words = ("--settings", str(tmp_path / "settings"), "--in", str(tmp_path), "--limit", "1", "--wait", "0.5")
    said = run(package, *words)
    assert said.status == 1
    assert expected in said.out
    assert said.out.splitlines()[-1].endswith("failed") or "note:" in said.out


def test_a_handler_has_the_variables_of_an_agent_not_those_of_the_terminal(
    tmp_path: Path, run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What works here only because of a PATH or a proxy of its author's fails on every machine."""
    for name, value in (("PATH", "/opt/mine:/usr/bin:/bin"), ("https_proxy", "http://proxy:3128"), ("LANG", "C.UTF-8")):
        monkeypatch.setenv(name, value)
    assert run(make(tmp_path, {}), "--in", str(tmp_path), "--keep").status == 0
    (shown,) = tmp_path.glob("waagent-extension-*/lib/env.install")
    found = dict(line.split("=", 1) for line in shown.read_text().splitlines())
    assert found["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert found["LANG"] == "C.UTF-8" and "https_proxy" not in found
    assert os.environ["https_proxy"] == "http://proxy:3128"


def test_run_says_what_it_has_waited_for(tmp_path: Path, run: Callable[..., Said]) -> None:
    (tmp_path / "settings").write_text("{}")
    package = make(tmp_path, {"enable": "true"})
    said = run("--settings", str(tmp_path / "settings"), "--in", str(tmp_path), "--wait", "0.3", package)
    assert said.status == 1
    assert "note: neither success nor error within 0.3 s after enable (--wait)\n" in said.out


def test_run_goes_through_an_update(tmp_path: Path, run: Callable[..., Said]) -> None:
    old = make(tmp_path, {})
    new = make(tmp_path, {"update": 'echo "$AZURE_GUEST_AGENT_UPDATING_FROM_VERSION to $VERSION"'}, "1.1.0")
    said = run(new, "--from", old, "--in", str(tmp_path), "--format", "json")
    assert said.status == 0, said.out
    ran = [(one["operation"], one["version"]) for one in said.json()["operations"]]
    assert ran == [
        ("install", "1.0.0"), ("enable", "1.0.0"), ("disable", "1.0.0"), ("update", "1.1.0"),
        ("uninstall", "1.0.0"), ("install", "1.1.0"), ("enable", "1.1.0"),
    ]  # fmt: skip
    assert "1.0.0 to 1.1.0" in said.json()["operations"][3]["output"]


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ((), 2, "needs a package"),
        (("/nonexistent.zip",), 2, "No such file"),
        ((__file__,), 2, "no zip file"),
        (("ZIP", "--operation", "reset"), 2, "'reset' is none of"),
        (("ZIP", "--operation", "update"), 2, "--from OLD.zip"),
        (("ZIP", "--from", "ZIP"), 2, "to itself"),
        (("ZIP", "--settings", "/nonexistent"), 2, "No such file"),
        (("ZIP", "--settings", "ZIP"), 2, "settings"),
        (("ZIP", "--name", "../x"), 2, "cannot be the name"),
        (("ZIP", "--in", "/nonexistent"), 1, "see --in"),
        (("ZIP", "--instance", "../x"), 2, "'../x' cannot be the name of a file"),
        (("ZIP", "--sequence", "-1"), 2, "--sequence cannot be negative"),
        (("ZIP", "--limit", "-1"), 2, "--limit cannot be negative"),
    ],
)
def test_run_says_what_is_wrong_with_what_it_was_given(
    tmp_path: Path, run: Callable[..., Said], words: tuple[str, ...], status: int, expected: str
) -> None:
    package = make(tmp_path, {})
    said = run(*(package if word == "ZIP" else word for word in words))
    assert said.status == status
    assert expected in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("verbs", "told"),
    [
        ("uninstall", "nothing was there to uninstall; put install before it"),
        ("disable", "nothing was there to disable; put install,enable before it"),
        ("install,disable", "nothing was there to disable; put install,enable before it"),
        ("disable,uninstall", "nothing was there to disable or uninstall; put install,enable before it"),
        ("install,uninstall", ""),
        ("install,enable,disable", ""),
    ],
)
def test_a_command_that_had_nothing_to_do_is_no_success(
    tmp_path: Path, run: Callable[..., Said], verbs: str, told: str
) -> None:
    said = run(make(tmp_path, {}), "--operation", verbs, "--in", str(tmp_path))
    assert (said.status, "nothing was there" in said.out) == (1 if told else 0, bool(told))
    assert told in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, keep: bool, form: str
) -> None:
    """What is over is shown at once; the processes of the command end, and those that it has started."""
    enable = f"trap '' INT TERM HUP; sleep 30 & echo $! $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pids; wait"
    package = make(tmp_path, {"enable": enable})
    words = [sys.executable, "-m", "waagent.cli", "extensions", "run", "--format", form, "--in", str(tmp_path), package]
    process = subprocess.Popen(
        words + ["--keep"] * keep, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(TOP)}, start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - deprovision has it ignored here
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        if form == "text":
            assert process.stdout.readline().startswith("install 1.0.0: exit code 0")
        until = time.monotonic() + 30
        while not (tmp_path / "pids").exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        told, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (128 + number, "")
    assert f"{number.name}: the command was ended" in told
    trees = list(tmp_path.glob("waagent-extension-*"))
    assert [str(tree) in told for tree in trees] == [True] * keep
    if form == "json":
        report = json.loads(told)
        assert (report["result"], [one["operation"] for one in report["operations"]]) == ("interrupted", ["install"])
    for pid in (tmp_path / "pids").read_text().split():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        assert state == "Z", "it waits for its new parent to look at how it ended, and runs no more"


def test_run_takes_a_handler_through_the_life_of_several_extensions(tmp_path: Path, run: Callable[..., Said]) -> None:
    named = STATUS.replace("status/", "status/$ConfigExtensionName.")
    package = make(tmp_path, {"enable": "set -- success 0 $ConfigExtensionName\n" + named}, multi=True)
    verbs = "install,enable,disable,uninstall"
    words = (package, "--in", str(tmp_path), "--instance", "Alpha", "--instance", "Beta", "--operation", verbs)
    said = run(*words)
    assert said.status == 0, said.out
    shown = [line.partition(":")[0] for line in said.out.splitlines() if "exit code 0" in line]
    assert shown == [
        "install of Alpha 1.0.0", "enable of Alpha 1.0.0", "enable of Beta 1.0.0", "disable of Alpha 1.0.0",
        "disable of Beta 1.0.0", "uninstall of Alpha 1.0.0",
    ]  # fmt: skip
    assert said.out.splitlines()[-5:] == [
        "handler: Ready, code 0: Plugin enabled",
        "extension Alpha: success, code 0: Alpha",
        "extension Beta: success, code 0: Beta",
        "note: the status is the one before disable and uninstall",
        f"{NAME} 1.0.0: succeeded",
    ]
    report = run(*words, "--format", "json").json()
    assert [one["extension"] for one in report["operations"]] == ["Alpha", "Alpha", "Beta", "Alpha", "Beta", "Alpha"]
    only_one = {"enable": "[ $ConfigExtensionName = Alpha ] && set -- success 0 x &&" + named}
    assert run(make(tmp_path, only_one, multi=True), *words[1:], "--wait", "0.2").status == 1
    assert "which the handler does not support" in run(make(tmp_path, {}), *words[1:]).out


def test_what_failed_is_told_once(tmp_path: Path, run: Callable[..., Said]) -> None:
    said = run(make(tmp_path, {"install": "echo no such luck; exit 51"}), "--in", str(tmp_path))
    lines = said.out.splitlines()
    assert [line for line in lines if "no such luck" in line] == ["    no such luck"]
    assert len([line for line in lines if "install ended with exit code 51" in line]) == 1
    assert "[stderr]" not in said.out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{'a': 1}", "they are not JSON"),
        (b"", "they are not JSON"),
        (b"[1]", "they are no JSON object"),
        (b'{"a": "\xe9"}', "they are not UTF-8 (byte 7)"),
        (b'{"a":' * 100_000, "they are not JSON"),
    ],
)
def test_settings_that_are_none_are_told_of(
    tmp_path: Path, run: Callable[..., Said], content: bytes, told: str
) -> None:
    (tmp_path / "settings").write_bytes(content)
    said = run(make(tmp_path, {}), "--settings", str(tmp_path / "settings"), "--in", str(tmp_path))
    assert (said.status, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err
    assert not list(tmp_path.glob("waagent-extension-*"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:200], "it is no zip file, or damaged"),
        (lambda content: content[:70] + b"\xff\xff" + content[72:], "it is no zip file, or damaged"),
        (lambda content: b"", "it is no zip file, or damaged"),
        (lambda content: ENCRYPTED.sub(lambda found: found[1] + b"\1", content), "is encrypted"),
    ],
)
def test_a_damaged_package_is_told_of(
    tmp_path: Path, run: Callable[..., Said], damage: Callable[[bytes], bytes], told: str
) -> None:
    package = Path(make(tmp_path, {}))
    package.write_bytes(damage(package.read_bytes()))
    said = run(str(package), "--in", str(tmp_path))
    assert said.status == (1 if "encrypted" in told else 2)
    assert told in said.err + said.out
    assert "Traceback" not in said.err


def test_a_package_that_is_none_is_told_of_in_the_words_of_the_platform(tmp_path: Path, run: Callable[..., Said]) -> None:
    package = tmp_path / "thing.zip"
    package.write_bytes(pack({"readme": b"nothing"}))
    said = run(str(package), "--in", str(tmp_path))
    assert said.status == 1
    assert "HandlerManifest.json was not found" in said.out
    signed = make(tmp_path, {}, signingInfo={"publisher": "Contoso.Signed", "type": "Thing", "version": "3.2.1"})
    os.rename(signed, tmp_path / "x.zip")
    assert run(str(tmp_path / "x.zip"), "--in", str(tmp_path)).out.splitlines()[-1] == (
        "Contoso.Signed.Thing 3.2.1: succeeded"
    )
