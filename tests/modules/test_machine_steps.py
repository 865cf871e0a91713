"""The steps that make the machine itself: host name, sshd, host keys, disk time limit, interface rules."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from tests.unit.instance.documents import KEY
from waagent.errors import HostNameError

MAIN = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-waagent.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"


def step(name: str):
    return load_module(f"{name}.py")


@pytest.fixture(autouse=True)
def document(ctx):
    ctx.facts["ovf"] = {"host_name": "web-01", "user_name": "ada", "has_password": True}


def test_the_host_name_is_set_and_told_to_hooks(ctx, put):
    put("/proc/sys/kernel/hostname", "localhost\n")
    assert step("local/30-hostname").run(ctx).kind == "changed"
    assert ctx.events == [("hostname-changed", {"name": "web-01", "before": "localhost"})]
    settle(ctx)
    assert step("local/30-hostname").run(ctx).kind == "unchanged"
    assert ctx.events == []


@pytest.mark.row("provisioning", 42)
def test_row_42_a_name_that_is_none_leaves_the_old_one(ctx, put):
    name = put("/proc/sys/kernel/hostname", "localhost\n")
    ctx.facts["ovf"]["host_name"] = "my host; reboot"
    with pytest.raises(HostNameError):
        step("local/30-hostname").run(ctx)
    assert name.read_text() == "localhost\n" and not ctx.system.exists("/etc/hostname")


@pytest.mark.row("provisioning", 30)
@pytest.mark.parametrize(
    ("disabled", "has_password", "logins"),
    [(True, True, "no"), (True, False, "no"), (False, True, "yes"), (False, False, "yes"),
     (None, True, "yes"), (None, False, None)],
)  # fmt: skip
def test_row_30_password_logins_are_as_the_document_says(ctx, put, disabled, has_password, logins):
    put(MAIN, INCLUDE)
    ctx.facts["ovf"]["has_password"] = has_password
    if disabled is not None:
        ctx.facts["ovf"]["disable_ssh_password"] = disabled
    assert step("local/60-sshd").run(ctx).kind == "changed"
    written = ctx.system.path(DROP_IN).read_text()
    assert (f"PasswordAuthentication {logins}\n" in written) == (logins is not None)
    assert "ClientAliveInterval 180\n" in written
    settle(ctx)
    assert step("local/60-sshd").run(ctx).kind == "unchanged"


def test_the_interval_is_an_option(ctx, put, declared):
    put(MAIN, INCLUDE)
    declared("OS.SshClientAliveInterval=60")
    step("local/60-sshd").run(ctx)
    assert "ClientAliveInterval 60\n" in ctx.system.path(DROP_IN).read_text()


def test_without_an_ssh_server_nothing_is_made_up(ctx):
    assert step("local/60-sshd").run(ctx).kind == "skipped"
    assert step("local/65-ssh-host-keys").run(ctx).kind == "skipped"
    assert ctx.system.effects == []


@pytest.fixture
def keygen(script, put, program):
    program("ssh-keygen")
    put(MAIN, INCLUDE)
    workshop = "/run/waagent/host-keys"

    def made() -> None:
        put(f"{workshop}/ssh_host_ed25519_key", "PRIVATE")
        put(f"{workshop}/ssh_host_ed25519_key.pub", f"{KEY}\n")

    script.on("ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", f"{workshop}/ssh_host_ed25519_key", effect=made)


def test_host_keys_are_made_once_for_a_vm(ctx, script, declared, put, keygen):
    declared("Provisioning.SshHostKeyPairType=ed25519")
    put("/etc/ssh/ssh_host_rsa_key", "the image's")
    assert step("local/65-ssh-host-keys").run(ctx).kind == "changed"
    assert not ctx.system.exists("/etc/ssh/ssh_host_rsa_key")
    (told,) = ctx.published["ssh"]["host_keys"]
    assert told["type"] == "ed25519" and told["fingerprint"].startswith("SHA256:")
    assert "PRIVATE" not in str(ctx.published) + str(ctx.system.effects)
    settle(ctx)
    assert step("local/65-ssh-host-keys").run(ctx).kind == "unchanged"
    assert len(script.ran) == 1


def test_another_vm_gets_other_keys(ctx, script, declared, keygen):
    declared("Provisioning.SshHostKeyPairType=ed25519")
    step("local/65-ssh-host-keys").run(ctx)
    settle(ctx)
    ctx.facts["vm"]["id"] = "11111111-2222-3333-4444-555555555555"
    assert step("local/65-ssh-host-keys").run(ctx).kind == "changed"


def test_keys_of_the_image_stay_where_the_option_says_so(ctx, script, declared, put, keygen):
    declared("Provisioning.RegenerateSshHostKeyPair=n\nProvisioning.SshHostKeyPairType=ed25519")
    key = put("/etc/ssh/ssh_host_ed25519_key", "the image's")
    put("/etc/ssh/ssh_host_ed25519_key.pub", f"{KEY}\n")
    assert step("local/65-ssh-host-keys").run(ctx).kind == "unchanged"
    assert key.read_text() == "the image's"
    settle(ctx)
    ctx.facts.pop("ssh")
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        (ctx.system.path("/etc/ssh") / name).unlink()
    # Without any key sshd would not start, so then they are made all the same.
    assert step("local/65-ssh-host-keys").run(ctx).kind == "changed"


@pytest.mark.row("provisioning", 94)
@pytest.mark.parametrize("name", ["local/80-kernel", "periodic/60-scsi-timeout"])
def test_row_94_disks_get_their_time_limit(ctx, declared, put, name):
    assert step(name).run(ctx).kind == "skipped"
    declared("OS.RootDeviceScsiTimeout=300")
    knob = put("/sys/block/sdd/device/timeout", "30\n")
    assert step(name).run(ctx).message == "300 s on sdd"
    assert knob.read_text() == "300"
    settle(ctx)
    assert step(name).run(ctx).kind == "unchanged"


RULES = "/etc/udev/rules.d/70-persistent-net.rules"


@pytest.mark.row("guest-operations", 57)
def test_rules_that_pin_interface_names_are_moved_away(ctx, declared, put):
    declared(distro="rhel", version="9.4")
    put(RULES, "SUBSYSTEM==…")
    assert step("periodic/65-net-rules").run(ctx).kind == "changed"
    assert not ctx.system.exists(RULES)
    assert ctx.system.exists("/var/lib/waagent/70-persistent-net.rules")
    settle(ctx)
    assert step("periodic/65-net-rules").run(ctx).kind == "unchanged"


@pytest.mark.row("guest-operations", 57)
@pytest.mark.parametrize(
    ("distro", "version", "way"),
    [
        ("debian", "12", "stays"), ("ubuntu", "14.04", "stays"), ("ubuntu", "24.04", "stays"), ("kali", "2024.1", "stays"),
        ("devuan", "5", "stays"), ("gaia", "1", "stays"), ("openwrt", "23.05", "goes"), ("rhel", "6.10", "moves"),
        ("rhel", "9.4", "moves"), ("fedora", "40", "moves"), ("sles", "11.4", "moves"), ("sles", "15.5", "moves"),
        ("azurelinux", "3.0", "moves"), ("photon", "5.0", "moves"), ("alpine", "3.20", "moves"), ("arch", "", "moves"),
        ("flatcar", "3815", "moves"), ("unknown", "1", "moves"),
    ],
)  # fmt: skip
def test_row_57_where_interface_names_are_pinned_is_as_the_reference_says(ctx, declared, put, distro, version, way):
    declared("", distro, version)
    generator = "/lib/udev/rules.d/75-persistent-net-generator.rules"
    put("/var/lib/waagent/70-persistent-net.rules", "an older copy")
    for path in (RULES, generator):
        put(path, "SUBSYSTEM==…")
    assert step("periodic/65-net-rules").run(ctx).kind == ("skipped" if way == "stays" else "changed")
    for path in (RULES, generator):
        assert ctx.system.exists(path) == (way == "stays")
    kept = ctx.system.read_text("/var/lib/waagent/70-persistent-net.rules")
    assert kept == ("SUBSYSTEM==…" if way == "moves" else "an older copy")
    assert ctx.system.exists("/var/lib/waagent/75-persistent-net-generator.rules") == (way == "moves")


@pytest.mark.parametrize("link", [True, False])
def test_what_says_that_there_shall_be_no_rules_stays(ctx, declared, put, link):
    declared(distro="rhel", version="9.4")
    if link:
        put("/etc/udev/rules.d/other")
        os.mkfifo(ctx.system.path("/dev/null"))  # no plain file, as the real one is none
        ctx.system.path(RULES).symlink_to("/dev/null")
    else:
        put(RULES)
    assert step("periodic/65-net-rules").run(ctx).kind == "unchanged"
    assert os.path.lexists(ctx.system.path("/etc/udev/rules.d") / "70-persistent-net.rules")


@pytest.mark.parametrize(("conf", "distro"), [("", "debian"), ("Network.Manage=n", "rhel")])
def test_rules_stay_where_the_distribution_or_the_admin_says_so(ctx, declared, put, conf, distro):
    declared(conf, distro, "12")
    put(RULES, "SUBSYSTEM==…")
    assert step("periodic/65-net-rules").run(ctx).kind == "skipped"
    assert ctx.system.exists(RULES)


# -- old kernels, the random seed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "cmdline", "off"),
    [
        ("2.6.32-754.el6.x86_64", "ro root=/dev/sda1", True),
        ("2.6.37", "ro", True),
        ("2.6.37.6-0.20", "ro", True),
        ("2.6.38", "ro", False),
        ("2.6.32-754.el6.x86_64", "ro numa=off", False),
        ("3.0.101", "ro", False),
        ("6.1.0-28-cloud-amd64", "ro", False),
        ("nonsense", "ro", False),
    ],
)
def test_virtual_numa_is_switched_off_for_kernels_that_stumble_over_it(ctx, script, put, program, release, cmdline, off):
    program("update-grub")
    script.on("update-grub")
    grub = put("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    put("/proc/sys/kernel/osrelease", f"{release}\n")
    put("/proc/cmdline", f"{cmdline}\n")
    outcome = step("local/80-kernel").run(ctx)
    assert outcome.kind == ("changed" if off else "skipped")
    assert ("numa=off" in grub.read_text()) == off
    settle(ctx)
    assert step("local/80-kernel").run(ctx).kind == "skipped"
    assert script.ran == ([("update-grub",)] if off else [])


def test_the_seed_of_the_platform_is_stirred_in(ctx, script, put):
    assert step("local/12-entropy").run(ctx).kind == "skipped"
    seed = put("/sys/firmware/acpi/tables/OEM0", b"\x01" * 64)
    stir = ("dd", "if=/sys/firmware/acpi/tables/OEM0", "of=/dev/urandom", "bs=4096", "status=none")
    script.on(*stir)
    assert step("local/12-entropy").run(ctx).kind == "changed"
    assert script.ran == [stir] and "\\x01" not in str(ctx.system.effects)
    assert seed.exists()
