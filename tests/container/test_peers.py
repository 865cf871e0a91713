"""Agents of other people against the simulator: what provisions on the real fabric provisions here.

The incumbent agent and cloud-init, as Debian 12 packages them, run in a guest of their own. What a container lacks of
a virtual machine is put in its place: firmware strings, the DVD, the interface scripts. They reach the fabric by DHCP.

A violation here is a rule of the simulator that the real fabric does not have; a complaint of the agent
about an answer is an answer that the real fabric does not give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import Bed, Dhcp, tree

from waagent.simulator import Machine

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
NAME = "Demo.Hello"

# The chassis asset tag by which a machine on Azure is known. Source: provisioning "Is this Azure?".
ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"

# What the incumbent misses in a container; every other warning or error of it fails the test.
MISSED_IN_A_CONTAINER = (
    "resource disk", "ActivateResourceDisk",
    "umount /mnt/cdrom/secure", "Failed to unmount dvd device",
    "No route exists to 168.63.129.16", "Dhcp client is not running",
)  # fmt: skip


def give_firmware(bed: Bed) -> None:
    """dmidecode with what Hyper-V's firmware says: neither agent takes a container's id for the machine's."""
    script = f"""#!/bin/sh
    case "$*" in
    *system-uuid*) echo {bed.guest.vm_id} ;;
    *chassis-asset-tag*) echo {ASSET_TAG} ;;
    *) echo Virtual Machine ;;
    esac
    """
    bed.guest.write("/usr/local/sbin/dmidecode", script, 0o755)


def refused(bed: Bed) -> list[str]:
    """Every request that was not answered well, and every rule that was broken."""
    simulator = bed.fabric.simulator
    wrong = [f"{one.method} {one.target}: {one.status}" for one in simulator.requests if not 200 <= one.status < 400]
    return [*wrong, *map(str, simulator.violations), *simulator.errors]


# --- the incumbent -------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def incumbent() -> Iterator[Bed]:
    with Bed(layers=[tree.base("bookworm", "waagent")]) as bed, Dhcp(bed.network, bed.directory):
        give_firmware(bed)
        conf = "s/^Provisioning.Agent=.*/Provisioning.Agent=waagent/"
        bed.guest.succeed(["sed", "-i", conf, "/etc/waagent.conf"])
        bed.guest.write("/etc/systemd/system/walinuxagent.service.d/container.conf", "[Unit]\nConditionVirtualization=\n")
        for name in ("ifdown", "ifup"):  # it publishes the host name with these; networkd has the interface here
            bed.guest.write(f"/usr/local/sbin/{name}", "#!/bin/sh\nexit 0\n", 0o755)
        bed.guest.succeed("ssh-keygen -A")  # it makes new ones, but expects a server that runs
        yield bed


@pytest.fixture(scope="module")
def provisioned(incumbent: Bed) -> tuple[Machine, Path]:
    private, public = incumbent.make_key()
    machine = incumbent.machine(user="ada", password="Correct-horse-7", ssh_keys=[public], host_name="peer-one")
    # A file bound over /dev/sr0 is a medium that is mounted already: the document lies where it would be.
    medium = incumbent.directory / "medium"
    medium.touch()
    incumbent.guest.options.append(f"--bind={medium}:/dev/sr0")
    incumbent.guest.succeed("rm /var/lib/waagent/ovf-env.xml")
    incumbent.guest.write("/mnt/cdrom/secure/ovf-env.xml", machine.ovf_env(), 0o600)
    incumbent.fabric.simulator.add_package(HANDLERS / NAME, NAME, "1.0.0")
    incumbent.guest.boot()
    machine.wait_for("ready", timeout=120)
    # A goal state published while it reads the one before would be answered with 410 for the old documents.
    machine.wait_for("status", timeout=60)
    return machine, private


def test_incumbent_provisions_to_ready(incumbent: Bed, provisioned: tuple[Machine, Path]) -> None:
    machine, private = provisioned
    assert [(one.state, one.substatus) for one in machine.reports.health] == [("NotReady", "Provisioning"), ("Ready", "")]
    assert incumbent.ssh("ada", private, "id -un; hostname").out == "ada\npeer-one\n"
    assert "Using waagent for provisioning" in incumbent.guest.read("/var/log/waagent.log")


def test_incumbent_installs_an_extension_and_reports_it(incumbent: Bed, provisioned: tuple[Machine, Path]) -> None:
    machine, _ = provisioned
    settings = {"public": {"name": "Grace"}, "protected": {"secret": "not for every eye"}}
    machine.publish([{"name": NAME, "version": "1.0.0", **settings}])
    entry = machine.wait_for(f"extension={NAME}", timeout=60)
    status = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    assert (entry["status"], entry["handlerVersion"], status["status"]) == ("Ready", "1.0.0", "success")
    assert status["formattedMessage"]["message"].startswith("hello, Grace; ")
    summary = machine.reports.summary()
    assert summary["agent"]["version"].startswith("2.7.3")
    assert summary["agent"]["status"] == "Ready"


