"""The units in a booted guest: no complaint from systemd, the order of the boot, the names people type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bed import Bed

ROOT = Path(__file__).resolve().parents[2]
BOOT = ("local", "network", "config", "final")


@pytest.fixture(scope="module")
def booted(bed: Bed) -> Bed:
    bed.machine(user="ada", ssh_keys=[bed.make_key()[1]])
    bed.guest.boot()
    bed.guest.wait_until_booted()
    return bed


def property_of(bed: Bed, unit: str, name: str) -> str:
    return bed.guest.succeed(["systemctl", "show", unit, f"--property={name}", "--value"]).strip()


def monotonic(bed: Bed, unit: str, name: str) -> int:
    return int(property_of(bed, unit, f"{name}TimestampMonotonic"))


def test_systemd_has_nothing_to_say_about_the_units(booted: Bed) -> None:
    units = booted.guest.succeed("ls -d /usr/lib/systemd/system/waagent* /usr/lib/systemd/system/azure*").split()
    assert len(units) == len(list((ROOT / "data" / "systemd").glob("*.*")))
    ran = booted.guest.run(["systemd-analyze", "verify", "--man=no", *units])
    assert ran == (0, "", "")


def test_boot_has_no_ordering_cycle(booted: Bed) -> None:
    ran = booted.guest.run("systemd-analyze verify --man=no multi-user.target waagent.target")
    assert "cycle" not in ran.out + ran.err
    assert "ordering cycle" not in booted.guest.journal()


@pytest.mark.parametrize("stage", BOOT)
def test_stage_has_run(booted: Bed, stage: str) -> None:
    unit = f"waagent-{stage}.service"
    assert property_of(booted, unit, "ActiveState") == "active", booted.guest.journal(unit)
    assert property_of(booted, unit, "SubState") == "exited"


def test_stages_run_one_after_another(booted: Bed) -> None:
    for earlier, later in zip(BOOT, BOOT[1:]):
        ended = monotonic(booted, f"waagent-{earlier}.service", "ExecMainExit")
        started = monotonic(booted, f"waagent-{later}.service", "ExecMainStart")
        assert 0 < ended <= started, f"{later} started before {earlier} had ended"


@pytest.mark.row("field-demands", 45, 59)
def test_local_ends_before_the_network_and_before_sshd(booted: Bed) -> None:
    ended = monotonic(booted, "waagent-local.service", "ExecMainExit")
    assert ended <= monotonic(booted, "systemd-networkd.service", "ExecMainStart")
    assert ended <= monotonic(booted, "ssh.service", "ExecMainStart")


def test_final_starts_after_everything_else(booted: Bed) -> None:
    reached = monotonic(booted, "multi-user.target", "ActiveEnter")
    assert reached <= monotonic(booted, "waagent-final.service", "ExecMainStart")


def test_watcher_says_that_it_is_ready_and_lives_in_its_slice(booted: Bed) -> None:
    booted.guest.wait_for_unit("waagent.service")
    assert property_of(booted, "waagent.service", "ControlGroup").endswith("/azure.slice/waagent.service")
    assert property_of(booted, "waagent.service", "NRestarts") == "0"


def test_watcher_is_restarted_when_it_is_killed(booted: Bed) -> None:
    before = property_of(booted, "waagent.service", "MainPID")
    booted.guest.succeed(["kill", "-KILL", before])
    booted.guest.wait_until_succeeds(
        f'pid=$(systemctl show waagent.service -P MainPID); [ "$pid" != 0 ] && [ "$pid" != {before} ]', timeout=20
    )
    booted.guest.wait_for_unit("waagent.service")


def test_names_that_administrators_know_still_work(booted: Bed) -> None:
    assert property_of(booted, "walinuxagent.service", "Id") == "waagent.service"
    booted.guest.succeed("systemctl disable walinuxagent")
    booted.guest.fail("systemctl is-enabled --quiet waagent.target")
    booted.guest.succeed("systemctl enable walinuxagent")
    booted.guest.succeed("systemctl is-enabled --quiet waagent.target")


def test_periodic_stage_is_skipped_when_nothing_is_due_and_runs_when_something_is(booted: Bed) -> None:
    booted.guest.hold_agent()
    try:
        now = float(booted.guest.read("/proc/uptime").split()[0])
        for due, runs in ((f"{now + 500:.0f}\nend\n", False), (f"{now - 1:.3f}\nend\n", True), ("", True), ("soon\n", True)):
            booted.guest.write("/run/waagent/periodic.due", due)
            booted.guest.run("systemctl start waagent-periodic.service")
            result = property_of(booted, "waagent-periodic.service", "Result")
            assert (result != "exec-condition") is runs, f"due {due!r} at {now}: {result}"
        booted.guest.succeed("rm -f /run/waagent/periodic.due; /usr/lib/waagent/periodic-due")
    finally:
        booted.guest.release_agent()


def test_the_watcher_starts_the_periodic_stage_when_something_is_due(booted: Bed) -> None:
    guest, due = booted.guest, "/run/waagent/periodic.due"
    guest.succeed("systemctl stop waagent-periodic.timer")
    try:
        guest.succeed(f"rm -f {due}")
        guest.wait_until_succeeds(f"test -e {due}", timeout=60)
    finally:
        guest.succeed("systemctl start waagent-periodic.timer")


@pytest.mark.row("field-demands", 9)
@pytest.mark.row("field-demands", 83)
def test_an_idle_hour_writes_next_to_nothing(booted: Bed) -> None:
    """What is asked in an hour, in a minute: the log and the journal get a line at most, files of the agent stay as they are."""
    booted.guest.wait_until_succeeds("test -e /run/waagent/periodic.due", timeout=60)
    booted.guest.hold_agent()
    quick = "/run/systemd/system/waagent-periodic.service.d/quick.conf"
    booted.guest.write(quick, "[Unit]\nStartLimitIntervalSec=0\n")
    try:
        booted.guest.succeed("systemctl daemon-reload && /usr/sbin/waagent stage periodic")

        def lines() -> int:
            units = "-u waagent.service -u waagent-periodic.service -u waagent-periodic.timer"
            journal = booted.guest.run(f"journalctl -q -o cat {units}").out
            return len(journal.splitlines()) + len(booted.guest.read("/var/log/waagent.log").splitlines())

        def files() -> str:
            return booted.guest.succeed("find /var/lib/waagent /run/waagent -type f -printf '%p %i %T@\\n' | sort")

        before, there = lines(), files()
        for _ in range(120):
            booted.guest.run("systemctl start waagent-periodic.service")
        assert property_of(booted, "waagent-periodic.service", "Result") == "exec-condition"
        assert files() == there
        assert lines() - before <= 1
    finally:
        booted.guest.succeed(["rm", quick])
        booted.guest.release_agent()


@pytest.mark.row("field-demands", 83)
def test_a_changed_host_name_is_due_at_once(booted: Bed) -> None:
    """What the shell sees of the real /proc, whatever else is due."""
    booted.guest.hold_agent()
    name = booted.guest.succeed("hostname").strip()
    try:
        # What was written just before the agent came to rest is worth a second pass.
        at_rest = "/usr/sbin/waagent stage periodic && sleep 31 && ! /usr/lib/waagent/periodic-due"
        booted.guest.wait_until_succeeds(at_rest, timeout=150)
        booted.guest.succeed("hostname other")
        assert booted.guest.run("/usr/lib/waagent/periodic-due").status == 0
    finally:
        booted.guest.succeed(["hostname", name])
        booted.guest.release_agent()


@pytest.mark.row("guest-operations", 10)
def test_switched_off_agent_stays_off_without_failing(booted: Bed) -> None:
    booted.guest.write("/var/lib/waagent/disable_agent", "")
    try:
        booted.guest.succeed("systemctl restart waagent.service")
        assert property_of(booted, "waagent.service", "ActiveState") == "inactive"
    finally:
        booted.guest.succeed("rm /var/lib/waagent/disable_agent; systemctl start waagent.service")


def test_status_tells_the_stages_of_this_boot(booted: Bed) -> None:
    status = json.loads(booted.guest.read("/run/waagent/status.json"))
    assert set(BOOT) <= set(status["stages"])
    assert {status["stages"][stage]["state"] for stage in BOOT} == {"done"}
