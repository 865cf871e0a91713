"""Each kind of trace is found, and what is no trace is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modules.conftest import profile_of
from waagent import config as configuration
from waagent.provisioning import traces
from waagent.system import System

Put = Callable[..., Path]
Find = Callable[..., list[str]]

PASSWD = "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/usr/sbin:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n"


@pytest.fixture
def put(tmp_path: Path) -> Put:
    def write(path: str, content: str | bytes = "x") -> Path:
        real = tmp_path / "root" / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(content.encode() if isinstance(content, str) else content)
        return real

    return write


@pytest.fixture
def find(system: System, tmp_path: Path, put: Put) -> Find:
    put("/etc/login.defs", "UID_MIN 1000\n")

    def look(names: tuple[str, ...] = (), keep: tuple[str, ...] = (), distro: str = "debian") -> list[str]:
        profile = profile_of(tmp_path / "root", distro)
        return [str(trace) for trace in traces.find(system, profile, configuration.from_text(""), names, keep)]

    return look


def login_record(kind: int) -> bytes:
    return kind.to_bytes(2, "little") + bytes(382)


KINDS = [
    ("host key", "/etc/ssh/ssh_host_ed25519_key.pub", "k", "SSH host key"),
    ("agent's log", "/var/log/waagent.log.2.gz", "x", "log"),
    ("log of logins", "/var/log/wtmp", login_record(7), "log"),
    ("log of unknown form", "/var/log/wtmp", "short", "log"),
    ("log of people", "/var/log/auth.log.1", "x", "log"),
    ("journal", "/var/log/journal/abc/system.journal", "x", "log"),
    ("log of an extension", "/var/log/azure/Ext/out.log", "x", "log"),
    ("history", "/root/.bash_history", "ls", "history"),
    ("history of python", "/root/.python_history", "ls", "history"),
    ("lease", "/var/lib/dhcp/dhclient.eth0.leases", "x", "DHCP lease"),
    ("lease of NetworkManager", "/var/lib/NetworkManager/internal-1-eth0.lease", "x", "DHCP lease"),
    ("pinned by udev", "/etc/udev/rules.d/70-persistent-net.rules",
     'SUBSYSTEM=="net", ATTR{address}=="00:0d:3a:01:02:03", NAME="eth0"\n', "hardware address"),
    ("pinned by systemd", "/etc/systemd/network/10-eth0.link", "[Match]\nMACAddress=00:0D:3A:01:02:03\n", "hardware address"),
    ("pinned by netplan", "/etc/netplan/50-cloud-init.yaml", "# made by cloud-init\nmacaddress: 00:0d:3a:01:02:03\n",
     "hardware address"),
    ("pinned by ifcfg", "/etc/sysconfig/network-scripts/ifcfg-eth0", 'DEVICE=eth0\nHWADDR="00:0D:3A:01:02:03"\n',
     "hardware address"),
    ("pinned by NetworkManager", "/etc/NetworkManager/system-connections/eth0.nmconnection",
     "[ethernet]\nmac-address=00:0D:3A:01:02:03\n", "hardware address"),
    ("machine id", "/etc/machine-id", "0123\n", "machine id"),
    ("its copy", "/var/lib/dbus/machine-id", "0123\n", "machine id"),
    ("state", "/var/lib/waagent/provisioned", "x", "agent state"),
    ("user data", "/var/lib/cloud/instances/i-1/user-data.txt", "x", "user data"),
    ("sudo rule", "/etc/sudoers.d/90-x", "ada ALL=(ALL) ALL\n", "sudo rule"),
    ("main sudoers", "/etc/sudoers", "Defaults x\nroot ALL=(ALL) ALL\n%sudo ALL=(ALL) ALL\nada ALL=(ALL) ALL\n", "sudo rule"),
    ("hash", "/etc/shadow", "daemon:*:1::::::\nada:$6$a$b:1::::::\n", "password hash"),
    ("locked hash", "/etc/shadow", "ada:!$y$j9T$a$b:1::::::\n", "password hash"),
    ("hash in a copy", "/etc/shadow-", "ada:$6$a$b:1::::::\n", "password hash"),
    ("old hash", "/etc/shadow", "ada:abJnggxhB/yWI:1::::::\n", "password hash"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "path", "content", "kind"), KINDS, ids=[row[0] for row in KINDS])
def test_trace_is_found(find: Find, put: Put, what: str, path: str, content: str | bytes, kind: str) -> None:
    put(path, content)
    (trace,) = find()
    assert trace.startswith(f"{kind}: ")


NONE = [
    ("empty log", "/var/log/auth.log", ""),
    ("log of starts and stops", "/var/log/wtmp", login_record(2) + login_record(1)),
    ("log that names nobody", "/var/log/dpkg.log", "x"),
    ("machine id to be made", "/etc/machine-id", "uninitialized\n"),
    ("empty machine id", "/etc/machine-id", ""),
    ("lease in memory", "/run/systemd/netif/leases/2", "x"),
    ("interfaces by name", "/etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\n#HWADDR=00:0d:3a:01:02:03\n"),
    ("no one's address", "/etc/systemd/network/x.network", "A=00:00:00:00:00:00 B=FF:FF:FF:FF:FF:FF C=fe80::20d:3aff:fe01:203\n"),
    ("locked accounts", "/etc/shadow", "root:*LOCK*:14600::::::\ndaemon:*:1::::::\nx:!:1::::::\ny:!!:1::::::\n"),
    ("rules of the image", "/etc/sudoers", "# x\nDefaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n\n"),
    ("accounts of the system", "/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "path", "content"), NONE, ids=[row[0] for row in NONE])
def test_no_trace(find: Find, put: Put, what: str, path: str, content: str | bytes) -> None:
    put(path, content)
    assert find() == []


def test_what_cloud_init_writes_anew_is_no_trace_where_it_is(find: Find, put: Put) -> None:
    written = "# Created by cloud-init automatically, do not edit.\nHWADDR=00:0d:3a:01:02:03\n"
    put("/etc/sysconfig/network-scripts/ifcfg-eth0", written)
    put("/etc/sysconfig/network-scripts/ifcfg-eth1", "HWADDR=00:0d:3a:01:02:04\n")
    told = "hardware address: /etc/sysconfig/network-scripts/ifcfg-eth{} names 00:0d:3a:01:02:0{} "
    assert [line.startswith(told.format(n, n + 3)) for n, line in enumerate(find())] == [True, True]
    put("/usr/bin/cloud-init").chmod(0o755)
    (line,) = find()
    assert line.startswith(told.format(1, 4))


@pytest.mark.parametrize(
    ("path", "target"), [("/var/lib/wtmpdb/wtmp.db", "../../log/wtmp.db"), ("/root/.bash_history", "/dev/null")]
)
def test_a_link_counts_for_what_it_leads_to(find: Find, put: Put, path: str, target: str) -> None:
    """Debian 13 ships the first one, with nothing behind it."""
    link = put(path)
    link.unlink()
    link.symlink_to(target)
    assert find() == []
    put("/var/log/wtmp.db" if "wtmp" in path else target, "sqlite")
    assert any(line.startswith(("log: ", "history: ")) for line in find())


def test_account_with_its_keys_and_history(find: Find, put: Put) -> None:
    put("/etc/passwd", PASSWD)
    put("/home/ada/.ssh/authorized_keys", "# none\nssh-ed25519 AAAA ada\n")
    put("/home/ada/.zsh_history", "x")
    put("/root/.ssh/authorized_keys", "# none yet\n")
    assert sorted(line.split(":")[0] for line in find()) == ["account", "authorized keys", "history"]


def test_account_that_is_in_the_image_on_purpose(find: Find, put: Put) -> None:
    put("/etc/passwd", PASSWD)
    put("/etc/shadow", "ada:$6$a$b:1::::::\n")
    put("/etc/sudoers.d/ada", "ada ALL=(ALL) ALL\n")
    put("/home/ada/.ssh/authorized_keys", "ssh-ed25519 AAAA ada\n")
    assert find(keep=("ada",)) == []


def test_keys_of_root_are_found(find: Find, put: Put) -> None:
    put("/etc/passwd", PASSWD.splitlines()[0] + "\n")
    put("/root/.ssh/authorized_keys", "ssh-ed25519 AAAA x\n")
    assert find() == ["authorized keys: /root/.ssh/authorized_keys"]


@pytest.mark.row("field-demands", 131)
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("session for ada(uid=1)", True),
        ("ada", True),
        ("/home/ada/x", True),
        ("user=ada.", True),
        ("adam and bada", False),
        ("vm.ada-2", False),
        (b"\0\1ada\0", True),
        (b"x" * (1024 * 1024 - 2) + b" ada ", True),
        (b"x" * (1024 * 1024 - 1) + b" ad", False),
    ],
)
def test_131_names_are_found_as_whole_words(find: Find, put: Put, content: str | bytes, found: bool) -> None:
    put("/var/log/app.log", content)
    assert bool(find(names=("ada",))) is found


@pytest.mark.row("field-demands", 131)
def test_131_files_of_accounts_and_their_copies_are_searched(find: Find, put: Put) -> None:
    put("/etc/group-", "sudo:x:27:ada\n")
    put("/etc/hosts", "127.0.1.1 vm-first\n")
    assert sorted(find(names=("ada", "vm-first"))) == ["name: /etc/group- says ada", "name: /etc/hosts says vm-first"]


def test_keys_that_cloud_init_will_replace_are_no_trace(find: Find, put: Put, tmp_path: Path) -> None:
    put("/etc/ssh/ssh_host_rsa_key")
    put("/usr/bin/cloud-init").chmod(0o755)
    assert find() == []
    put("/etc/cloud/cloud.cfg.d/99-keep.cfg", "ssh_deletekeys: false\n")
    assert len(find()) == 1


def test_machine_id_where_the_first_boot_asks_for_its_absence(find: Find, put: Put) -> None:
    put("/etc/machine-id", "0123\n")
    assert len(find(distro="flatcar")) == 1