def test_incumbent_updates_and_uninstalls_it(incumbent: Bed, provisioned: tuple[Machine, Path]) -> None:
    machine, _ = provisioned
    incumbent.fabric.simulator.add_package(HANDLERS / NAME, NAME, "1.1.0")
    machine.publish([{"name": NAME, "version": "1.1.0", "public": {"name": "Grace"}}])
    machine.wait_for(lambda one: (one.reports.extension(NAME) or {}).get("handlerVersion") == "1.1.0", timeout=90)
    machine.publish([{"name": NAME, "version": "1.1.0", "state": "uninstall"}])
    machine.wait_for(lambda one: one.reports.extension(NAME) is None, timeout=60)


def test_incumbent_and_fabric_have_no_complaint(incumbent: Bed, provisioned: tuple[Machine, Path]) -> None:
    machine, _ = provisioned
    machine.wait_for(lambda one: one.reports.telemetry, timeout=90)
    assert not refused(incumbent)
    log = incumbent.guest.read("/var/log/waagent.log").splitlines()
    complaints = [line for line in log if re.match(r"\S+Z (WARNING|ERROR) ", line)]
    assert not [line for line in complaints if not any(known in line for known in MISSED_IN_A_CONTAINER)]


# --- cloud-init ----------------------------------------------------------------------------------------------------

@pytest.fixture
def cloud_init() -> Iterator[Bed]:
    with Bed(layers=[tree.base("bookworm", "cloud-init")]) as bed, Dhcp(bed.network, bed.directory):
        give_firmware(bed)
        # A container would not ask the firmware at all.
        detect = '#!/bin/sh\ncase "$*" in *-c*) echo none; exit 1 ;; esac\necho microsoft\n'
        bed.guest.write("/usr/local/bin/systemd-detect-virt", detect, 0o755)
        hide = "[Service]\nExecStartPre=/bin/mount --bind /dev/null /proc/1/environ\n"
        bed.guest.write("/etc/systemd/system/cloud-init-local.service.d/no-container.conf", hide)
        # A veth has no device behind it, so cloud-init would wait for the interface that the metadata names.
        settings = "datasource_list: [Azure]\nnetwork: {config: disabled}\nlocale: C.UTF-8\n"
        bed.guest.write("/etc/cloud/cloud.cfg.d/90_bed.cfg", settings)
        yield bed


def order(bed: Bed, **given: object) -> Machine:
    """The machine, with its document in the directory that cloud-init takes for the medium."""
    user_data = "#cloud-config\nwrite_files:\n- {path: /etc/asked-for, content: 'yes'}\n"
    mac = bed.network.mac().replace(":", "").upper()
    machine = bed.machine(user="ada", host_name="peer-two", custom_data=user_data, mac_address=mac, **given)
    bed.guest.succeed("rm /var/lib/waagent/ovf-env.xml")
    bed.guest.write("/var/lib/cloud/seed/azure/ovf-env.xml", machine.ovf_env(), 0o600)
    return machine


def settle(bed: Bed, machine: Machine) -> None:
    bed.guest.boot()
    machine.wait_for("ready", timeout=120)
    status = bed.guest.succeed("cloud-init status --wait --long", timeout=120)
    assert "status: done" in status, status
    assert "DataSourceAzure" in status
    assert [(one.state, one.substatus) for one in machine.reports.health] == [("Ready", "")]
    assert not refused(bed)
    log = bed.guest.read("/var/log/cloud-init.log")
    assert "Reported ready to Azure fabric" in log
    # The one warning that a container earns: it may not read the kernel's messages.
    azure = [line for line in log.splitlines() if re.search(r"azure\.py\[(WARNING|ERROR)\]", line, re.IGNORECASE)]
    assert not [line for line in azure if "dumping dmesg" not in line]


def test_cloud_init_provisions_to_ready(cloud_init: Bed) -> None:
    private, public = cloud_init.make_key()
    machine = order(cloud_init, ssh_keys=[public])
    settle(cloud_init, machine)
    asked = cloud_init.ssh("ada", private, "id -un; hostname; cat /etc/asked-for")
    assert asked.out == "ada\npeer-two\nyes"
    assert cloud_init.fabric.simulator.requests.select(service="imds", path="/metadata/instance")


def test_cloud_init_takes_a_key_from_the_certificates(cloud_init: Bed) -> None:
    """The way for a key that the metadata have in another form than OpenSSH's. Source: wire-protocol 10."""
    machine = order(cloud_init)
    other_form = b'"publicKeys": [{"keyData": "ssh-rsa AAAA\\r\\nBBBB\\r\\n", "path": "/home/ada/.ssh/authorized_keys"}]'
    cloud_init.fabric.simulator.fault(
        "/metadata/instance", transform=lambda body: body.replace(b'"publicKeys": []', other_form)
    )
    key = machine.add_ssh_certificate().public_ssh_key()
    cloud_init.guest.write("/var/lib/cloud/seed/azure/ovf-env.xml", machine.ovf_env(), 0o600)
    settle(cloud_init, machine)
    assert key.split()[1] in cloud_init.guest.read("/home/ada/.ssh/authorized_keys")
    (asked,) = cloud_init.fabric.simulator.requests.select(comp="certificates")
    assert asked.status == 200
