"""The steps that publish the host name: once in a boot where needed, and when somebody changes it."""

from __future__ import annotations

import pytest

from tests.modules.conftest import load_module, settle
from waagent.errors import HostNameError

RECORD = "/var/lib/waagent/published_hostname"
ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 01004D0A 0003 0 0 0 00000000\n"
CONNECTED = ("nmcli", "--get-values", "GENERAL.STATE", "device", "show", "eth0")


@pytest.fixture
def at_boot():
    return load_module("network/50-publish-hostname.py")


@pytest.fixture
def monitor():
    return load_module("periodic/50-hostname.py")


@pytest.fixture(autouse=True)
def name(ctx, put, program, script):
    """A link that NetworkManager has, on a machine called web-01."""
    program("systemctl", "nmcli")
    put("/proc/net/route", ROUTES)
    put("/etc/hostname", "web-01\n")
    script.on("systemctl", "is-active", "--quiet", "NetworkManager")
    script.on(*CONNECTED, stdout="100 (connected)\n")
    script.on("nmcli", "--get-values", "DHCP4", "device", "show", "eth0", stdout="expiry = 1\n")
    return put("/proc/sys/kernel/hostname", "web-01\n")


def modify(script, name: str, status: int = 0) -> tuple[str, ...]:
    argv = ("nmcli", "device", "modify", "eth0", "ipv4.dhcp-hostname", name)
    script.on(*argv, status=status)
    return argv


@pytest.mark.row("field-demands", 30)
def test_row_30_a_name_that_was_set_before_the_network_is_only_written_down(ctx, at_boot):
    assert at_boot.run(ctx).kind == "changed"
    assert ctx.system.read(RECORD) == b"web-01"
    settle(ctx)
    assert at_boot.run(ctx).kind == "unchanged"
    assert ctx.system.effects == []


def test_one_that_was_set_while_the_network_was_up_is_published(ctx, at_boot, script):
    argv = modify(script, "web-01")
    ctx.facts["hostname"] = {"late": True}
    assert at_boot.run(ctx).kind == "changed"
    assert argv in script.ran


def test_the_local_step_notices_that_the_network_is_up(ctx, put):
    ctx.facts["ovf"] = {"host_name": "db-02"}
    step = load_module("local/30-hostname.py")
    step.run(ctx)
    assert ctx.published["hostname"] == {"late": True}
    settle(ctx)
    assert step.run(ctx).kind == "unchanged" and ctx.fact("hostname.late") is True


def test_before_the_network_it_is_not_late(ctx, put):
    put("/proc/net/route", ROUTES.splitlines()[0] + "\n")
    ctx.facts["ovf"] = {"host_name": "db-02"}
    load_module("local/30-hostname.py").run(ctx)
    assert ctx.published["hostname"] == {"late": False}


@pytest.mark.row("field-demands", 23, 29)
@pytest.mark.parametrize("option", ["Network.Manage", "Provisioning.MonitorHostName"])
def test_rows_23_and_29_each_has_its_switch(ctx, monitor, declared, name, option):
    name.write_text("renamed\n")
    assert monitor.run(declared(f"{option}=n")).kind == "skipped"
    assert ctx.system.effects == []


def test_network_manage_covers_the_boot_too(at_boot, declared):
    assert at_boot.run(declared("Network.Manage=n")).kind == "skipped"


@pytest.mark.row("guest-operations", 55)
@pytest.mark.row("provisioning", 91)
@pytest.mark.wire("8.2/published_hostname")
def test_row_91_a_change_is_kept_published_once_and_told(ctx, monitor, put, name, script):
    put(RECORD, "web-01")
    name.write_text("renamed\n")
    argv = modify(script, "renamed")
    assert monitor.run(ctx).kind == "changed"
    assert ctx.events == [("hostname-changed", {"name": "renamed", "before": "web-01"})]
    assert ctx.system.read(RECORD) == b"renamed"
    assert ctx.system.read_text("/etc/hostname") == "renamed\n"
    settle(ctx)
    assert monitor.run(ctx).kind == "unchanged"
    assert script.ran.count(argv) == 1


@pytest.mark.row("field-demands", 24)
def test_row_24_the_record_of_the_last_boot_is_compared(ctx, monitor, put, script):
    put(RECORD, "old\n")
    modify(script, "web-01")
    assert monitor.run(ctx).kind == "changed"


@pytest.mark.row("provisioning", 92)
def test_row_92_without_a_record_cloud_init_s_name_is_the_published_one(ctx, monitor, put, script):
    put("/var/lib/cloud/data/set-hostname", '{"fqdn": "web-00.example", "hostname": "web-00"}')
    modify(script, "web-01")
    monitor.run(ctx)
    assert ctx.events == [("hostname-changed", {"name": "web-01", "before": "web-00"})]


def test_without_any_record_the_name_of_now_is_taken_for_published(ctx, monitor):
    assert monitor.run(ctx).kind == "unchanged"
    assert ctx.system.read(RECORD) == b"web-01"


def test_what_failed_is_tried_again(ctx, monitor, put, name, script):
    put(RECORD, "web-01")
    name.write_text("renamed\n")
    modify(script, "renamed", status=4)
    with pytest.raises(HostNameError):
        monitor.run(ctx)
    assert ctx.system.read(RECORD) == b"web-01" and ctx.events == []
    modify(script, "renamed")
    assert monitor.run(ctx).kind == "changed"


def test_a_name_that_is_none_is_not_published(ctx, monitor, put, name):
    put(RECORD, "web-01")
    name.write_text("my_host\n")
    with pytest.raises(HostNameError, match="inner hyphens"):
        monitor.run(ctx)
    assert ctx.system.effects == []
