"""The first extension: downloaded, installed, enabled with its protected settings, reported; then changed and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from bed import Bed

from waagent.simulator import Machine

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
NAME = "Demo.Hello"
BASE = f"/var/lib/waagent/{NAME}-1.0.0"
SECRET = "not for every eye"


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine(user="ada", ssh_keys=[bed.make_key()[1]])
    bed.fabric.simulator.add_package(HANDLERS / NAME, NAME, "1.0.0")
    bed.guest.boot()
    made.wait_for("ready", timeout=60)
    return made


def wanted(name: str = "Ada", state: str = "enabled") -> list[dict[str, object]]:
    return [{"name": NAME, "version": "1.0.0", "state": state, "public": {"name": name}, "protected": {"secret": SECRET}}]


def test_extension_is_enabled_and_reported(bed: Bed, machine: Machine) -> None:
    machine.publish(wanted())
    entry = machine.wait_for(f"extension={NAME}", timeout=60)
    status = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    assert entry["status"] == "Ready"
    assert status["status"] == "success"
    assert status["formattedMessage"]["message"] == f"hello, Ada; {len('{}') + len('secret') + len(SECRET) + 6} characters were protected"


def test_extension_runs_in_a_scope_of_its_own_slice(bed: Bed, machine: Machine) -> None:
    assert "azure-vmextensions" in bed.guest.succeed("systemctl list-units --all --no-legend 'azure-vmextensions*.slice'")


def test_protected_settings_stay_protected(bed: Bed, machine: Machine) -> None:
    bed.guest.fail(["grep", "-rF", SECRET, "/var/log", "/run"])
    assert SECRET not in bed.guest.journal()
    assert bed.guest.succeed(f"stat -c %a {BASE}").strip() == "700"
    bed.guest.fail(f"find {BASE}/config -perm /077 | grep .")


def test_new_settings_are_applied_once(bed: Bed, machine: Machine) -> None:
    machine.publish(wanted("Grace"))
    entry = machine.wait_for(f"extension={NAME}", timeout=60)
    message = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]["formattedMessage"]["message"]
    assert message.startswith("hello, Grace;")


def test_restarted_watcher_goes_on_without_installing_again(bed: Bed, machine: Machine) -> None:
    log = f"/var/log/azure/{NAME}/hello.log"
    installs = bed.guest.succeed(f"grep -c install: {log}")
    bed.guest.succeed("systemctl restart waagent.service")
    machine.wait_for("status", timeout=90)
    assert bed.guest.succeed(f"grep -c install: {log}") == installs


def test_removed_extension_is_uninstalled_and_gone_from_the_report(bed: Bed, machine: Machine) -> None:
    machine.publish(wanted(state="uninstall"))
    machine.wait_for(f"extension={NAME}", timeout=60)
    assert not bed.guest.exists(BASE)


def test_fabric_has_no_complaint(bed: Bed, machine: Machine) -> None:
    assert not bed.fabric.simulator.violations
    assert not bed.fabric.simulator.errors
