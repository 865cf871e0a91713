"""What people do about extensions in a booted guest: hooks around commands, looking, trying again, running a package."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from bed import Bed

from waagent.simulator import Machine

NAME = "Contoso.Test.Probe"
RUN = """#!/bin/sh
echo "$1" >> /var/tmp/order
[ "$1" != enable ] || [ -e /var/tmp/cure ] || exit 3
[ "$1" != enable ] || printf '[{"status": {"operation": "Enable", "status": "success", "code": 0,
    "formattedMessage": {"lang": "en-US", "message": "fine"}}}]' > "status/$ConfigSequenceNumber.status"
"""
HOOK = """#!/bin/sh
printf 'hook %s\\n' "$(python3 -c 'import json,sys; e=json.load(sys.stdin)["event"]
print(e["name"], e["handler"], e["version"], e["operation"], e.get("result", ""))')" >> /var/tmp/order
"""


def package() -> bytes:
    body = {f"{verb}Command": f"run.sh {verb}" for verb in ("install", "uninstall", "update", "enable", "disable")}
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("HandlerManifest.json", json.dumps([{"handlerManifest": body}]))
        archive.writestr("run.sh", RUN)
    return output.getvalue()


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine()
    bed.guest.boot()
    made.wait_for("ready", 60)
    for event in ("started", "finished"):
        bed.guest.succeed(f"mkdir -p /etc/waagent/hooks.d/on-extension-{event}")
        bed.guest.write(f"/etc/waagent/hooks.d/on-extension-{event}/10-note.sh", HOOK, 0o755)
    bed.fabric.simulator.add_package(package(), NAME, "1.0.0")
    made.publish([{"name": NAME, "version": "1.0.0", "public": {}}])
    made.wait_for(lambda vm: (vm.reports.extension(NAME) or {}).get("code") == 1009, 60)
    return made


def order(bed: Bed) -> list[str]:
    lines = bed.guest.read("/var/tmp/order").splitlines()
    bed.guest.succeed("rm -f /var/tmp/order")
    return [line.strip() for line in lines]


def hooked(verb: str, result: str) -> list[str]:
    began = f"hook extension-started {NAME} 1.0.0 {verb}"
    return [began, verb, f"hook extension-finished {NAME} 1.0.0 {verb} {result}"]


@pytest.mark.row("field-demands", 62)
def test_hooks_run_before_and_after_each_command(bed: Bed, machine: Machine) -> None:
    assert order(bed) == hooked("install", "succeeded") + hooked("enable", "failed")


def test_people_see_why_it_failed(bed: Bed, machine: Machine) -> None:
    listed = bed.guest.succeed("waagent extensions list")
    assert f"{NAME}  1.0.0    Installed" in listed
    assert "NotReady (1009)" in listed
    shown = json.loads(bed.guest.succeed("waagent extensions show probe --format json"))["extension"]
    assert "exit code 3" in shown["message"]
    assert "status 3" in bed.guest.succeed("waagent extensions logs probe")


def test_a_retry_runs_what_failed_and_the_platform_hears_of_it(bed: Bed, machine: Machine) -> None:
    assert bed.guest.fail("waagent extensions retry Probe").status == 1
    assert order(bed) == hooked("enable", "failed")
    bed.guest.succeed("touch /var/tmp/cure")
    assert "success" in bed.guest.succeed("waagent extensions retry Probe")
    assert order(bed) == hooked("enable", "succeeded")
    entry = machine.wait_for(f"extension={NAME}", 60)
    assert entry["status"] == "Ready"


@pytest.mark.row("extensions", 5)
def test_5_a_restart_of_the_agent_enables_once_more(bed: Bed, machine: Machine) -> None:
    bed.guest.succeed("systemctl restart waagent.service")
    bed.guest.wait_until_succeeds("grep -q finished /var/tmp/order", 60)
    assert order(bed) == hooked("enable", "succeeded")
    bed.guest.fail("sleep 15; test -e /var/tmp/order")


def test_a_package_runs_in_a_tree_of_its_own_and_leaves_nothing(bed: Bed, machine: Machine) -> None:
    bed.guest.write("/root/Contoso.Test.Local-2.0.0.zip", "")
    with open(bed.guest.root / "root/Contoso.Test.Local-2.0.0.zip", "wb") as stream:
        stream.write(package())
    bed.guest.write("/root/secret.json", '{"password": "correct horse"}')
    run = "cd /root && waagent extensions run Contoso.Test.Local-2.0.0.zip --protected secret.json"
    said = bed.guest.succeed(f"{run} --operation install,enable,disable,uninstall")
    assert said.splitlines()[-1] == "Contoso.Test.Local 2.0.0: succeeded"
    assert "Contoso.Test.Local" not in bed.guest.succeed("waagent extensions list; ls /var/lib/waagent /tmp")
    assert order(bed) == ["install", "enable", "disable", "uninstall"]
    bed.guest.fail("grep -rF 'correct horse' /var/log /var/lib/waagent /run /tmp")


def test_fabric_has_no_complaint(bed: Bed, machine: Machine) -> None:
    assert not bed.fabric.simulator.violations
    assert not bed.fabric.simulator.errors
