"""Handlers in a booted guest: their scopes, a worker that is killed, a reboot in the middle of enable, a long one."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from typing import Optional

import pytest
from bed import Bed
from bed.scene import WORKER

from waagent.simulator import Machine

NAME = "Contoso.Test.Probe"
BASE = f"/var/lib/waagent/{NAME}-1.0.0"
RUN = """#!/bin/sh
echo "$1" >> /var/tmp/commands
cat /proc/self/cgroup > "/var/tmp/cgroup.$1"
status() {
    printf '[{"status": {"operation": "Enable", "status": "%s", "code": 0,
        "formattedMessage": {"lang": "en-US", "message": "%s"}}}]' "$1" "$2" > "status/$ConfigSequenceNumber.status"
}
[ "$1" != enable ] || . ./enable.sh
"""


def package(enable: str, limits: Optional[Mapping[str, object]] = None) -> bytes:
    body = {f"{verb}Command": f"run.sh {verb}" for verb in ("install", "uninstall", "update", "enable", "disable")}
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        manifest = [{"handlerManifest": body, "resourceLimits": {"cpuQuotaPercentage": 40} if limits is None else limits}]
        archive.writestr("HandlerManifest.json", json.dumps(manifest))
        archive.writestr("run.sh", RUN)
        archive.writestr("enable.sh", enable)
    return output.getvalue()


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine()
    bed.guest.boot()
    made.wait_for("ready", 60)
    return made


def publish(bed: Bed, machine: Machine, enable: str, name: str = NAME) -> None:
    bed.guest.run("rm -f /var/tmp/commands")
    bed.fabric.simulator.add_package(package(enable), name, "1.0.0")
    machine.publish([{"name": name, "version": "1.0.0", "public": {"at": time.time()}}])


def commands(bed: Bed) -> list[str]:
    return bed.guest.read("/var/tmp/commands").split()


@pytest.mark.row("field-demands", 86)
def test_a_command_runs_in_a_scope_of_its_own_in_the_slice_of_its_handler(bed: Bed, machine: Machine) -> None:
    publish(bed, machine, "status success fine")
    machine.wait_for(f"extension={NAME}", 60)
    assert commands(bed) == ["install", "enable"]
    for verb in ("install", "enable"):
        place = bed.guest.read(f"/var/tmp/cgroup.{verb}")
        assert f"/azure.slice/azure-vmextensions.slice/azure-vmextensions-{NAME}.slice/{verb}_" in place
    quota = bed.guest.succeed(f"systemctl show -p CPUQuotaPerSecUSec --value azure-vmextensions-{NAME}.slice")
    assert quota.strip() == "400ms"


def test_a_new_version_without_a_quota_is_not_held_to_that_of_the_old_one(bed: Bed, machine: Machine) -> None:
    name = "Contoso.Test.Unlimited"
    shown = f"systemctl show -p CPUQuotaPerSecUSec --value azure-vmextensions-{name}.slice"
    publish(bed, machine, "status success limited", name)
    machine.wait_for(f"extension={name}", 60)
    assert bed.guest.succeed(shown).strip() == "400ms"
    bed.fabric.simulator.add_package(package("sleep 1; status success free", {}), name, "1.1.0")
    machine.publish([{"name": name, "version": "1.1.0", "public": {}}])
    bed.guest.wait_until_succeeds(f"test -e /var/lib/waagent/{name}-1.1.0/status/1.status", 60)
    assert bed.guest.succeed(shown).strip() == "infinity"


@pytest.mark.row("field-demands", 161)
@pytest.mark.row("extensions", 127)
def test_161_a_handler_survives_the_worker_and_its_result_counts(bed: Bed, machine: Machine) -> None:
    name = "Contoso.Test.Survivor"
    publish(bed, machine, "touch /var/tmp/begun; sleep 8; status success survived", name)
    bed.guest.wait_until_succeeds("test -e /var/tmp/begun", 30)
    bed.guest.succeed("systemctl kill -s KILL waagent-worker@goal-state.service; systemctl restart waagent.service")
    machine.wait_for(f"extension={name}", 60)
    assert commands(bed) == ["install", "enable"]


def test_reports_go_on_while_a_handler_works(bed: Bed, machine: Machine) -> None:
    name = "Contoso.Test.Long"
    publish(bed, machine, "touch /var/tmp/long; until [ -e /var/tmp/enough ]; do sleep 0.2; done; status success done", name)
    bed.guest.wait_until_succeeds("test -e /var/tmp/long", 60)
    told: list[tuple[str, str, str]] = []
    while len(told) < 2:  # what has not changed goes out once a minute
        machine.wait_for("status", 75)
        report = machine.reports.status
        assert report is not None
        for entry in report["aggregateStatus"]["handlerAggregateStatus"]:
            if entry["handlerName"] == name:
                status = entry["runtimeSettingsStatus"]["settingsStatus"]
                told.append((status["status"]["status"], status["timestampUTC"], report["timestampUTC"]))
    bed.guest.succeed("touch /var/tmp/enough")
    assert {state for state, _, _ in told} == {"transitioning"}
    for times in ([one for _, one, _ in told], [one for _, _, one in told]):
        assert times == sorted(set(times)), told
    machine.wait_for(f"extension={name}", 60)


@pytest.mark.row("field-demands", 166)
def test_a_reboot_in_the_middle_of_enable_enables_again(bed: Bed, machine: Machine) -> None:
    name = "Contoso.Test.Rebooted"
    enable = "if [ -e /var/tmp/first ]; then status success again; else touch /var/tmp/first; sync; sleep 60; fi"
    publish(bed, machine, enable, name)
    bed.guest.wait_until_succeeds("test -e /var/tmp/first", 60)
    bed.guest.reboot()
    machine.wait_for(f"extension={name}", 120)
    assert commands(bed) == ["install", "enable", "enable"]


# As the manual of waagent 2 tells to set a proxy. There is none, so packages come through the host.
DROP_IN = r"""[Service]
Environment="http_proxy=http://ada:p%%40ss@127.0.0.1:9/" "no_proxy=intern.example"
Environment='SITE=two  words, $HOME, "quoted", `date`, back\\slash'
"""
SITE = r"""two  words, $HOME, "quoted", `date`, back\slash"""


def test_the_environment_of_the_service_is_that_of_extensions(bed: Bed, machine: Machine) -> None:
    name, enable = "Contoso.Test.Proxied", "env -0 > /var/tmp/environment; status success done"
    folder = "/etc/systemd/system/walinuxagent.service.d"
    machine.wait_for("goal-state", 60)  # a worker that was begun before has what was given before
    bed.guest.succeed(f"mkdir {folder}")
    bed.guest.write(f"{folder}/http-proxy.conf", DROP_IN)
    restart = f"systemctl daemon-reload && ! systemctl is-active {WORKER} && systemctl restart waagent.service"
    bed.guest.wait_until_succeeds(restart)
    assert bed.guest.succeed("stat -c '%a %U' /run/waagent/environment") == "600 root\n"
    publish(bed, machine, enable, name)
    machine.wait_for(f"extension={name}", 60)
    for way in ("by a worker", "by hand"):
        found = dict(one.split("=", 1) for one in bed.guest.read("/var/tmp/environment").split("\0") if one)
        assert found["http_proxy"] == "http://ada:p%40ss@127.0.0.1:9/", way
        assert (found["no_proxy"], found["SITE"]) == ("intern.example", SITE), way
        assert [one for one in found if one.startswith(("NOTIFY_", "WATCHDOG_", "WAAGENT_"))] == [], way
        bed.guest.wait_until_succeeds(f"! systemctl is-active {WORKER}")
        bed.guest.succeed("rm /var/tmp/environment; env -i PATH=$PATH waagent extensions retry Proxied")
    bed.guest.succeed(f"rm -r {folder}")
    bed.guest.write("/etc/waagent.conf.d/60-proxy.conf", "HttpProxy.Host=127.0.0.1\nHttpProxy.Port=9\n")  # the agent's own
    bed.guest.wait_until_succeeds(restart)
    publish(bed, machine, enable, name + "Not")
    machine.wait_for(f"extension={name}Not", 60)
    assert "_proxy" not in bed.guest.read("/var/tmp/environment").lower()
    bed.guest.succeed("rm /etc/waagent.conf.d/60-proxy.conf")


HOLDS = """
import fcntl, time
with open("/var/lib/dpkg/lock-frontend", "r+") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    open("/var/tmp/locked", "w")
    time.sleep(8)
    open("/var/tmp/released", "w")
