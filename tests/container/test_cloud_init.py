"""cloud-init provisions, and this agent beside it takes over what it learned, reports, and does the rest.

The real cloud-init of Debian 12, which gets the document as its Azure data source would from the medium. What a
container lacks of a virtual machine is put in its place: the firmware's strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

import pytest
from bed import Bed, Dhcp, package, tree

from waagent.simulator import Machine

# The chassis asset tag by which a machine on Azure is known. Source: provisioning "Is this Azure?".
ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
PASSWORD = "Correct-Horse-7-Battery"
USER_DATA = "#cloud-config\nwrite_files:\n- {path: /etc/asked-for, content: 'yes'}\n"


class Provisioned(NamedTuple):
    bed: Bed
    machine: Machine
    key: Path


def prepare(bed: Bed) -> None:
    guest = bed.guest
    guest.write("/usr/local/sbin/dmidecode", f"""#!/bin/sh
        case "$*" in
        *system-uuid*) echo {guest.vm_id} ;;
        *chassis-asset-tag*) echo {ASSET_TAG} ;;
        *) echo Virtual Machine ;;
        esac
        """, 0o755)  # fmt: skip
    # A container would not ask the firmware at all.
    detect = '#!/bin/sh\ncase "$*" in *-c*) echo none; exit 1 ;; esac\necho microsoft\n'
    guest.write("/usr/local/bin/systemd-detect-virt", detect, 0o755)
    hide = "[Service]\nExecStartPre=/bin/mount --bind /dev/null /proc/1/environ\nExecStopPost=-/bin/umount /proc/1/environ\n"
    guest.write("/etc/systemd/system/cloud-init-local.service.d/no-container.conf", hide)
    shown = "[Service]\nExecStartPost=-/bin/umount /proc/1/environ\n"
    guest.write("/etc/systemd/system/cloud-init-local.service.d/shown.conf", shown)
    # A veth has no device behind it, so cloud-init would wait for the interface that the metadata name.
    settings = "datasource_list: [Azure]\nnetwork: {config: disabled}\nlocale: C.UTF-8\n"
    guest.write("/etc/cloud/cloud.cfg.d/90_bed.cfg", settings)


@pytest.fixture(scope="module")
def layers() -> list[Path]:
    return tree.layers("bookworm", package.build(), "cloud-init")


@pytest.fixture(scope="module")
def vm(layers: list[Path]) -> Iterator[Provisioned]:
    with Bed(layers=layers) as bed, Dhcp(bed.network, bed.directory, options=()):
        prepare(bed)
        private, public = bed.make_key()
        mac = bed.network.mac().replace(":", "").upper()
        machine = bed.machine(
            user="ada", host_name="vm-cloud", password=PASSWORD, ssh_keys=[public], custom_data=USER_DATA,
            mac_address=mac, disable_password_authentication=False,
        )  # fmt: skip
        bed.guest.succeed("rm /var/lib/waagent/ovf-env.xml")
        bed.guest.write("/var/lib/cloud/seed/azure/ovf-env.xml", machine.ovf_env(), 0o600)
        bed.guest.boot()
        bed.guest.wait_until_booted()
        machine.wait_for("ready", timeout=120)
        bed.guest.wait_for_unit("waagent-final.service", timeout=120)
        yield Provisioned(bed, machine, private)


def steps(vm: Provisioned) -> dict[str, tuple[str, str]]:
    status = json.loads(vm.bed.guest.run("waagent status --format json").out)
    return {
        f"{stage}.{step['name']}": (step["outcome"], step["message"])
        for stage, record in status["stages"].items()
        for step in record["steps"]
    }


def test_cloud_init_does_it_and_our_steps_say_so(vm: Provisioned) -> None:
    found = steps(vm)
    assert "cloud-init is enabled" in found["local.provisioning-agent"][1]
    for step in ("instance-media", "hostname", "user", "password", "authorized-keys", "sudo", "sshd", "ssh-host-keys"):
        outcome, why = found[f"local.{step}"]
        assert outcome == "skipped" and "provisioning.by" in why and "cloud-init" in why, (step, outcome, why)
    assert [name for name, (outcome, _) in found.items() if outcome == "failed"] == []


@pytest.mark.row("field-demands", 44)
def test_the_owner_gets_what_was_asked_for_once(vm: Provisioned) -> None:
    asked = vm.bed.ssh("ada", vm.key, "id -un; hostname; cat /etc/asked-for")
    assert asked.out == "ada\nvm-cloud\nyes"
    assert vm.bed.guest.succeed("grep -c ssh-ed25519 /home/ada/.ssh/authorized_keys") == "1\n"
    assert not vm.bed.guest.exists("/etc/sudoers.d/waagent")


def test_its_data_is_taken_over_without_the_password(vm: Provisioned) -> None:
    guest = vm.bed.guest
    assert steps(vm)["final.cloud-init"][0] == "changed"
    assert guest.succeed("su ada -c 'waagent query ovf.host_name'") == "vm-cloud\n"
    assert guest.succeed("waagent query ovf.user_name") == "ada\n"
    guest.fail(["grep", "-rF", PASSWORD, "/var/lib/waagent", "/var/log", "/run/waagent"])
    assert guest.read("/var/lib/waagent/published_hostname") == "vm-cloud"


def test_the_platform_hears_ready_and_never_that_it_is_not(vm: Provisioned) -> None:
    assert {report.state for report in vm.machine.reports.health} == {"Ready"}
    assert vm.bed.guest.read("/var/lib/waagent/provisioned").strip() == vm.bed.guest.vm_id
    assert not vm.bed.fabric.simulator.violations


def test_the_units_of_both_make_no_cycle(vm: Provisioned) -> None:
    guest = vm.bed.guest
    assert "ordering cycle" not in guest.journal()
    verified = guest.run("systemd-analyze verify --man=no waagent.target cloud-init.target default.target 2>&1").out
    assert "cycle" not in verified, verified
    assert guest.succeed("systemctl list-units --state=failed --no-legend --plain 'waagent*' 'cloud-*'") == ""


@pytest.mark.row("field-demands", 53)
def test_nobody_waits_for_our_waiting(vm: Provisioned) -> None:
    """The step that waits is in the last stage, which nothing of the boot is ordered after."""
    guest = vm.bed.guest
    behind = guest.succeed("systemctl list-dependencies --before --plain waagent-final.service").split()
    assert not [unit for unit in behind if unit.startswith(("ssh", "multi-user", "systemd-user-sessions"))]


def test_another_boot_provisions_nothing_and_tells_nothing(vm: Provisioned) -> None:
    guest = vm.bed.guest
    told = len(vm.machine.reports.health)
    guest.reboot()
    guest.wait_until_booted()
    guest.wait_for_unit("waagent-final.service", timeout=120)
    assert len(vm.machine.reports.health) == told
    assert vm.bed.ssh("ada", vm.key, "hostname").out == "vm-cloud\n"


def test_provisioning_by_both_is_refused_and_reported(layers: list[Path]) -> None:
    """Row 60: Provisioning.Agent=waagent on a machine where cloud-init is enabled."""
    with Bed(layers=layers) as bed, Dhcp(bed.network, bed.directory, options=()):
        prepare(bed)
        bed.guest.write("/etc/waagent.conf.d/10-agent.conf", "Provisioning.Agent=waagent\n")
        machine = bed.machine(user="ada", host_name="vm-both", mac_address=bed.network.mac().replace(":", "").upper())
        bed.guest.boot()
        bed.guest.wait_for_unit("waagent-final.service", timeout=120)
        last = machine.reports.health[-1]
        assert (last.state, last.substatus) == ("NotReady", "ProvisioningFailed")
        assert "disable cloud-init-local.service" in last.description
        bed.guest.fail("test -e /etc/sudoers.d/waagent")


# -- who provisions: every row of 4.1, as the real package and the real systemd have it ----------------------------


@pytest.fixture(scope="module")
def idle(layers: list[Path]) -> Iterator[Bed]:
    """A running machine on which neither cloud-init nor this agent has done anything yet."""
    with Bed(layers=layers) as bed:
        bed.guest.write("/etc/cloud/cloud-init.disabled", "")
        bed.guest.succeed("systemctl mask --quiet waagent-local waagent-network waagent-config waagent-final waagent")
        bed.guest.boot()
        yield bed


@pytest.mark.parametrize(
    ("agent", "service", "by"),
    [
        pytest.param("auto", "enable", "cloud-init", id="auto-enabled"),
        pytest.param("auto", "disable", "waagent", id="auto-disabled"),
        pytest.param("auto", "mask", "waagent", id="auto-masked"),
        pytest.param("waagent", "disable", "waagent", id="waagent-disabled"),
        pytest.param("waagent", "enable", None, id="waagent-enabled"),
        pytest.param("cloud-init", "enable", "cloud-init", id="cloud-init-enabled"),
        pytest.param("cloud-init", "disable", "cloud-init", id="cloud-init-disabled"),
        pytest.param("disabled", "enable", "disabled", id="disabled-enabled"),
        pytest.param("disabled", "disable", "disabled", id="disabled-disabled"),
        pytest.param("Cloud", "disable", "waagent", id="another-word-is-reported-and-auto-is-used"),
    ],
)
def test_who_provisions(idle: Bed, agent: str, service: str, by: Optional[str]) -> None:
    guest, unit = idle.guest, "cloud-init-local.service"
    guest.write("/etc/waagent.conf.d/10-agent.conf", f"Provisioning.Agent={agent}\n")
    guest.succeed(f"systemctl unmask --quiet {unit}; systemctl {service} --quiet {unit}; rm -rf /var/lib/waagent/instance*")
    ran = guest.run("waagent stage local --only identify --only provisioning-agent")
    if by is None:
        assert ran.status == 1 and "disable cloud-init-local.service" in ran.err
        guest.fail("waagent query provisioning.by")
    else:
        assert ran.status == 0, ran
        assert guest.succeed("waagent query provisioning.by").strip() == by
