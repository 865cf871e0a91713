"""The shipped profiles against the reference: every row of provisioning 10.2 and 10.3, by the facts of os-release."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from waagent.config import settings
from waagent.config.parse import check
from waagent.distro import DistroProfile, files
from waagent.distro.detect import Facts
from waagent.distro.profile import HEADER, read_all, resolve

DATA = Path(__file__).resolve().parents[3] / "data"
NOWHERE = "/nonexistent"

NETWORKD = {"services.network": "systemd-networkd", "network.dhcp-pid": ["pidof", "systemd-networkd"]}
SYSTEMCTL = {
    "system.init": "systemd",
    "services.start": ["systemctl", "start", "{service}"],
    "services.stop": ["systemctl", "stop", "{service}"],
}
SBIN_SERVICE = {
    "services.start": ["/sbin/service", "{service}", "start"],
    "services.stop": ["/sbin/service", "{service}", "stop"],
}
IFUPDOWN = [["ifdown", "{interface}"], ["ifup", "{interface}"]]
LINK = [["ip", "link", "set", "{interface}", "down"], ["ip", "link", "set", "{interface}", "up"]]

UBUNTU = {"services.incumbent": "walinuxagent", "services.ssh": "ssh", "network.persistent-rules": "leave",
          "remote-users.supported": True, "package.name": "walinuxagent"}  # fmt: skip
EL6 = {**SBIN_SERVICE, "system.init": "sysv", "hostname.set": ["sysconfig-network"], "hostname.dhcp": "ifcfg",
       "services.register": ["chkconfig", "--add", "{service}"], "kernel.console-files": ["/boot/grub/menu.lst", "/boot/grub/grub.conf"],
       "network.leases.dhclient": ["/var/lib/dhclient/dhclient-*.leases"], "paths.units": None, "cgroups.supported": False}  # fmt: skip
EL7 = {**SBIN_SERVICE, "system.init": "systemd", "paths.units": "/usr/lib/systemd/system", "hostname.last-resort": IFUPDOWN,
       "ssh.reload": ["/sbin/service", "sshd", "condrestart"], "hostname.set": ["hostnamectl", "etc-hostname"],
       "network.leases.dhclient": ["/var/lib/dhclient/dhclient-*.lease", "/var/lib/NetworkManager/dhclient-*.lease"]}  # fmt: skip
EL9 = {**SYSTEMCTL, "hostname.last-resort": LINK, "hostname.dhcp": "ifcfg", "remote-users.supported": True}
SLES11 = {**SBIN_SERVICE, "system.init": "sysv", "services.register": ["/sbin/insserv", "{service}"],
          "hostname.set": ["etc-HOSTNAME"], "network.dhcp-pid": ["pidof", "dhcpcd"], "hostname.dhcp": "dhclient-conf"}  # fmt: skip
SLES = {**SYSTEMCTL, "network.dhcp-pid": ["pidof", "wickedd-dhcp4"], "network.dhcp-stop-first": True, "hostname.dhcp": "suse-dhcp",
        "hostname.last-resort": [["ifup", "{interface}"]], "package.name": "python-azure-agent"}  # fmt: skip
MARINER = {
    **SYSTEMCTL,
    **NETWORKD,
    "ssh.edit": False,
    "paths.programs": "/usr/bin",
    "network.dhcp-stop-first": True,
}
ALPINE = {
    "system.init": "openrc",
    "ssh.edit": False,
    "network.dhcp-pid": ["pidof", "dhcpcd"],
    "network.dhcp-stop-first": True,
}

# One line per row of the reference: ID, VERSION_ID, profile, and what the row says.
ROWS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("ubuntu", "12.04", "ubuntu", {**UBUNTU, "system.init": "upstart", "network.dhcp-pid": ["pidof", "dhclient3"]}),
    ("ubuntu", "14.04", "ubuntu", {**UBUNTU, "system.init": "upstart", "network.dhcp-pid": ["pidof", "dhclient"],
                                   "services.start": ["service", "{service}", "start"], "cgroups.supported": False}),
    ("ubuntu", "16.04", "ubuntu", {**UBUNTU, "system.init": "systemd", "hostname.last-resort": IFUPDOWN,
                                   "services.unregister": ["systemctl", "mask", "{service}"],
                                   "deprovision.resolver": ["/etc/resolv.conf"], "cgroups.supported": True}),
    ("ubuntu", "17.10", "ubuntu", {**UBUNTU, "hostname.last-resort": LINK, "deprovision.resolver": []}),
    ("ubuntu", "18.04", "ubuntu", {**UBUNTU, **SYSTEMCTL, **NETWORKD, "deprovision.resolver": []}),
    ("ubuntu", "24.04", "ubuntu", {**UBUNTU, **SYSTEMCTL, **NETWORKD, "network.leases.networkd": ["/run/systemd/netif/leases/*"]}),
    ("ubuntu", "25.10", "ubuntu", {**UBUNTU, **SYSTEMCTL, "deprovision.resolver": []}),
    ("debian", "7", "debian", {"system.init": "sysv", "services.start": ["service", "azurelinuxagent", "start"]}),
    ("debian", "12", "debian", {**SYSTEMCTL, "services.incumbent": "walinuxagent", "services.ssh": "ssh", "package.format": "deb",
                                "network.leases.dhclient": ["/var/lib/dhcp/dhclient*.leases"], "network.persistent-rules": "leave",
                                "remote-users.supported": True, "hostname.last-resort": IFUPDOWN,
                                "kernel.console-key": "GRUB_CMDLINE_LINUX_DEFAULT"}),
    ("debian", "", "debian", {**SYSTEMCTL}),
    ("kali", "2024.1", "kali", {**SYSTEMCTL, "services.incumbent": "waagent", "services.ssh": "ssh"}),
    ("devuan", "4", "devuan", {"system.init": "sysv", "services.start": ["/usr/sbin/service", "{service}", "start"],
                               "ssh.reload": ["/usr/sbin/service", "ssh", "reload"], "remote-users.supported": True}),
    *((id_, "6.9", "rhel", EL6) for id_ in ("redhat", "rhel", "centos", "oracle", "ol")),
    *((id_, "7.9", "rhel", {**EL7, "package.manager": "yum"}) for id_ in ("redhat", "rhel", "centos", "oracle", "ol")),
    *((id_, "8.5", "rhel", EL7) for id_ in ("rhel", "almalinux", "cloudlinux", "rocky")),
    *((id_, "8.6", "rhel", EL9) for id_ in ("rhel", "almalinux", "cloudlinux", "rocky")),
    *((id_, "9.10", "rhel", EL9) for id_ in ("rhel", "almalinux", "rocky", "ol")),
    ("rhel", "10", "rhel", EL9),
    *((id_, "2.0", "euleros", {**EL7, "remote-users.supported": True}) for id_ in ("euleros", "uos")),
    ("fedora", "40", "fedora", {**SYSTEMCTL, "ssh.edit": False, "network.dhcp-stop-first": True, "remote-users.supported": False}),
    ("sles", "11.4", "suse", SLES11),
    ("suse", "11.4", "suse", SLES11),
    ("opensuse", "13.1", "suse", SLES11),
    *((id_, version, "suse", SLES) for id_, version in (
        ("sles", "12.5"), ("sles", "15.6"), ("suse", "12"), ("opensuse", "13.2"), ("opensuse-leap", "15.5"), ("sle_hpc", "15.4"),
        ("opensuse-tumbleweed", "20240101"), ("sle-micro", "5.5"), ("sl-micro", "6.0"))),
    *((id_, version, "azurelinux", {**MARINER, "remote-users.supported": True}) for id_, version in (
        ("mariner", "2.0"), ("azurelinux", "3.0"))),
    ("photon", "4.0", "photonos", {**MARINER, "services.register": [], "remote-users.supported": False}),
    ("alpine", "3.19", "alpine", ALPINE),
    ("alpaquita", "23", "alpine", ALPINE),
    ("arch", "", "arch", {**SYSTEMCTL, **NETWORKD, "ssh.edit": False, "deprovision.machine-id": "remove"}),
    ("clear-linux-os", "41000", "clearlinux", {"configuration.file": "/usr/share/defaults/waagent/waagent.conf",
                                               "users.create-shadow": True, "ssh.edit": False}),
    *((id_, "3815", "flatcar", {"configuration.file": "/usr/share/oem/waagent.conf", "users.never-system": ["core"],
                                "paths.programs": "/usr/share/oem/bin", "deprovision.machine-id": "remove"}) for id_ in ("flatcar", "coreos")),
    ("chainguard", "", "chainguard", {**SYSTEMCTL, **NETWORKD, "remote-users.supported": True, "ssh.edit": True}),
    ("openwrt", "23.05", "openwrt", {"system.init": "procd", "network.dhcp-pid": ["pidof", "udhcpc"], "hostname.set": ["uci"],
                                     "users.with-shell": ["-s", "/bin/ash"], "media.eject": [], "resource-disk.method": "openwrt",
                                     "network.persistent-rules": "remove", "users.create-home-base": True}),
    ("freebsd", "14.1", "freebsd", {"configuration.file": "/usr/local/etc/waagent.conf", "users.create": ["pw", "useradd", "{name}", "-m"],
                                    "hostname.set": ["rc-conf"], "resource-disk.method": "freebsd", "firewall.tools": [],
                                    "users.delete": ["rmuser", "-y", "{name}"], "users.before-delete": ["/var/run/utx.active"],
                                    "services.ssh": "sshd", "remote-users.supported": True}),
    ("openbsd", "7.5", "openbsd", {"sudo.method": "doas", "sudo.file": "/etc/doas.conf", "hostname.set": ["myname"],
                                   "services.start": ["rcctl", "start", "{service}"], "media.devices": ["cd[0-9]c"],
                                   "media.types": ["udf"], "resource-disk.swap": "partition", "kernel.scsi-timeout": "none"}),
    ("nsbsd", "4.3", "nsbsd", {"configuration.file": "/etc/waagent.conf", "users.method": "none", "users.root": "admin",
                               "ssh.reload": ["/usr/Firewall/sbin/enservice"], "media.eject": [], "sudo.method": "none"}),
    ("bigip", "13.1", "bigip", {"users.method": "tmsh", "network.routes": "tmsh", "hostname.set": [], "media.eject": [],
                                "ssh.reload": ["/usr/bin/bigstart", "restart", "sshd"], "system.wait-for": ["pidof", "mcpd"]}),
    ("gaia", "270.1", "gaia", {"hostname.set": [], "hostname.publish": [], "network.routes": "clish", "ssh.only-user": "admin",
                               "network.persistent-rules": "leave", "media.eject": [], "network.broadcast-firewall": False}),
    ("iosxe", "csr1000v", "iosxe", {"network.dhcp-available": False, "hostname.set": ["hostnamectl", "etc-hostname"], "services.start": []}),
]  # fmt: skip


def profile_of(id_: str, version: str, **more: str) -> DistroProfile:
    return resolve(NOWHERE, str(DATA), Facts({"ID": id_, "VERSION_ID": version, **more}))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_row_of_the_reference(row: tuple[str, str, str, dict[str, Any]]) -> None:
    id_, version, name, says = row
    profile = profile_of(id_, version)
    assert (profile.name, profile.id, profile.version) == (name, id_, version)
    assert {key: profile.get(key) for key in says} == says
    assert profile.problems == ()


def test_every_shipped_profile_is_in_a_row() -> None:
    assert {row[2] for row in ROWS} | {"_default"} == set(read_all(str(DATA)))


# provisioning 2.6: what the shipped file of a distribution sets, where that differs from the generic one
DEFAULTS = [
    ("ubuntu", "24.04", {"ResourceDisk.Format": "n", "ResourceDisk.MountPoint": "/mnt", "OS.EnableFirewall": "y",
                         "Provisioning.RegenerateSshHostKeyPair": "n", "Provisioning.MonitorHostName": "n"}),
    ("debian", "12", {"OS.EnableFirewall": "n", "Provisioning.SshHostKeyPairType": "auto"}),
    ("devuan", "5", {"CGroups.EnforceLimits": "n", "Provisioning.SshHostKeyPairType": "auto", "OS.EnableFirewall": "y"}),
    ("sles", "15.6", {"ResourceDisk.Filesystem": "btrfs", "ResourceDisk.MountOptions": "compress=lzo"}),
    ("mariner", "2.0", {"Provisioning.DecodeCustomData": "y", "ResourceDisk.Format": "n"}),
    ("chainguard", "", {"AutoUpdate.UpdateToLatestVersion": "n", "Extensions.Enabled": "n", "Provisioning.SshHostKeyPairType": "auto"}),
    ("flatcar", "1", {"OS.AllowHTTP": "y", "Provisioning.DeleteRootPassword": "n", "Provisioning.SshHostKeyPairType": "ed25519"}),
    ("arch", "", {"Provisioning.DeleteRootPassword": "n"}),
    ("alpine", "3", {"Provisioning.DecodeCustomData": "y", "Provisioning.ExecuteCustomData": "y", "Provisioning.MonitorHostName": "n"}),
    ("freebsd", "14", {"OS.PasswordPath": "/etc/master.passwd", "ResourceDisk.SwapSizeMB": "16384", "ResourceDisk.Filesystem": "ufs"}),
    ("openbsd", "7", {"OS.OpensslPath": "/usr/local/bin/eopenssl", "ResourceDisk.Filesystem": "ufs2", "ResourceDisk.SwapSizeMB": "65536"}),
    ("nsbsd", "4", {"Extension.LogDir": "/log/azure", "Lib.Dir": "/usr/Firewall/lib/waagent", "AutoUpdate.Enabled": "n"}),
    ("bigip", "13", {"Lib.Dir": "/shared/vadc/azure/waagent/"}),
    ("gaia", "1", {"OS.OpensslPath": "/var/lib/waagent/openssl", "Provisioning.PasswordCryptId": "1", "ResourceDisk.Filesystem": "ext3"}),
    ("iosxe", "csr1000v", {"ResourceDisk.Format": "n", "Provisioning.RegenerateSshHostKeyPair": "n"}),
]  # fmt: skip


@pytest.mark.parametrize("id_,version,says", DEFAULTS, ids=[row[0] for row in DEFAULTS])
def test_options_whose_default_differs(id_: str, version: str, says: dict[str, str]) -> None:
    found = profile_of(id_, version).mapping("configuration.defaults")
    assert {name: found.get(name) for name in says} == says


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_profile_defaults_are_options_with_good_values(row: tuple[str, str, str, dict[str, Any]]) -> None:
    for name, text in profile_of(row[0], row[1]).mapping("configuration.defaults").items():
        option = settings.find(name)
        assert option.in_use
        if text != "None":
            check(option, text)


WORDS = ("service", "name", "hash", "password", "date", "comment", "interface", "device", "file", "destination", "gateway",
         "type", "force", "volume", "directory", "options", "metric", "version", "module", "flavour", "number",
         "release")  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_commands_take_only_words_that_are_known(row: tuple[str, str, str, dict[str, Any]]) -> None:
    profile = profile_of(row[0], row[1])
    words = dict.fromkeys(WORDS, "x")
    for section, keys in profile.as_dict().items():
        for key, value in keys.items():
            if isinstance(value, list) and value and isinstance(value[0], list):
                assert all(profile.commands(f"{section}.{key}", **words))
            elif isinstance(value, list):
                profile.command(f"{section}.{key}", **words)


def test_centos_stream_8_is_newer_than_its_version_says() -> None:
    assert profile_of("centos", "8", NAME="CentOS Linux").get("hostname.last-resort") == IFUPDOWN
    assert profile_of("centos", "8", NAME="CentOS Stream").get("hostname.last-resort") == LINK


def test_a_point_release_stays_in_its_class() -> None:
    assert profile_of("ubuntu", "24.04.1").as_dict() == profile_of("ubuntu", "24.04").as_dict()


@pytest.mark.parametrize("path", sorted((DATA / "distros").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_quirk_has_a_reason_and_an_end(path: Path) -> None:
    profile = files.read(str(path))
    assert profile["summary"]
    for quirk in profile.get("quirks", []):
        assert len(quirk["because"]) > 20
        assert re.fullmatch(r"\d{4}-\d{2}|never", str(quirk["until"]))


def test_the_default_explains_every_key() -> None:
    path = DATA / "distros" / "_default.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    for section, keys in files.read(str(path)).items():
        if section in HEADER:
            continue
        for key, value in keys.items():
            line = lines[files.line_of(str(path), (section, key)) - 1]
            assert " # " in line or lines[lines.index(line) - 1].startswith("  # "), f"{section}.{key}"
            assert line.strip().startswith(f"{key}:"), value
