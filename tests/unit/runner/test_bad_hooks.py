"""What a hook can do to its stage: every bad one has its own clear outcome, and the other steps run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import waagent.config
import waagent.distro
from tests.unit.runner.conftest import TOP, Machine
from waagent.runner.guard import IDLE_DEATHS, Minded, guarded
from waagent.runner.stage import Wish, run_stage


def minded(machine: Machine, stage: str = "local") -> tuple[int, dict[str, tuple[str, str]]]:
    """Run a stage as `waagent stage` does, with a minder; the exit status, and the outcomes in status.json."""

    def body(told: Minded) -> int:
        system = machine.system()
        profile = waagent.distro.load(str(machine.root), str(TOP / "data/distros"))
        return run_stage(system, stage, waagent.config.from_text(""), profile, Wish(), told).status

    status = guarded(body)
    boot = json.loads((machine.root / "run/waagent/status.json").read_text())
    steps = boot["stages"][stage]["steps"]
    assert boot["stages"][stage]["state"] in ("done", "failed")
    return status, {step["name"]: (step["outcome"], step["message"]) for step in steps}


@pytest.mark.parametrize("number", ["KILL", "HUP"])
def test_a_hook_that_kills_its_parent_fails_and_the_others_run(machine: Machine, number: str) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever started the tests may have had it ignored
    machine.module("vendor/local/10-first.py", frequency="always")
    machine.add("admin/local/20-parricide.sh", f"#!/bin/sh\nkill -{number} $PPID; sleep 71.5\n")
    machine.module("vendor/local/30-last.py", frequency="always")
    status, found = minded(machine)
    assert status == 1
    assert [found[name][0] for name in ("first", "parricide", "last")] == ["changed", "failed", "changed"]
    assert "ended the stage's process while it ran" in found["parricide"][1]
    assert subprocess.run(["pgrep", "-f", "sleep 71.5"]).returncode == 1, "what it left running was not ended"


def test_a_python_step_that_kills_its_parent_fails_too(machine: Machine) -> None:
    machine.module("vendor/local/20-x.py", "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")
    machine.module("vendor/local/30-last.py")
    status, found = minded(machine)
    assert (status, found["x"][0], found["last"][0]) == (1, "failed", "changed")


def test_a_stop_rule_holds_for_the_step_that_took_the_engine_down(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\n# waagent: {on-failure: stop}\nkill -9 $PPID\n")
    machine.module("vendor/local/30-last.py")
    status, found = minded(machine)
    assert status == 1
    assert "last" not in found


def test_a_stage_that_is_stopped_stays_stopped(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\nkill -TERM $PPID; sleep 20\n")
    began = time.monotonic()

    def body(told: Minded) -> int:
        profile = waagent.distro.load(str(machine.root), str(TOP / "data/distros"))
        return run_stage(machine.system(), "local", waagent.config.from_text(""), profile, Wish(), told).status

    assert guarded(body) == 128 + signal.SIGTERM
    assert time.monotonic() - began < 8
    boot = json.loads((machine.root / "run/waagent/status.json").read_text())
    assert boot["stages"]["local"]["state"] == "interrupted"


def test_an_engine_that_dies_on_its_own_is_not_started_for_ever(tmp_path: Path) -> None:
    tries = tmp_path / "tries"

    def body(told: Minded) -> int:
        with tries.open("a") as stream:
            stream.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert guarded(body) == 128 + signal.SIGKILL
    assert len(tries.read_text()) == IDLE_DEATHS + 1


def test_a_hook_that_failed_for_now_is_tried_again(machine: Machine) -> None:
    machine.add(
        "admin/local/20-x.sh",
        f'#!/bin/sh\necho "try $WAAGENT_ATTEMPT" >>{machine.root}/tmp/tries\n[ "$WAAGENT_ATTEMPT" = 2 ] || exit 75\n',
    )
    machine.module("vendor/local/30-last.py")
    records = machine.run().records
    assert [record["outcome"] for record in records] == ["changed", "changed"]
    assert (machine.root / "tmp/tries").read_text() == "try 1\ntry 2\n"
    assert "failed for now (status 75)" in machine.log()
    assert "next try in 1 s" in machine.log()


def test_its_limit_is_for_all_tries_together(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\n# waagent: {limit: 2s}\necho no network yet\nexit 75\n")
    began = time.monotonic()
    (record,) = machine.run().records
    assert time.monotonic() - began < 4
    assert record["outcome"] == "failed"
    assert "failed for now (status 75)" in record["message"]
    assert '"no network yet"' in record["message"]


def test_a_hook_of_the_timer_that_failed_for_now_waits_for_the_timer(machine: Machine) -> None:
    machine.add("admin/periodic/20-x.sh", "#!/bin/sh\n# waagent: {every: 60, frequency: always}\nexit 75\n")
    began = time.monotonic()
    (record,) = machine.run("periodic").records
    assert (record["outcome"], time.monotonic() - began < 0.9) == ("failed", True)


def test_a_wrong_configuration_is_told_apart(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\necho '/etc/x.conf:3: no such colour' >&2\nexit 78\n")
    (record,) = machine.run().records
    assert record["reason"] == "configuration invalid"
    assert record["message"] == (
        "/etc/waagent/hooks.d/local/20-x.sh says that its configuration is wrong (status 78): "
        '"/etc/x.conf:3: no such colour"'
    )


def test_a_failure_names_file_status_and_last_line_but_no_secret(machine: Machine) -> None:
    machine.module("vendor/local/10-s.py", "ctx.publish('a', 1, {'password': 'correct horse'})\nreturn changed('x')")
    machine.add("admin/local/20-x.sh", "#!/bin/sh\necho first\necho wrong: correct horse >&2\nexit 9\n")
    record = machine.run().records[1]
    assert "/etc/waagent/hooks.d/local/20-x.sh exited with status 9 after" in record["message"]
    assert record["message"].endswith('"wrong: ***"')
    assert "correct horse" not in (machine.root / "run/waagent/status.json").read_text()


def test_a_line_may_say_its_priority(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", "#!/bin/sh\necho '<3>disk is dying'; echo '<4>hm'; echo '<7>dull'; echo '<x>y'\n")
    machine.run()
    for words in ("ERROR local/x disk is dying", "WARNING local/x hm", "INFO local/x <x>y"):
        assert words in machine.log()
    assert "dull" not in machine.log()


def test_the_first_boot_of_an_instance_is_known(machine: Machine) -> None:
    machine.module(
        "vendor/local/10-id.py", "ctx.publish('vm', {'id': 'one'})\nreturn unchanged('x')", frequency="always"
    )
    machine.add("admin/local/20-x.sh", "#!/bin/sh\necho \"first: $WAAGENT_FIRST_BOOT\"\n")
    machine.run()
    assert "first: yes" in machine.log()
    machine.reboot("boot-2")
    machine.run()
    assert "first: no" in machine.log()


def test_a_hook_removed_or_changed_since_it_was_checked_does_not_run(machine: Machine) -> None:
    gone = machine.add("admin/local/20-gone.sh", "#!/bin/sh\ntrue\n")
    other = machine.add("admin/local/21-other.sh", "#!/bin/sh\ntrue\n")
    step = machine.module("admin/local/22-step.py")
    machine.add(
        "admin/local/10-meddler.sh",
        f"#!/bin/sh\nrm {gone}\necho 'touch {machine.root}/tmp/ran' >>{other}\necho 'import os' >>{step}\n",
    )
    machine.module("vendor/local/30-last.py")
    found = {record["name"]: record["message"] for record in machine.run().records}
    assert "was removed before it could run" in found["gone"]
    assert "was changed after it was checked" in found["other"]
    assert "was changed after it was checked" in found["step"]
    assert found["last"] == "done"
    assert not (machine.root / "tmp/ran").exists()


def test_a_hook_deleted_while_it_runs_comes_to_its_end(machine: Machine) -> None:
    machine.add("admin/local/20-x.sh", '#!/bin/sh\nrm "$0"\nexit 0\n')
    assert machine.run().records[0]["outcome"] == "changed"


@pytest.fixture
def small_disk(machine: Machine) -> Iterator[Machine]:
    """/run and /var of the machine on file systems that a hook can fill."""
    for folder in ("run", "var/lib"):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=200,mode=755", "tmpfs", str(machine.root / folder)],
            check=True,
        )
    yield machine
    for folder in ("run", "var/lib"):
        subprocess.run(["umount", "--lazy", str(machine.root / folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_hook_that_fills_the_disk_does_not_end_the_stage(small_disk: Machine) -> None:
    fill = " ".join(f"{small_disk.root}/{folder}/fill" for folder in ("run", "var/lib"))
    script = f"for file in {fill}; do head -c 1000000 /dev/zero >$file; done 2>/dev/null\n"
    small_disk.add("admin/local/20-filler.sh", f"#!/bin/sh\n# waagent: {{frequency: once}}\n{script}exit 0\n")
    small_disk.module("vendor/local/30-facts.py", "ctx.publish('a', 'b' * 20000)\nreturn changed('x')")
    small_disk.add("admin/local/40-program.sh", "#!/bin/sh\ntrue\n")
    small_disk.module("vendor/local/50-last.py", frequency="once")
    outcome = small_disk.run()
    found = {record["name"]: (record["outcome"], record["message"]) for record in outcome.records}
    assert found["filler"][0] == "changed"
    assert found["facts"][0] == "failed"
    assert "No space left on device" in found["facts"][1]
    assert found["program"][0] == "failed"
    assert "No space left on device" in found["program"][1]
    assert found["last"][0] == "changed"
    assert "cannot remember how it ran" in small_disk.log()


def test_an_event_hook_goes_through_the_same_checks(machine: Machine) -> None:
    machine.module("vendor/final/20-x.py", "ctx.emit('ready')\nreturn changed('x')")
    machine.add("admin/on-ready/10-bad.sh", "#!/bin/sh\ntrue\n", 0o777)
    machine.add("admin/on-ready/20-good.sh", "#!/bin/sh\ntrue\n")
    assert [record["name"] for record in machine.run("final").records] == ["x", "good"]
    assert "10-bad.sh: refused, not run: writable by others" in machine.log()


def test_a_period_that_names_no_option_fails_that_step_alone(machine: Machine) -> None:
    machine.module("vendor/periodic/20-x.py", every="No.Such", frequency="always")
    machine.module("vendor/periodic/30-y.py", every=60, frequency="always")
    outcome = machine.run("periodic")
    assert [record["outcome"] for record in outcome.records] == ["failed", "changed"]
    assert "every='No.Such' names no option" in outcome.records[0]["message"]


def test_time_is_put_down_to_the_step_or_to_the_engine(machine: Machine) -> None:
    machine.add("admin/local/20-slow.sh", "#!/bin/sh\nsleep 0.3\n")
    machine.module("vendor/local/30-skip.py", when=("nothing.known",))
    slow, skip = machine.run().records
    assert 0.3 <= slow["seconds"] < 0.45
    assert 0 < slow["engine"] < 0.2
    assert skip["seconds"] == 0
    assert slow["at"] + slow["seconds"] <= skip["at"] + 0.01