"""


@pytest.mark.row("field-demands", 163)
def test_row_163_a_handler_does_not_meet_the_package_manager_at_work(bed: Bed, machine: Machine) -> None:
    """The lock of dpkg itself; the handler does what many do, and would fail at once beside another installation."""
    name = "Contoso.Test.Packages"
    bed.guest.write("/var/tmp/holds.py", HOLDS)
    bed.guest.succeed("systemd-run --quiet python3 /var/tmp/holds.py")
    bed.guest.wait_until_succeeds("test -e /var/tmp/locked", 30)
    bed.guest.fail("apt-get --quiet --quiet autoremove --yes")
    publish(bed, machine, "apt-get --quiet --quiet autoremove --yes && status success done || exit 56", name)
    entry = machine.wait_for(f"extension={name}", 60)
    assert (entry["status"], entry["code"]) == ("Ready", 0)
    bed.guest.succeed(f"test /var/tmp/commands -nt /var/tmp/released && test -e {BASE.replace(NAME, name)}")
    assert f"install {name} 1.0.0: waited" in bed.guest.read("/var/log/waagent.log")


# Three generations: a child, one in a session of its own, and one whose parents have gone.
FORKS = """#!/bin/sh
sleep 9871 &
setsid sleep 9872 &
( setsid sh -c 'sleep 9873 &' & )
sleep 1
"""
RUNNER = """
import sys
from waagent.extensions import commands
from waagent.extensions.layout import Layout
from waagent.system import System
command = commands.Command("enable", "Contoso.Test.Forks", "1.0.0", "", "forks.sh", {}, 4.0)
ended = commands.run(System("/", journalling=False), Layout(), command, lambda running: print(running.unit))
print(ended.timed_out, ended.status, ended.scopeless)
"""


@pytest.mark.row("field-demands", 164)
@pytest.mark.parametrize("hangs", [True, False], ids=["over-its-limit", "ends-in-time"])
def test_row_164_what_a_command_has_forked(bed: Bed, machine: Machine, hangs: bool) -> None:
    """Over its limit everything in its scope dies; what a command that ended in time leaves behind lives on there."""
    base = "/var/lib/waagent/Contoso.Test.Forks-1.0.0"
    bed.guest.succeed(f"mkdir -p {base}")
    bed.guest.write(f"{base}/forks.sh", FORKS + ("sleep 9874\n" if hangs else ""), 0o755)
    bed.guest.write("/var/tmp/runner.py", RUNNER)
    unit, ended = bed.guest.succeed("python3 /var/tmp/runner.py").splitlines()
    active = bed.guest.run(f"systemctl is-active {unit}").out.strip()
    left = bed.guest.run("pgrep -f '^sleep 987'").out.split()
    if hangs:
        assert (ended, left) == ("True 137 False", [])
        assert active != "active"
    else:
        assert (ended, active, len(left)) == ("False 0 False", "active", 3)
        bed.guest.succeed(f"systemctl kill -s KILL {unit}")
