"""Host names: which are ones, and where each system keeps it."""

from __future__ import annotations

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from waagent.errors import HostNameError
from waagent.machine import hostname
from waagent.system import System


@pytest.fixture(autouse=True)
def kernel(system: System, put):
    return put("/proc/sys/kernel/hostname", "localhost\n")


@pytest.mark.parametrize("name", ["a", "web-01", "Web.Example.COM", "x" * 63, "1", f"{'a' * 31}.{'b' * 32}"])
def test_names_that_the_kernel_and_the_dns_can_have(name: str) -> None:
    assert hostname.check(name) == name


@pytest.mark.row("provisioning", 42)
@pytest.mark.parametrize(
    "name", ["", "my host", "-x", "x-", "a..b", ".a", "a.", "x" * 65, "x" * 64, "a_b", "ä", "a;b", "a\nb", "--help"]
)
def test_row_42_others_are_refused(system: System, profile, name: str) -> None:
    with pytest.raises(HostNameError, match="cannot set host name"):
        hostname.set_name(system, profile, name)
    assert system.effects == []


def test_it_is_kept_and_set(system: System, profile, kernel) -> None:
    assert hostname.set_name(system, profile, "web-01")
    assert system.path("/etc/hostname").read_text() == "web-01\n"
    assert kernel.read_text() == "web-01"
    assert hostname.current(system) == "web-01"
    assert not hostname.set_name(system, profile, "web-01")


def test_where_proc_is_read_only_the_program_sets_it(system: System, script: Script, profile, kernel) -> None:
    kernel.unlink()
    script.on("hostname", "web-01")
    assert hostname.set_name(system, profile, "web-01")
    assert script.ran == [("hostname", "web-01")]


@pytest.mark.parametrize(
    ("distro", "version", "path", "before", "after"),
    [
        ("rhel", "6.10", "/etc/sysconfig/network", "NETWORKING=yes\nHOSTNAME=old\n", "NETWORKING=yes\nHOSTNAME=web-01\n"),
        ("rhel", "9.4", "/etc/hostname", "old\n", "web-01\n"),
        ("sles", "11", "/etc/HOSTNAME", "old\n", "web-01\n"),
        ("freebsd", "14", "/etc/rc.conf", 'hostname="a"\nsshd_enable="YES"\nhostname="b"\n', 'sshd_enable="YES"\nhostname="web-01"\n'),
        ("openbsd", "7.4", "/etc/myname", "old\n", "web-01\n"),
    ],
)  # fmt: skip
def test_each_system_has_its_own_place(system: System, put, tmp_path, distro, version, path, before, after) -> None:
    put(path, before)
    profile = profile_of(tmp_path / "root", distro, version)
    assert hostname.set_name(system, profile, "web-01")
    assert system.path(path).read_text() == after
    assert not hostname.set_name(system, profile, "web-01")


def test_openwrt_asks_uci(system: System, script: Script, tmp_path) -> None:
    script.on("uci", "-q", "get", "system.@system[0].hostname", stdout="OpenWrt\n")
    script.on("uci", "set", "system.@system[0].hostname=web-01")
    script.on("uci", "commit", "system")
    script.on("/etc/init.d/system", "reload")
    assert hostname.set_name(system, profile_of(tmp_path / "root", "openwrt"), "web-01")
    script.on("uci", "-q", "get", "system.@system[0].hostname", stdout="web-01\n")
    assert not hostname.set_name(system, profile_of(tmp_path / "root", "openwrt"), "web-01")


def test_appliances_keep_their_names(system: System, tmp_path) -> None:
    assert not hostname.set_name(system, profile_of(tmp_path / "root", "gaia"), "web-01")
    assert hostname.current(system) == "localhost"


def test_a_read_only_etc_is_told(system: System, profile) -> None:
    (system.path("/etc") / "hostname").mkdir()
    with pytest.raises(HostNameError, match="cannot keep host name web-01"):
        hostname.set_name(system, profile, "web-01")
