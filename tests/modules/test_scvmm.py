"""The hand-over to System Center VMM, on discs of the fake root."""

from __future__ import annotations

import pytest

from tests.modules.conftest import load_module, settle
from waagent.errors import MediaMissing

MODULE = "local/18-scvmm.py"
PLACE = "/mnt/cdrom/secure"
MOUNT = ("mount", "-o", "ro,nosuid,nodev", "/dev/sr0", PLACE)
INSTALL = ("/bin/bash", f"{PLACE}/install", f"-p {PLACE}")
DETACHED = ("sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 &', "sh", *INSTALL)


@pytest.fixture
def disc(ctx, declared, script, put):
    """A drive with a disc; disc("install", …) says which files are on it."""
    declared("DetectScvmmEnv=y")
    put("/dev/sr0")

    def has(*names: str) -> None:
        script.on(*MOUNT, effect=lambda: [put(f"{PLACE}/{name}") for name in names])

    script.on("umount", PLACE)
    script.on(*DETACHED)
    return has


@pytest.mark.row("provisioning", 96)
def test_row_96_its_disc_starts_its_agent_and_ours_steps_back(module, ctx, script, disc):
    disc("linuxosconfiguration.xml", "install")
    outcome = module.run(ctx)
    assert outcome.message == "the agent of VMM is being installed from /dev/sr0 and looks after this machine"
    assert script.ran == [MOUNT, DETACHED]  # option and path are one word, and the disc stays mounted
    assert ctx.system.exists("/run/waagent/handed-over")
    assert ctx.published["provisioning"]["by"] == "nobody"
    settle(ctx)
    assert module.run(ctx).kind == "unchanged"
    assert len(script.ran) == 2


def test_under_systemd_the_installer_is_a_unit_of_its_own(module, ctx, script, disc, put):
    put("/run/systemd/system/x")
    disc("linuxosconfiguration.xml", "install")
    started = ("systemd-run", "--quiet", "--collect", "--unit=waagent-scvmm-installer", *INSTALL)
    script.on(*started)
    module.run(ctx)
    assert script.ran == [MOUNT, started]


def test_a_disc_that_is_mounted_already_is_read_where_it_is(module, ctx, script, disc, put):
    put("/proc/self/mounts", "/dev/sr0 /media/vmm iso9660 ro 0 0\n")
    put("/media/vmm/linuxosconfiguration.xml")
    put("/media/vmm/install")
    there = (*DETACHED[:5], "/media/vmm/install", "-p /media/vmm")
    script.on(*there)
    assert module.run(ctx).kind == "changed"
    assert script.ran == [there]


def test_another_disc_is_let_go_of(module, ctx, script, disc):
    disc("ovf-env.xml")
    assert module.run(ctx).message == "no disc has linuxosconfiguration.xml"
    assert script.ran == [MOUNT, ("umount", PLACE)]
    assert not ctx.system.exists("/run/waagent/handed-over") and ctx.published == {}


def test_an_empty_drive_is_no_failure(module, ctx, script, disc):
    script.on(*MOUNT, status=32, stderr="mount: no medium found on /dev/sr0")
    assert module.run(ctx).kind == "skipped"


def test_a_disc_without_its_installer_is_told_and_this_agent_goes_on(module, ctx, disc):
    disc("linuxosconfiguration.xml")
    with pytest.raises(MediaMissing, match="there is no install on /dev/sr0"):
        module.run(ctx)
    assert not ctx.system.exists("/run/waagent/handed-over")


def test_nobody_who_did_not_ask_has_a_disc_searched(module, ctx, declared, script, disc):
    declared("")
    assert module.run(ctx).message == "DetectScvmmEnv=n"
    assert script.ran == []


def test_a_module_for_the_drive_is_loaded_first(module, ctx, script, disc, program):
    program("modprobe")
    script.on("modprobe", "-b", "ata_piix", status=1)
    disc()
    module.run(ctx)
    assert script.ran[0] == ("modprobe", "-b", "ata_piix")


def test_the_steps_that_provision_do_nothing_then():
    """They wait for provisioning.by=waagent; what has no such condition is none of VMM's business."""
    for name in ("local/20-instance-media.py", "local/30-hostname.py", "local/40-user.py", "local/45-password.py"):
        assert "provisioning.by=waagent" in load_module(name).MODULE.when
