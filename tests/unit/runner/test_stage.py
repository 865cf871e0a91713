"""Running a stage: outcomes, limits, crashes, semaphores, facts, events, plan mode."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import waagent.config
import waagent.distro
from tests.unit.runner.conftest import TOP, Machine
from waagent import events
from waagent.errors import StageError
from waagent.module import Context
from waagent.system import effects

PYTHON_FAILURES = [
    ("raise RuntimeError('bug')", "RuntimeError: bug"),
    ("sys.exit(3)", "called sys.exit"),
    ("os._exit(4)", "status 4 before it returned an outcome"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    ("return None", "returned None"),
    ("ctx.publish('x', {1, 2})\nreturn changed('x')", "no JSON value"),
    ("return 1/0", "ZeroDivisionError"),
    ("raise KeyboardInterrupt", "before it returned an outcome"),
    ("open('/nonexistent/file')", "/nonexistent/file: No such file"),
]


def outcomes(machine: Machine) -> dict[str, str]:
    status = json.loads((machine.root / "run/waagent/status.json").read_text())
    return {step["name"]: step["outcome"] for stage in status["stages"].values() for step in stage["steps"]}


@pytest.mark.parametrize(("body", "words"), PYTHON_FAILURES)
def test_a_step_that_goes_wrong_fails_alone(machine: Machine, body: str, words: str) -> None:
    machine.module("vendor/local/20-bad.py", body)
    machine.module("vendor/local/30-good.py")
    outcome = machine.run()
    assert outcome.status == 1
    assert [record["outcome"] for record in outcome.records] == ["failed", "changed"]
    assert words in outcome.records[0]["message"]
    assert "to try again: waagent stage local --only bad" in machine.log()


def test_a_typed_error_gives_its_message_and_reason(machine: Machine) -> None:
    machine.module(
        "vendor/local/20-bad.py", "from waagent.errors import UserError\nraise UserError('cannot create user bob: no')"
    )
    (record,) = machine.run().records
    assert (record["message"], record["reason"]) == ("cannot create user bob: no", "user account failed")


def test_a_step_over_its_limit_is_ended_with_its_children(machine: Machine) -> None:
    machine.add("admin/local/20-slow.sh", "#!/bin/sh\n# waagent: {limit: 1s}\nsleep 77.25 & sleep 77.25\n")
    machine.module("vendor/local/30-good.py")
    began = time.monotonic()
    outcome = machine.run()
    assert time.monotonic() - began < 5
    assert "ran over its limit" in outcome.records[0]["message"]
    assert outcome.records[1]["outcome"] == "changed"
    assert subprocess.run(["pgrep", "-f", "sleep 77.25"]).returncode == 1


def test_a_step_that_ignores_sigterm_is_killed(machine: Machine) -> None:
    machine.module(
        "vendor/local/20-deaf.py", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)", limit=0.5
    )
    began = time.monotonic()
    (record,) = machine.run().records
    assert record["outcome"] == "failed"
    assert time.monotonic() - began < 8


def test_what_a_step_does_to_its_process_reaches_nobody(machine: Machine) -> None:
    machine.module("admin/local/20-hostile.py", "os.getpid = lambda: 1\nos.chdir('/tmp')\nos.environ.clear()\nreturn changed('x')")
    here, pid = os.getcwd(), os.getpid()
    machine.run()
    assert (os.getcwd(), os.getpid()) == (here, pid)
    assert os.environ


def test_on_failure_stop_leaves_out_the_rest(machine: Machine) -> None:
    machine.module("vendor/local/20-bad.py", "return 1/0", on_failure="stop")
    machine.module("vendor/local/30-good.py")
    assert [record["name"] for record in machine.run().records] == ["bad"]
    assert "the steps after it do not run" in machine.log()


def test_a_program_gets_the_documented_environment_and_input(machine: Machine) -> None:
    machine.module("vendor/local/10-facts.py", "ctx.publish('ovf', {'host_name': 'vm1'}, {'password': 'open sesame'})\nreturn changed('x')")
    machine.add(
        "admin/local/20-show.sh",
        "#!/bin/sh\n# waagent: {secrets: [ovf.password]}\nenv >\"$WAAGENT_TMP/env\"; cat >\"$WAAGENT_TMP/in\"\n"
        "cmp \"$WAAGENT_TMP/in\" \"$WAAGENT_INPUT\" || exit 9\n"
        f"cp \"$WAAGENT_TMP/env\" \"$WAAGENT_INPUT\" {machine.root}/tmp/\n"
        "stat -c %a \"$WAAGENT_INPUT\"\npwd; umask\n",
    )
    assert machine.run().status == 0
    env = dict(line.split("=", 1) for line in (machine.root / "tmp/env").read_text().splitlines())
    assert env["WAAGENT_STAGE"] == "local"
    assert env["WAAGENT_STEP"] == "show"
    assert env["WAAGENT_VM_NAME"] == "vm1"
    assert env["PATH"].startswith("/usr/local/sbin:")
    assert "PYTHONPATH" not in env
    given = json.loads((machine.root / "tmp/input.json").read_text())
    assert given["instance"]["ovf"] == {"host_name": "vm1"}
    assert given["secrets"] == {"ovf.password": "open sesame"}
    assert given["config"]["Extensions.GoalStatePeriod"] == 6
    for line in ("local/show 600", "local/show /", "local/show 0022"):
        assert line in machine.log()
    assert not os.listdir(machine.root / "run/waagent/tmp")


def test_a_program_publishes_facts_under_its_name(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\nprintf 'colour=red\\nmessage=painted it\\n' >\"$WAAGENT_OUTPUT\"\n")
    machine.add("admin/local/30-y.sh", "#!/bin/sh\necho '{\"size\": {\"w\": 2}}' >\"$WAAGENT_OUTPUT\"\n")
    outcome = machine.run()
    assert outcome.records[0]["message"] == "painted it"
    public = json.loads((machine.root / "var/lib/waagent/instance/public.json").read_text())
    assert public["facts"]["hooks"] == {"x": {"colour": "red"}, "y": {"size": {"w": 2}}}


@pytest.mark.parametrize(
    ("script", "outcome", "words"),
    [
        ("exit 0", "changed", "done"),
        ("exit 77", "skipped", "does not apply"),
        ("exit 3", "failed", "exited with status 3"),
        ("kill -9 $$", "failed", "signal 9"),
        ('echo "{oops" >"$WAAGENT_OUTPUT"', "failed", "results file cannot be used"),
        ('echo "no sign" >"$WAAGENT_OUTPUT"', "failed", "neither JSON nor key=value"),
        ('ln -s /etc/passwd "$WAAGENT_OUTPUT"', "failed", "results file cannot be used"),
        ('mkfifo "$WAAGENT_OUTPUT"', "changed", "done"),
        ('head -c 2000000 /dev/zero >"$WAAGENT_OUTPUT"', "failed", "larger than"),
        ('rm -rf "$WAAGENT_TMP"', "changed", "done"),
    ],
)
def test_how_a_program_ends(machine: Machine, script: str, outcome: str, words: str) -> None:
    machine.add("admin/local/20-x.sh", f"#!/bin/sh\n{script}\n")
    machine.module("vendor/local/30-good.py")
    records = machine.run().records
    assert (records[0]["outcome"], records[1]["outcome"]) == (outcome, "changed")
    assert words in records[0]["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("#!/bin/sh\r\ntrue\r\n", "ends in a carriage return"),
        ("#!/usr/bin/no-such-shell\n", "interpreter /usr/bin/no-such-shell not found"),
        ("just text\n", "no interpreter line"),
    ],
)
def test_a_program_that_cannot_start_is_explained(machine: Machine, content: str, words: str) -> None:
    path = machine.add("admin/local/20-x.sh", "")
    path.write_bytes(content.encode())
    assert machine.run().status == 1
    assert words in machine.log()


def test_output_that_never_ends_or_is_no_text_is_survived(machine: Machine) -> None:
    machine.add("admin/local/20-loud.sh", "#!/bin/sh\n# waagent: {limit: 1s}\nyes 0123456789abcdef\n")
    machine.add("admin/local/30-odd.sh", "#!/bin/sh\nprintf 'a\\377\\033[31mb\\n'; head -c 300000 /dev/zero; echo end\n")
    assert [record["outcome"] for record in machine.run().records] == ["failed", "changed"]
    log = machine.log()
    assert len(log) < 300_000
    assert "bytes of output left out here" in log
    assert "\033" not in log
    assert "a\ufffd\ufffd[31mb" in log


def test_a_daemon_that_keeps_the_output_does_not_hold_the_stage(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\nsetsid sleep 76.5 &\necho started\n")
    began = time.monotonic()
    (record,) = machine.run().records
    assert time.monotonic() - began < 4
    assert record["outcome"] == "changed"
    assert "a background process of it still holds its output" in machine.log()
    subprocess.run(["pkill", "-f", "sleep 76.5"], check=True)


def test_a_per_instance_step_runs_once_and_again_for_another_vm(machine: Machine) -> None:
    (machine.root / "tmp/id").write_text("one")
    machine.module(
        "vendor/local/10-identify.py",
        "ctx.publish('vm', {'id': open(str(ctx.system.path('/tmp/id'))).read()})\nreturn unchanged('x')",
        frequency="always",
    )
    machine.module("vendor/local/20-user.py", frequency="per-instance")
    assert machine.run().records[1]["outcome"] == "changed"
    machine.reboot("boot-2")
    record = machine.run().records[1]
    assert record["outcome"] == "skipped"
    assert "done already (per-instance" in record["message"]
    machine.reboot("boot-3")
    (machine.root / "tmp/id").write_text("two")
    assert machine.run().records[1]["outcome"] == "changed"
    assert os.readlink(machine.root / "var/lib/waagent/instance") == "instances/two"


def test_per_boot_always_and_once(machine: Machine) -> None:
    for number, frequency in enumerate(("per-boot", "always", "once"), 20):
        machine.module(f"vendor/local/{number}-{frequency}.py", frequency=frequency)
    assert [record["outcome"] for record in machine.run().records] == ["changed"] * 3
    assert [record["outcome"] for record in machine.run().records] == ["skipped", "changed", "skipped"]
    machine.reboot("boot-2")
    assert [record["outcome"] for record in machine.run().records] == ["changed", "changed", "skipped"]


def test_a_failed_step_is_tried_again_and_force_repeats_a_done_one(machine: Machine) -> None:
    path = machine.module("vendor/local/20-x.py", "return 1/0", frequency="per-instance")
    machine.run()
    path.write_text(path.read_text().replace("1/0", "changed('now')"))
    assert machine.run().records[0]["outcome"] == "changed"
    assert machine.run().records[0]["outcome"] == "skipped"
    assert machine.run(force=True).records[0]["outcome"] == "changed"


def test_an_override_has_a_semaphore_of_its_own(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", frequency="per-instance")
    machine.run()
    machine.add("admin/local/20-x.sh", "#!/bin/sh\ntrue\n")
    assert machine.run().records[0]["outcome"] == "changed"
    assert machine.run().records[0]["outcome"] == "skipped"


def test_an_interrupted_step_runs_again_and_says_so(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", frequency="per-instance")
    folder = machine.root / "var/lib/waagent/instances/unidentified/sem"
    folder.mkdir(parents=True)
    (folder / "local.x.running").write_text("2026-01-01T00:00:00Z")
    assert machine.run().records[0]["outcome"] == "changed"
    assert "was cut off in an earlier run" in machine.log()
    assert sorted(os.listdir(folder)) == ["local.x.done"]


def test_only_runs_one_step_and_keeps_the_record_of_the_others(machine: Machine) -> None:
    machine.module("vendor/local/20-a.py", frequency="always")
    machine.module("vendor/local/30-b.py", frequency="always")
    machine.run()
    assert [record["name"] for record in machine.run(only=("b",)).records] == ["b"]
    assert outcomes(machine) == {"a": "changed", "b": "changed"}
    with pytest.raises(StageError, match="no step 'c'"):
        machine.run(only=("c",))


def test_who_names_a_step_is_told_also_that_it_did_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.module("vendor/local/20-a.py", "return unchanged('a is so already')", frequency="always")
    machine.module("vendor/local/30-b.py", frequency="once")
    machine.module("vendor/local/40-c.py", distros=("plan9",))
    machine.run()
    assert "unchanged" not in capsys.readouterr().err
    log = machine.log()
    machine.run(only=("a", "b", "c"))
    a, b, c = capsys.readouterr().err.splitlines()
    assert a == "local/a: unchanged: a is so already"
    assert b.startswith("local/b: skipped: done already (once, ")
    assert c.startswith("local/c: skipped: for plan9 only; this is ")
    assert machine.log() == log


def test_conditions_on_facts_and_distros(machine: Machine) -> None:
    machine.module("vendor/local/10-facts.py", "ctx.publish('provisioning', {'by': 'waagent', 'on': True})\nreturn changed('x')")
    machine.module("vendor/local/20-a.py", when=("provisioning.by=waagent",))
    machine.module("vendor/local/21-b.py", when=("provisioning.by=cloud-init",))
    machine.module("vendor/local/22-c.py", when=("nothing.known",))
    machine.module("vendor/local/23-d.py", distros=("plan9",))
    machine.module("vendor/local/24-e.py", when=("provisioning.on",))
    messages = {record["name"]: (record["outcome"], record["message"]) for record in machine.run().records}
    assert messages["a"][0] == "changed"
    assert messages["b"] == ("skipped", "provisioning.by is waagent")
    assert messages["c"] == ("skipped", "nothing.known is not known")
    assert messages["d"][1].startswith("for plan9 only")
    assert messages["e"][0] == "changed"


def test_facts_of_a_source_the_stage_does_not_have_are_refused(machine: Machine) -> None:
    machine.module("vendor/config/20-x.py", "ctx.publish('fabric.endpoint', '1.2.3.4')\nreturn changed('x')")
    (record,) = machine.run("config").records
    assert "published fabric.endpoint, but the sources of stage config are none" in record["message"]


def test_any_stage_may_forget_a_secret(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", "ctx.publish('ovf', {'a': 1}, {'password': 'open sesame'})\nreturn changed('x')")
    machine.module("vendor/final/90-x.py", "ctx.forget_secret('ovf.password')\nreturn changed('x')")
    machine.run()
    assert machine.run("final").status == 0
    assert "sesame" not in (machine.root / "var/lib/waagent/instance/secret.json").read_text()


def test_a_periodic_pass_knows_that_the_boot_stages_have_finished(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py")
    machine.module("vendor/periodic/30-fast.py", every=1, frequency="always")
    machine.run()
    machine.run("periodic")
    assert "has not finished" not in machine.log()


def test_facts_of_a_failed_step_are_not_kept(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", "ctx.publish('ovf.user_name', 'bob')\nraise RuntimeError('later')")
    machine.run()
    assert not (machine.root / "var/lib/waagent/instance/public.json").exists()


def test_secrets_are_root_only_and_starred_in_the_log(machine: Machine) -> None:
    machine.module(
        "vendor/local/20-x.py", "ctx.publish('ovf', {'user_name': 'bob'}, {'password': 'correct horse'})\nreturn changed('x')"
    )
    machine.add("admin/local/30-leak.sh", "#!/bin/sh\necho the password is correct horse\n")
    machine.run()
    instance = machine.root / "var/lib/waagent/instance"
    assert "correct horse" not in (instance / "public.json").read_text()
    assert json.loads((instance / "public.json").read_text())["secrets"] == ["ovf.password"]
    assert (instance / "public.json").stat().st_mode & 0o777 == 0o644
    assert (instance / "secret.json").stat().st_mode & 0o777 == 0o600
    assert "the password is ***" in machine.log()
    for path in machine.root.rglob("*"):
        if path.is_file() and path.name not in ("secret.json", "20-x.py", "30-leak.sh"):
            assert b"correct horse" not in path.read_bytes(), path


def test_event_hooks_run_after_the_step_that_emits(machine: Machine) -> None:
    machine.module("vendor/final/20-report.py", "ctx.emit('ready', state='Ready')\nreturn changed('x')")
    machine.module("vendor/final/30-later.py")
    machine.add("admin/on-ready/10-hello.sh", "#!/bin/sh\ngrep -o '\"state\": \"Ready\"'\necho $WAAGENT_EVENT\nexit 5\n")
    outcome = machine.run("final")
    assert [record["name"] for record in outcome.records] == ["report", "hello", "later"]
    assert outcome.status == 0
    assert 'final/hello "state": "Ready"' in machine.log()
    assert "final/hello ready" in machine.log()


def test_a_stage_that_is_running_is_not_run_twice(machine: Machine) -> None:
    machine.add("admin/local/20-slow.sh", "#!/bin/sh\nsleep 1\n")
    child = os.fork()
    if child == 0:
        machine.run()
        os._exit(0)
    deadline = time.monotonic() + 5
    while not (machine.root / "run/waagent/status.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    outcome = machine.run()
    os.waitpid(child, 0)
    assert outcome.status == 75
    assert "already running" in outcome.message


def test_plan_mode_does_nothing_and_tells_what_it_would_do(machine: Machine) -> None:
    machine.module(
        "vendor/local/20-a.py",
        "ctx.system.write('/etc/hostname', 'vm1\\n')\nctx.system.run('useradd', 'bob')\n"
        "ctx.publish('ovf', {'host_name': 'vm1'})\nreturn changed('set')",
    )
    machine.module("vendor/local/30-b.py", "return changed(ctx.system.read_text('/etc/hostname') + ctx.fact('ovf.host_name'))")
    machine.add("admin/local/40-c.sh", f"#!/bin/sh\ntouch {machine.root}/tmp/ran\n")
    before = {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")}
    records = machine.run(planning=True).records
    assert {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")} == before
    assert records[0]["effects"] == ["write /etc/hostname created with 4 bytes, mode 0644", "run useradd bob"]
    assert records[1]["message"] == "vm1\nvm1"
    assert records[2]["message"] == "would run"


def test_effects_are_journalled_with_their_step(machine: Machine) -> None:
    machine.module("vendor/local/20-a.py", "ctx.system.write('/etc/motd', 'hello')\nreturn changed('set')")
    machine.run()
    records = list(effects.read(str(machine.root / "var/lib/waagent/effects.jsonl")))
    assert [(r.stage, r.step, r.effect.kind, r.effect.path) for r in records] == [("local", "a", "write", "/etc/motd")]
    assert (machine.root / "var/lib/waagent/effects.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.row("field-demands", 94)
def test_the_budget_of_a_stage_ends_its_steps(machine: Machine) -> None:
    stage = machine.root / "usr/lib/waagent/stages/local.yaml"
    stage.write_text(stage.read_text().replace("budget: 5m", "budget: 1s"))
    machine.add("admin/local/20-slow.sh", "#!/bin/sh\nsleep 30\n")
    machine.module("vendor/local/30-after.py")
    records = machine.run().records
    assert "ran over its limit" in records[0]["message"]
    assert "budget of 1s is used up" in records[1]["message"]


def test_a_stage_out_of_turn_says_so_and_goes_on(machine: Machine) -> None:
    machine.module("vendor/network/20-x.py")
    assert machine.run("network").status == 0
    assert "stage local has not finished in this boot" in machine.log()


def test_a_stage_that_was_cut_off_is_a_failure_for_the_step_that_reports(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py")
    machine.module(
        "vendor/network/90-report.py",
        "return changed(' '.join(f'{r.stage}/{r.step}={r.kind}:{r.essential}' for r in ctx.boot))",
        frequency="always",
    )
    assert machine.run("network").records[-1]["message"] == "local/=failed:True"
    machine.run("local")
    assert machine.run("network").records[-1]["message"].startswith("local/x=changed:False")


def test_boots_are_kept_and_the_oldest_go(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py")
    for number in range(12):
        machine.reboot(f"boot-{number}")
        machine.run()
    kept = sorted(os.listdir(machine.root / "var/lib/waagent/boots"))
    assert len(kept) == 10
    assert any("boot-11" in name for name in kept)


def test_periodic_steps_run_when_their_time_or_event_comes(machine: Machine) -> None:
    machine.module("vendor/periodic/10-goal-state.py", on=("goal-state",), frequency="always")
    machine.module("vendor/periodic/20-names.py", every="Provisioning.MonitorHostNamePeriod", frequency="always")
    machine.module("vendor/periodic/30-fast.py", every=1, frequency="always")
    assert [record["name"] for record in machine.run("periodic").records] == ["names", "fast"]
    assert [record["name"] for record in machine.run("periodic", event="goal-state").records] == ["goal-state"]
    time.sleep(1.1)
    assert [record["name"] for record in machine.run("periodic").records] == ["fast"]
    due = int((machine.root / "run/waagent/periodic.due").read_text().split()[0])
    assert abs(due - time.clock_gettime(time.CLOCK_BOOTTIME)) < 3
    assert outcomes_of_passes(machine) == {"names", "fast", "goal-state"}


def outcomes_of_passes(machine: Machine) -> set[str]:
    from waagent.runner import journal

    return {step["name"] for step in journal.read(machine.system())["stages"]["periodic"]["steps"]}


def test_a_periodic_step_that_keeps_failing_is_asked_less_often(machine: Machine) -> None:
    from waagent.config import from_text
    from waagent.runner.periodic import Schedule

    machine.module("vendor/periodic/30-bad.py", every=10, frequency="always")
    (step,) = machine.steps("periodic").steps
    schedule = Schedule(machine.system(), from_text(""))
    waits = []
    for _ in range(5):
        schedule.ran(step, failed=True)
        waits.append(round((schedule.due_at(step) or 0) - machine.system().clock.boot()))
    assert waits == [10, 10, 20, 40, 80]
    schedule.ran(step, failed=False)
    assert round((schedule.due_at(step) or 0) - machine.system().clock.boot()) == 10


def test_a_full_disk_is_one_clear_failure(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", "ctx.system.write('/full/x', 'y' * 100000)\nreturn changed('x')")
    (machine.root / "full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(machine.root / "full")], check=True)
    try:
        (record,) = machine.run().records
    finally:
        subprocess.run(["umount", str(machine.root / "full")], check=True)
    assert "cannot write /full/x: No space left on device" in record["message"]


def test_event_hooks_keep_facts_and_heed_their_conditions(machine: Machine) -> None:
    machine.module("vendor/final/20-report.py", "ctx.emit('ready')\nreturn changed('x')")
    machine.add("admin/on-ready/10-fact.sh", '#!/bin/sh\necho colour=red >"$WAAGENT_OUTPUT"\n')
    machine.add("admin/on-ready/20-not-here.sh", "#!/bin/sh\n# waagent: {distros: plan9}\nexit 1\n")
    machine.add("admin/on-ready/30-if-red.sh", '#!/bin/sh\n# waagent: {when: "hooks.fact.colour=red"}\nexit 0\n')
    outcomes = {record["name"]: record["outcome"] for record in machine.run("final").records}
    assert outcomes == {"report": "changed", "fact": "changed", "not-here": "skipped", "if-red": "changed"}


def test_the_hooks_of_an_event_run_after_the_steps_that_wait_for_it(machine: Machine) -> None:
    machine.module("vendor/periodic/10-x.py", on=("goal-state",), frequency="always")
    machine.add("admin/on-goal-state/10-tell.sh", "#!/bin/sh\necho \"after $WAAGENT_EVENT\"\n")
    assert [record["name"] for record in machine.run("periodic", event="goal-state").records] == ["x", "tell"]
    assert "periodic/tell after goal-state" in machine.log()


def test_an_event_of_a_verb_runs_its_hooks_each_time(machine: Machine) -> None:
    from waagent.runner.stage import run_event

    machine.add("admin/on-deprovision/10-tell.sh", "#!/bin/sh\ngrep -o '\"name\": \"deprovision\", \"keep\": true'\n")
    machine.add("admin/on-deprovision/20-bad.sh", "#!/bin/sh\nexit 3\n")
    profile = waagent.distro.load(str(machine.root), str(TOP / "data/distros"))
    for _ in range(2):
        outcome = run_event(machine.system(), "deprovision", {"keep": True}, waagent.config.from_text(""), profile)
        assert [record["outcome"] for record in outcome.records] == ["changed", "failed"]
        assert outcome.status == 1


@pytest.mark.parametrize(("stage", "limit"), [("local", 60), ("config", 300), ("final", 900), ("on-ready", 60)])
def test_the_limit_of_a_program_follows_its_stage(machine: Machine, stage: str, limit: float) -> None:
    machine.add(f"admin/{stage}/20-x.sh", "#!/bin/sh\n")
    (step,) = machine.steps(stage).steps
    assert step.module.limit == limit


def test_many_passes_leave_as_many_files_as_one(machine: Machine) -> None:
    """But for events, one a pass until they are sent, of which there is a largest number (tests of events).

    And for what is kept of one pass for the next: it is made by the first one that is not of its files' very moment.
    """

    def files() -> set[Path]:
        return {path for path in machine.root.rglob("*") if not {events.FOLDER, "kept"} & set(path.parts)}

    machine.module("vendor/periodic/10-x.py", on=("goal-state",), frequency="always")
    machine.run("periodic", event="goal-state")
    before = files()
    for _ in range(30):
        machine.run("periodic", event="goal-state")
    assert files() == before


def test_hooks_of_an_announced_event_run_while_the_step_waits(machine: Machine) -> None:
    body = (
        "log = str(ctx.system.path('/tmp/order'))\n"
        "for number in (1, 2):\n"
        "    open(log, 'a').write(f'step {number}\\n')\n"
        "    ctx.announce('probe', number=number, text='a\\nb')\n"
        "open(log, 'a').write('step done\\n')\n"
        "return changed('x')"
    )
    machine.module("vendor/final/20-step.py", body)
    order = machine.root / "tmp/order"
    machine.add(
        "admin/on-probe/10-note.sh",
        f"#!/bin/sh\nsleep 0.1\necho hook $(grep -o '\"number\": [12]') >> {order}\nexit 3\n",
    )
    python = f"open('{order}', 'a').write('python\\n')\nctx.announce('probe')\nreturn changed('x')"
    machine.module("admin/on-probe/20-python.py", python)
    outcome = machine.run("final")
    expected = ["step 1", 'hook "number": 1', "python", "step 2", 'hook "number": 2', "python", "step done"]
    assert order.read_text().splitlines() == expected
    step = outcome.records[0]
    assert (outcome.status, step["outcome"], step["name"]) == (0, "changed", "step")
    assert [record["outcome"] for record in outcome.records[1:]] == ["failed", "changed"] * 2
    assert {record["event"] for record in outcome.records[1:]} == {"probe"}
    assert 0.2 < step["seconds"] < 5
    assert step["engine"] < 0.5


def test_a_step_whose_stage_is_killed_by_a_hook_does_not_go_on_alone(machine: Machine) -> None:
    after = machine.root / "tmp/after"
    body = f"ctx.announce('probe')\nopen('{after}', 'w').close()\nreturn changed('x')"
    machine.module("vendor/final/20-step.py", body)
    machine.add("admin/on-probe/10-kill.sh", "#!/bin/sh\nkill -9 $PPID\nsleep 5\n")
    child = os.fork()
    if child == 0:
        machine.run("final")
        os._exit(0)
    _, code = os.waitpid(child, 0)
    assert os.WTERMSIG(code) == signal.SIGKILL
    time.sleep(0.3)
    assert not after.exists()


def test_announcing_without_a_stage_is_emitting(machine: Machine) -> None:
    profile = waagent.distro.load(str(machine.root), str(TOP / "data/distros"))
    ctx = Context(machine.system(), waagent.config.from_text(""), profile)
    ctx.announce("probe", number=1)
    assert ctx.events == [("probe", {"number": 1})]
