"""Kernel knobs, services, labels: what is asked, and what is left alone."""

from __future__ import annotations

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from waagent.errors import SshError
from waagent.machine import kernel, selinux, services
from waagent.system import System

RELOAD = ("systemctl", "--job-mode=ignore-dependencies", "try-reload-or-restart", "ssh")
ACTIVE = ("systemctl", "is-active", "--quiet", "ssh")


@pytest.mark.row("provisioning", 94)
def test_row_94_every_scsi_disk_gets_the_limit_and_no_other(system: System, profile, put) -> None:
    for disk in ("sda", "sdb", "sr0", "nvme0n1", "vda"):
        put(f"/sys/block/{disk}/device/timeout", "30\n")
    put("/sys/block/sdc/size", "0")
    assert kernel.set_scsi_timeout(system, profile, 300) == ["sda", "sdb"]
    assert kernel.set_scsi_timeout(system, profile, 300) == []
    put("/sys/block/sdd/device/timeout", "30\n")
    assert kernel.set_scsi_timeout(system, profile, 300) == ["sdd"]
    assert system.path("/sys/block/sr0/device/timeout").read_text() == "30\n"


def test_bsd_has_one_knob_for_all(system: System, script: Script, tmp_path) -> None:
    script.on("sysctl", "-n", "kern.cam.da.default_timeout", stdout="60\n")
    script.on("sysctl", "kern.cam.da.default_timeout=300")
    assert kernel.set_scsi_timeout(system, profile_of(tmp_path / "root", "freebsd"), 300)
    assert kernel.set_scsi_timeout(system, profile_of(tmp_path / "root", "openbsd"), 300) == []


def test_a_module_is_loaded_where_it_is_missing(system: System, script: Script, put, program) -> None:
    assert not kernel.load_module(system, "udf")
    program("modprobe")
    script.on("modprobe", "-b", "udf", status=1)
    assert not kernel.load_module(system, "udf")
    put("/sys/module/udf/refcnt")
    assert kernel.load_module(system, "udf")
    assert len(script.ran) == 1


def test_sshd_is_not_started_where_it_does_not_run(system: System, script: Script, profile, program) -> None:
    program("systemctl")
    script.on(*ACTIVE, status=3)
    assert not services.reload_ssh(system, profile)
    assert script.ran == [ACTIVE]


def test_a_running_sshd_reads_its_settings_again(system: System, script: Script, profile, program) -> None:
    program("systemctl")
    script.on(*ACTIVE)
    script.on(*RELOAD)
    assert services.reload_ssh(system, profile)
    script.on(*RELOAD, status=1, stderr="Job failed")
    with pytest.raises(SshError, match="it runs on with the old ones"):
        services.reload_ssh(system, profile)


def test_labels_are_restored_only_where_selinux_is_on(system: System, script: Script, put, program) -> None:
    program("restorecon")
    assert not selinux.restore(system, "/home/ada/.ssh")
    put("/sys/fs/selinux/enforce", "1")
    script.on("restorecon", "-R", "/home/ada/.ssh")
    assert selinux.restore(system, "/home/ada/.ssh")
    script.on("restorecon", "-R", "/home/ada/.ssh", status=1)
    assert not selinux.restore(system, "/home/ada/.ssh")
