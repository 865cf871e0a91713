"""Bad input at boot: one clear line each, the boot goes on, the fabric hears why provisioning failed."""

from __future__ import annotations

import pytest
from bed import Bed

OVF = "/var/lib/waagent/ovf-env.xml"


def log(bed: Bed) -> str:
    return bed.guest.read("/var/log/waagent.log")


def test_malformed_document_is_reported_and_nobody_is_locked_out(fresh_bed: Bed) -> None:
    machine = fresh_bed.machine(user="ada", ssh_keys=[fresh_bed.make_key()[1]])
    fresh_bed.guest.write(OVF, "<ns0:Environment><not closed", 0o600)
    fresh_bed.guest.boot()
    machine.wait_for("failed", timeout=60)
    report = machine.reports.health[-1]
    assert report.substatus == "ProvisioningFailed"
    assert "ovf-env.xml" in report.description
    fresh_bed.guest.wait_until_booted()
    fresh_bed.guest.wait_for_unit("waagent.service")
    assert fresh_bed.guest.run("waagent status").status == 1
    assert fresh_bed.guest.read(OVF) == "<ns0:Environment><not closed", "the document is evidence"


def test_document_mended_by_the_next_boot_provisions(fresh_bed: Bed) -> None:
    machine = fresh_bed.machine(user="ada", ssh_keys=[fresh_bed.make_key()[1]])
    good = fresh_bed.guest.read(OVF)
    fresh_bed.guest.write(OVF, "", 0o600)
    fresh_bed.guest.boot()
    machine.wait_for("failed", timeout=60)
    fresh_bed.guest.write(OVF, good, 0o600)
    fresh_bed.guest.reboot()
    machine.wait_for("ready", timeout=60)
    fresh_bed.guest.succeed("id ada")


def test_unknown_option_is_named_with_its_line_and_the_boot_goes_on(fresh_bed: Bed) -> None:
    machine = fresh_bed.machine(user="ada", ssh_keys=[fresh_bed.make_key()[1]])
    fresh_bed.guest.write("/etc/waagent.conf.d/50-site.conf", "# site\nProvisioning.Colour=green\nLogs.Verbose=maybe\n")
    fresh_bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    told = log(fresh_bed)
    assert "/etc/waagent.conf.d/50-site.conf:2" in told and "Provisioning.Colour" in told
    assert "/etc/waagent.conf.d/50-site.conf:3" in told and "Logs.Verbose" in told


@pytest.mark.parametrize("fault", [{"status": 500, "count": 3}, {"status": 410, "count": 2}, {"silent": True, "count": 3}])
def test_fabric_that_stumbles_is_asked_again(fresh_bed: Bed, fault: dict[str, object]) -> None:
    machine = fresh_bed.machine(user="ada", ssh_keys=[fresh_bed.make_key()[1]])
    fresh_bed.fabric.simulator.fault("/machine/?comp=goalstate", **fault)
    fresh_bed.guest.boot()
    machine.wait_for("ready", timeout=120)


def test_fabric_that_is_not_there_keeps_nobody_out(fresh_bed: Bed) -> None:
    """sshd starts, the user logs in, and when the fabric comes back the machine reports by itself."""
    key, public = fresh_bed.make_key()
    machine = fresh_bed.machine(user="ada", ssh_keys=[public])
    fresh_bed.fabric.simulator.fault("*", reset=True)
    fresh_bed.guest.boot()
    fresh_bed.guest.wait_for_unit("ssh.service", timeout=30)
    assert fresh_bed.ssh("ada", key, "id -un").out == "ada\n"
    fresh_bed.fabric.simulator.clear_faults()
    machine.wait_for("ready", timeout=120)
