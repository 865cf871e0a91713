"""Logs for support, by hand in a booted guest; a collector that is to be confined and is not. (In its scope: tests/vm.)"""

from __future__ import annotations

import pytest
from bed import Bed

from waagent.simulator import Machine

PASSWORD = "Correct-Horse-8-Battery"
ARCHIVE = "/var/lib/waagent/logcollector/logs.zip"


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine(user="ada", password=PASSWORD, disable_password_authentication=False)
    bed.guest.boot()
    made.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    return made


def test_by_hand_and_in_full(bed: Bed, machine: Machine) -> None:
    bed.guest.succeed(f"echo the password is '{PASSWORD}' > /var/log/syslog; logger by hand")
    assert ARCHIVE in bed.guest.succeed("waagent -collect-logs -full", timeout=120)
    assert bed.guest.succeed(f"stat -c %a {ARCHIVE}").strip() == "600"
    names = bed.guest.succeed(f"python3 -m zipfile -l {ARCHIVE}")
    for name in ("var/log/waagent.log", "var/lib/waagent/ovf-env.xml", "etc/waagent.conf", "etc/fstab", "results.txt"):
        assert name in names
    for name in (".prv", ".pem", "secret.json", "shadow", "ssh_host_"):
        assert name not in names
    bed.guest.succeed(f"rm -rf /root/look; python3 -m zipfile -e {ARCHIVE} /root/look")
    bed.guest.fail(["grep", "-rlE", "PRIVATE KEY-----$", "/root/look"])


@pytest.mark.row("guest-operations", 68)
def test_outside_of_its_slice_a_confined_collector_refuses(bed: Bed, machine: Machine) -> None:
    ran = bed.guest.run("systemd-run --quiet --scope -p CPUAccounting=yes -p CPUQuota=50% -p MemoryAccounting=yes "
                        "waagent collect-logs --confined", timeout=60)  # fmt: skip
    assert ran.status == 4, ran
    assert "not in azure-walinuxagent-logcollector.slice" in ran.err


def test_fabric_has_no_complaint(bed: Bed, machine: Machine) -> None:
    assert not bed.fabric.simulator.violations
    assert not bed.fabric.simulator.errors
