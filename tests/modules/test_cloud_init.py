"""Waiting for cloud-init: what it left is taken over, what does not come is a failure that says what to do."""

from __future__ import annotations

import os
import time

import pytest

from tests.modules.conftest import VM_ID
from tests.unit.instance.documents import KEY
from waagent.errors import OvfInvalid, ProvisioningError
from waagent.instance.store import swapped
from waagent.system.clock import Clock

MODULE = "final/70-cloud-init.py"
COPY = "/var/lib/waagent/ovf-env.xml"
OVF = """<?xml version="1.0"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure">
 <wa:ProvisioningSection><wa:Version>1.0</wa:Version><LinuxProvisioningConfigurationSet
   xmlns="http://schemas.microsoft.com/windowsazure"><HostName>web-01</HostName><UserName>ada</UserName>
   <UserPassword>REDACTED</UserPassword></LinuxProvisioningConfigurationSet></wa:ProvisioningSection>
 <wa:PlatformSettingsSection><wa:Version>1.0</wa:Version><PlatformSettings
   xmlns="http://schemas.microsoft.com/windowsazure"><ProvisionGuestAgent>true</ProvisionGuestAgent>
   </PlatformSettings></wa:PlatformSettingsSection></Environment>"""


class Hurried(Clock):
    """Time passes when somebody sleeps; at(seconds) something happens."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.events = {}

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.events.pop(self.passed, lambda: None)()


@pytest.fixture(autouse=True)
def clock(ctx):
    ctx.facts["provisioning"] = {"by": "cloud-init"}
    ctx.system.clock = Hurried()
    return ctx.system.clock


@pytest.fixture
def instance(put):
    """cloud-init has provisioned this VM; generation 1 tells the id in the other byte order."""
    put("/var/lib/cloud/data/instance-id", f"{swapped(VM_ID)}\n")


@pytest.fixture
def key(put):
    return put("/etc/ssh/ssh_host_rsa_key.pub", f"{KEY}\n")


def test_its_data_is_taken_over_and_nothing_is_waited_for(module, ctx, put, instance, key, clock):
    put(COPY, OVF, 0o600)
    ctx.system.path("/var/lib/waagent").chmod(0o700)
    assert module.run(ctx).kind == "changed"
    assert ctx.fact("ovf.host_name") == "web-01" and ctx.fact("ovf.user_name") == "ada"
    assert ctx.secret("ovf.password") is None
    assert ctx.fact("ssh.host_keys_of") == VM_ID
    assert ctx.system.path("/var/lib/waagent").stat().st_mode & 0o777 == 0o711
    assert clock.passed == 0


def test_it_is_waited_for_both_and_said(module, ctx, put, instance, clock, program, script):
    program("systemctl")
    script.on("systemctl", "is-enabled", "cloud-init-local.service", stdout="enabled\n")
    clock.events = {
        90.0: lambda: put(COPY, OVF, 0o600),
        100.0: lambda: put("/etc/ssh/ssh_host_rsa_key.pub", f"{KEY}\n"),
    }
    put("/etc/ssh/sshd_config")
    module.run(ctx)
    assert clock.passed == 100
    said = [note for note in ctx.notes if note.startswith("waiting for cloud-init")]
    assert [note.split(" after ")[1] for note in said] == ["20 s", "40 s", "80 s"]


@pytest.mark.row("field-demands", 53, 54)
@pytest.mark.row("provisioning", 61)
def test_row_61_the_document_never_comes(module, ctx, clock, put):
    put("/run/cloud-init/result.json", '{"v1": {"datasource": null, "errors": ["no datasource"]}}')
    with pytest.raises(ProvisioningError, match=r"did not come from cloud-init in 1800 s \(no datasource\); cloud-init "
                       r"is not enabled on this machine; see"):  # fmt: skip
        module.run(ctx)
    assert clock.passed == 1800


@pytest.mark.row("provisioning", 62)
def test_row_62_the_key_never_comes(module, ctx, put, instance, key, clock, declared):
    declared("Provisioning.SshHostKeyPairType=ed25519")
    put(COPY, OVF, 0o600)
    with pytest.raises(ProvisioningError, match=r"the SSH host key \(ed25519\) did not come"):
        module.run(ctx)
    assert clock.passed == 1800


def test_auto_takes_any_key_and_a_machine_without_ssh_none(module, ctx, put, instance, key, declared):
    declared("Provisioning.SshHostKeyPairType=auto")
    put(COPY, OVF, 0o600)
    module.run(ctx)
    key.unlink()
    os.rmdir(key.parent)
    assert "no SSH server" in module.run(ctx).message


def test_the_copy_of_another_vm_is_not_taken(module, ctx, put, key):
    put("/var/lib/cloud/data/instance-id", "11111111-2222-3333-4444-555555555555\n")
    old = put(COPY, OVF, 0o600)
    os.utime(old, (1, 1))
    with pytest.raises(ProvisioningError):
        module.run(ctx)


def test_one_that_was_written_in_this_boot_is(module, ctx, put, key):
    os.utime(put(COPY, OVF, 0o600), (time.time(), time.time()))
    assert module.run(ctx).kind == "changed"


@pytest.mark.row("provisioning", 24)
def test_row_24_one_that_cannot_be_read_is_told_at_once(module, ctx, put, instance, clock):
    put(COPY, "<Environment>", 0o600)
    with pytest.raises(OvfInvalid):
        module.run(ctx)
    assert clock.passed == 0


def test_a_dry_run_does_not_wait(module, ctx, clock):
    ctx.system.planning = True
    assert module.run(ctx).kind == "unchanged"
    assert clock.passed == 0
