"""The stage deprovision on every distribution: its own commands, its own places, nothing else.

Numbers in the names of tests are rows of the scenario list (provisioning 12); "5.2 n" are rows of its table of
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.modules.conftest import TOP, VM_ID, load_module, profile_of
from waagent import config as configuration
from waagent.errors import HostNameError, MachineError, UserError, WaagentError
from waagent.module import Context, Outcome
from waagent.provisioning.deprovision import Request
from waagent.system import Result, System

STEPS = sorted(path.name for path in (TOP / "modules/deprovision").glob("*.py"))
PROGRAMS = (
    "systemctl", "service", "rc-service", "rcctl", "userdel", "rmuser", "pw", "usermod", "journalctl", "uci",
    "hostname", "kill",
)  # fmt: skip

Put = Callable[..., Path]


class Recorder:
    """A machine whose programs all succeed; deleting an account takes its line out of the account files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[tuple[str, ...]] = []
        self.active = {"waagent", "waagent.service", "waagent-periodic.timer"}
        self.stubborn: set[str] = set()

    def execute(
        self, argv: tuple[str, ...], stdin: bytes | None, limit: float, env: Mapping[str, str] | None
    ) -> Result:
        if "is-active" in argv or "check" in argv or "status" in argv or "onestatus" in argv:
            return Result(argv, 0 if self.active & set(argv) else 3)
        self.ran.append(argv)
        if "stop" in argv:
            self.active -= set(argv) - self.stubborn
        if "root" in argv:
            shadow = self.root / "etc/shadow"
            shadow.write_text(shadow.read_text().replace("root:$6$a$hash:", "root:*:"))
        if argv[0] in ("userdel", "rmuser"):
            passwd = self.root / "etc/passwd"
            lines = passwd.read_text().splitlines()
            passwd.write_text("".join(f"{line}\n" for line in lines if line.split(":")[0] != argv[-1]))
        return Result(argv, 0)


class Image:
    def __init__(self, root: Path, distro: str = "debian", version: str = "12", conf: str = "") -> None:
        self.root, self.recorder = root, Recorder(root)
        self.system = System(root, execute=self.recorder.execute, journalling=False)
        self.profile = profile_of(root, distro, version)
        self.config = configuration.from_text(conf)
        self.facts: dict[str, Any] = {"vm": {"id": VM_ID}, "ovf": {"host_name": "vm1"}, "user": {"name": "bob"}}

    def run(self, name: str, request: Request = Request(), planning: bool = False) -> Outcome:  # noqa: B008
        file = next(step for step in STEPS if step[3:-3] == name)
        system = self.system
        if planning:
            system = System(self.root, execute=self.recorder.execute, planning=True)
        self.ctx = Context(
            system=system, config=self.config, profile=self.profile, stage="deprovision", step=name,
            event="deprovision", event_data=request.data(), facts=self.facts,
        )  # fmt: skip
        outcome = load_module(f"deprovision/{file}").run(self.ctx)
        assert isinstance(outcome, Outcome)
        return outcome

    def has(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists() or (self.root / path.lstrip("/")).is_symlink()


@pytest.fixture
def image(system: System, tmp_path: Path, put: Put) -> Callable[..., Image]:
    """A machine in use, of any distribution."""
    root = tmp_path / "root"
    (root / "var/lib/waagent").mkdir(mode=0o711)
    for program in PROGRAMS:
        put(f"/usr/bin/{program}", "", 0o755)
    for place in ("/usr/sbin/service", "/sbin/service"):
        put(place, "", 0o755)
    put("/etc/login.defs", "UID_MIN 0\n")
    put("/proc/sys/kernel/hostname", "vm1\n")
    put("/etc/passwd", "root:x:0:0::/root:/bin/sh\nbob:x:0:0::/home/bob:/bin/sh\nbobby:x:0:0::/home/bobby:/bin/sh\n")
    put("/etc/passwd-", "bob:old\n")
    put("/etc/shadow", "root:$6$a$hash:1::::::\nbobby:!:1::::::\n", 0o640)
    put("/etc/shadow-", "bob:$6$b$hash:1::::::\n", 0o640)
    put("/home/bob/x")
    put("/home/bobby/x")

    def make(distro: str = "debian", version: str = "12", conf: str = "") -> Image:
        return Image(root, distro, version, conf)

    return make


ALL = Request(delete_user=True, user="bob")
USERDEL = ("userdel", "-f", "-r", "bob")
SYSTEMCTL = ("systemctl", "stop", "waagent.service")

# id, version, how the agent is stopped, how the account goes (None: it cannot), how root is locked ((): in the shadow
# file; None: not at all), which resolver files go, and what becomes of the machine id.
DISTROS: list[tuple[str, str, Any, Any, Any, tuple[str, ...], str]] = [
    ("debian", "11", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("debian", "12", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("debian", "13", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("devuan", "5", ("/usr/sbin/service", "waagent", "stop"), USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("kali", "2024.1", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("ubuntu", "14.04", ("service", "waagent", "stop"), USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("ubuntu", "16.04", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("ubuntu", "22.04", SYSTEMCTL, USERDEL, (), (), "empty"),
    ("rhel", "9.4", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("fedora", "40", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("sles", "15.6", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("azurelinux", "3.0", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("photon", "4.0", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("euleros", "2.0", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("arch", "", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "remove"),
    ("flatcar", "3815", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "remove"),
    ("coreos", "3815", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "remove"),
    ("clear-linux-os", "41000", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("chainguard", "", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("alpine", "3.19", ("rc-service", "waagent", "stop"), USERDEL, (), ("/etc/resolv.conf",), "empty"),
    ("freebsd", "14.1", ("service", "waagent", "stop"), ("rmuser", "-y", "bob"), ("pw", "usermod", "root", "-h", "-"),
     ("/etc/resolv.conf",), "empty"),
    ("openbsd", "7.5", ("rcctl", "stop", "waagent"), ("userdel", "-r", "bob"), ("usermod", "-p", "*", "root"),
     ("/etc/resolv.conf",), "empty"),
    ("nobody-knows", "1", SYSTEMCTL, USERDEL, (), ("/etc/resolv.conf",), "empty"),
]  # fmt: skip


@pytest.mark.row("provisioning", 64)
@pytest.mark.parametrize(
    ("distro", "version", "stop", "delete", "lock", "resolver", "machine_id"), DISTROS, ids=lambda each: str(each)[:20]
)
def test_64_every_step_on_every_distribution(
    image: Callable[..., Image], put: Put, distro: str, version: str, stop: Any, delete: Any, lock: Any,
    resolver: tuple[str, ...], machine_id: str,
) -> None:  # fmt: skip
    conf = "Provisioning.DeleteRootPassword=y\nProvisioning.RegenerateSshHostKeyPair=y\nOS.PasswordPath=/etc/shadow\n"
    made = image(distro, version, conf)
    gone = [
        "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ed25519_key.pub", "/var/lib/dhclient/a", "/var/lib/dhcpcd/b",
        "/var/lib/dhcp/dhclient.leases", "/var/db/dhclient.leases.eth0", "/var/lib/NetworkManager/dhclient-1.lease",
        "/run/systemd/netif/leases/2", "/root/.bash_history", "/var/log/waagent.log", "/var/log/waagent.log.1.gz",
        "/etc/random.seed", "/var/db/host.random", "/etc/isakmpd/local.pub", "/etc/isakmpd/private/local.key",
        "/etc/iked/private/local.key", "/etc/iked/local.pub", "/var/lib/waagent/ovf-env.xml",
        "/var/lib/waagent/instances/1/secret.json", "/var/log/azure/Ext/x.log",
    ]  # fmt: skip
    for path in (*gone, "/etc/resolv.conf", "/etc/machine-id"):
        put(path, "content")
    if distro == "freebsd":
        put("/etc/rc.conf", 'hostname="vm1"\nsshd_enable="YES"\n')
    for step in STEPS:
        outcome = made.run(step[3:-3], ALL)
        assert outcome.kind in ("changed", "unchanged", "skipped"), step
    ran_before = list(made.recorder.ran)
    assert [path for path in gone if made.has(path)] == []
    assert stop in ran_before
    assert delete in ran_before
    assert not made.has("/home/bob")
    assert made.has("/home/bobby/x")
    if lock:
        assert lock in ran_before
    else:
        assert (made.root / "etc/shadow").read_text().startswith("root:*LOCK*:")
    assert "$6$b$hash" not in (made.root / "etc/shadow-").read_text()
    assert made.has("/etc/resolv.conf") is ("/etc/resolv.conf" not in resolver)
    assert made.has("/etc/machine-id") is (machine_id != "remove")
    if machine_id == "empty":
        assert (made.root / "etc/machine-id").read_bytes() == b""
    for step in STEPS:  # twice in a row, the second run changes nothing
        assert made.run(step[3:-3], ALL).kind in ("unchanged", "skipped"), step


@pytest.mark.parametrize(("distro", "why"), [("gaia", "cannot be deleted"), ("nsbsd", "cannot be deleted")])
def test_where_accounts_cannot_be_deleted_it_is_said(image: Callable[..., Image], distro: str, why: str) -> None:
    made = image("debian")
    made.profile = _shipped(made.root, distro)
    with pytest.raises(UserError, match=why):
        made.run("user", ALL)
    assert made.has("/home/bob/x")


def _shipped(root: Path, name: str) -> Any:
    """The profile of a system that is told by its files, not by os-release."""
    from waagent.distro import profile

    data = str(TOP / "data/distros")
    shipped = profile.read_all(data)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for each in profile.lineage(name, shipped, data):
        said = {key: value for key, value in shipped[each].items() if key not in profile.HEADER}
        profile.lay(merged, origins, said, each)
    return profile.DistroProfile(name, name, "", [name], merged, origins)


def test_5_2_1_an_agent_that_goes_on_stops_everything(image: Callable[..., Image]) -> None:
    made = image()
    made.recorder.stubborn.add("waagent.service")
    with pytest.raises(MachineError, match=r"cannot stop waagent\.service"):
        made.run("stop-agent")
    assert load_module("deprovision/10-stop-agent.py").MODULE.on_failure == "stop"


def test_5_2_1_workers_and_timer_are_stopped_too(image: Callable[..., Image]) -> None:
    made = image()
    made.run("stop-agent")
    assert [argv[-1] for argv in made.recorder.ran] == [
        "waagent.service", "waagent-periodic.timer", "waagent-periodic.service", "waagent-worker@*.service",
    ]  # fmt: skip


@pytest.mark.wire("8.2/waagent.pid")
def test_daemon_of_the_pid_file_is_ended_and_no_other(image: Callable[..., Image], put: Put) -> None:
    made = image("alpine", "3.19")
    made.recorder.active.clear()
    stop = ("rc-service", "waagent", "stop")
    put("/var/run/waagent.pid", "77")
    assert made.run("stop-agent").kind == "unchanged"
    put("/proc/77/cmdline", "/usr/sbin/sshd\0")
    assert made.run("stop-agent").kind == "unchanged"
    put("/proc/77/cmdline", "/usr/bin/python3\0/usr/sbin/waagent\0daemon\0")
    made.run("stop-agent")
    assert made.recorder.ran == [stop, stop, stop, ("kill", "77")]


def test_mounted_image_runs_nothing_and_leaves_this_kernel_alone(image: Callable[..., Image]) -> None:
    made = image()
    request = Request(offline=True)
    assert made.run("stop-agent", request).kind == "skipped"
    assert made.run("hostname", request).kind == "changed"
    assert made.run("logs", request).kind == "unchanged"
    assert (made.root / "etc/hostname").read_text() == "localhost.localdomain\n"
    assert (made.root / "proc/sys/kernel/hostname").read_text() == "vm1\n"
    assert made.recorder.ran == []


def test_mounted_image_whose_name_needs_the_running_system(image: Callable[..., Image]) -> None:
    made = image()
    made.profile = _shipped(made.root, "nsbsd")
    with pytest.raises(HostNameError, match="only while it runs"):
        made.run("hostname", Request(offline=True))


@pytest.mark.row("field-demands", 51)
def test_host_keys_stay_where_the_option_says_so(image: Callable[..., Image], put: Put) -> None:
    made = image(conf="Provisioning.RegenerateSshHostKeyPair=n\n")
    key = put("/etc/ssh/ssh_host_rsa_key", "k")
    assert made.run("ssh-host-keys").kind == "skipped"
    assert key.exists()


def test_root_keeps_its_password_where_the_option_says_so(image: Callable[..., Image]) -> None:
    made = image(conf="Provisioning.DeleteRootPassword=n\n")
    assert made.run("root-password").kind == "skipped"


def test_our_settings_of_sshd_go_and_others_stay(image: Callable[..., Image], put: Put) -> None:
    made = image()
    ours = put("/etc/ssh/sshd_config.d/50-waagent.conf", "PasswordAuthentication yes\n")
    others = put("/etc/ssh/sshd_config.d/10-cis.conf", "X11Forwarding no\n")
    assert made.run("sshd").kind == "changed"
    assert (ours.exists(), others.exists()) == (False, True)


DHCLIENT = "/etc/dhcp/dhclient.conf"


@pytest.mark.parametrize(
    ("distro", "version", "file", "before", "after"),
    [
        ("debian", "12", DHCLIENT, 'timeout 300;\nsend host-name "vm1";\n',
         'timeout 300;\nsend host-name "localhost.localdomain";\n'),
        ("debian", "12", DHCLIENT, "send host-name = gethostname();\n\n", None),
        ("debian", "12", DHCLIENT, 'send host-name "<hostname>";\n', None),
        ("debian", "12", DHCLIENT, '#send host-name "andare";\n', None),
        ("debian", "12", DHCLIENT, "timeout 300;\n", None),
        ("rhel", "7.9", "/etc/sysconfig/network-scripts/ifcfg-eth0", "ONBOOT=yes\nDHCP_HOSTNAME=vm1\n",
         "ONBOOT=yes\nDHCP_HOSTNAME=localhost.localdomain\n"),
        ("sles", "15.6", "/etc/sysconfig/network/dhcp", 'A=b\nDHCLIENT_HOSTNAME_OPTION="vm1"\n',
         'A=b\nDHCLIENT_HOSTNAME_OPTION="AUTO"\n'),
        ("sles", "15.6", "/etc/sysconfig/network/dhcp", 'DHCLIENT_HOSTNAME_OPTION="AUTO"\n', None),
    ],
)  # fmt: skip
def test_5_2_8_a_name_that_a_dhcp_client_is_told_goes(
    image: Callable[..., Image], put: Put, distro: str, version: str, file: str, before: str, after: str | None
) -> None:
    made = image(distro, version)
    real = put(file, before)
    made.run("hostname")
    assert real.read_text() == (after or before)
    assert not any("restart" in argv for argv in made.recorder.ran)


@pytest.mark.row("provisioning", 66)
def test_66_only_bobs_rules_go_and_the_hash_in_the_copies(image: Callable[..., Image], put: Put) -> None:
    made = image()
    rules = put("/etc/sudoers.d/waagent", "# ours\nbob ALL=(ALL) NOPASSWD: ALL\nbobby ALL=(ALL) ALL\n", 0o440)
    other = put("/etc/sudoers.d/90-cloud-init-users", "# cloud-init\nbob ALL=(ALL) NOPASSWD:ALL\n", 0o440)
    mail, his = put("/var/mail/bob"), put("/var/mail/bobby")
    assert made.run("user", ALL).kind == "changed"
    assert rules.read_text() == "# ours\nbobby ALL=(ALL) ALL\n"
    assert rules.stat().st_mode & 0o777 == 0o440
    assert not other.exists()
    assert (mail.exists(), his.exists()) == (False, True)
    assert "bob:" not in (made.root / "etc/passwd-").read_text()
    assert "$6$b$hash" not in (made.root / "etc/shadow-").read_text()


def test_without_plus_user_nobody_is_deleted(image: Callable[..., Image]) -> None:
    made = image()
    assert made.run("user", Request(user="bob")).kind == "skipped"
    assert made.has("/home/bob/x")


@pytest.mark.row("provisioning", 65)
def test_65_where_nobody_is_known_the_rest_is_done(image: Callable[..., Image]) -> None:
    made = image()
    assert made.run("user", Request(delete_user=True, unknown="there is no document")).kind == "skipped"


def test_account_of_the_system_stays_whole(image: Callable[..., Image], put: Put) -> None:
    """The incumbent said that it would not, and went on."""
    made = image()
    put("/etc/login.defs", "UID_MIN 1000\n")
    rules = put("/etc/sudoers.d/waagent", "bob ALL=(ALL) ALL\n", 0o440)
    with pytest.raises(UserError, match="account of the system"):
        made.run("user", ALL)
    assert made.recorder.ran == []
    assert made.has("/home/bob/x")
    assert rules.exists()


def test_home_whose_account_went_before_the_power_did_goes_too(image: Callable[..., Image], put: Put) -> None:
    import os

    made = image()
    put("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    os.chown(made.root / "home/bob", 4711, 4711)
    assert made.run("user", ALL).kind == "changed"
    assert not made.has("/home/bob")
    os.chown(made.root / "home/bobby", 0, 0)
    assert made.run("user", Request(True, "bobby")).kind == "unchanged", "root's directory is nobody's home"
    assert made.has("/home/bobby/x")


@pytest.mark.row("field-demands", 135)
@pytest.mark.row("provisioning", 67)
@pytest.mark.parametrize(
    ("distro", "version", "link", "gone", "kept"),
    [
        ("debian", "12", "", ["/etc/resolv.conf"], []),
        ("debian", "12", "/run/systemd/resolve/stub-resolv.conf", [], ["/etc/resolv.conf"]),
        ("debian", "12", "../run/systemd/resolve/stub-resolv.conf", [], ["/etc/resolv.conf"]),
        ("debian", "12", "/etc/resolv.static", ["/etc/resolv.conf", "/etc/resolv.static"], []),
        ("ubuntu", "16.04", "", ["/etc/resolv.conf"], ["/etc/resolvconf/resolv.conf.d/tail"]),
        ("ubuntu", "16.04", "/run/resolvconf/resolv.conf",
         ["/etc/resolvconf/resolv.conf.d/tail", "/etc/resolvconf/resolv.conf.d/original"], ["/etc/resolv.conf"]),
        ("ubuntu", "22.04", "", [], ["/etc/resolv.conf"]),
        ("ubuntu", "22.04", "/run/systemd/resolve/stub-resolv.conf", [], ["/etc/resolv.conf"]),
    ],
)  # fmt: skip
def test_67_resolver(
    image: Callable[..., Image], put: Put, distro: str, version: str, link: str, gone: list[str], kept: list[str]
) -> None:
    made = image(distro, version)
    put("/etc/resolv.static", "nameserver 192.0.2.1\n")
    put("/etc/resolvconf/resolv.conf.d/tail", "x")
    put("/etc/resolvconf/resolv.conf.d/original", "x")
    if link:
        (made.root / "etc/resolv.conf").symlink_to(link)
    else:
        put("/etc/resolv.conf", "nameserver 192.0.2.1\n")
    made.run("resolver")
    assert [path for path in gone if made.has(path)] == []
    assert [path for path in kept if not made.has(path)] == []


@pytest.mark.row("provisioning", 68)
@pytest.mark.parametrize("distro", ["flatcar", "coreos", "arch"])
def test_68_machine_id_is_removed_where_the_first_boot_does_more(
    image: Callable[..., Image], put: Put, distro: str
) -> None:
    made = image(distro, "")
    real = put("/etc/machine-id", "0123\n")
    assert made.run("machine-id").kind == "changed"
    assert not real.exists()


def test_copy_of_the_machine_id_goes_a_link_stays(image: Callable[..., Image], put: Put) -> None:
    made = image()
    put("/etc/machine-id", "0123\n")
    copy = put("/var/lib/dbus/machine-id", "0123\n")
    made.run("machine-id")
    assert not copy.exists()
    copy.symlink_to("/etc/machine-id")
    assert made.run("machine-id").kind == "unchanged"
    assert copy.is_symlink()


def test_5_2_15_16_units_that_agents_made(image: Callable[..., Image], put: Put) -> None:
    made = image("ubuntu", "22.04")
    name = made.profile.text("services.incumbent")
    units = "/etc/systemd/system"
    gone = [
        put(f"{units}/{name}-network-setup.service"), put(f"{units}/azure-walinuxagent-logcollector.slice"),
        *(put(f"{units}/{name}.service.d/{each}") for each in (
            "10-Slice.conf", "11-CPUAccounting.conf", "12-CPUQuota.conf", "13-MemoryAccounting.conf")),
    ]  # fmt: skip
    wants = made.root / f"etc/systemd/system/multi-user.target.wants/{name}-network-setup.service"
    wants.parent.mkdir(parents=True)
    wants.symlink_to(f"{units}/{name}-network-setup.service")
    admins = put(f"{units}/{name}.service.d/50-admin.conf")
    assert made.run("units").kind == "changed"
    assert [path for path in gone if path.exists()] == []
    assert not wants.is_symlink()
    assert admins.exists()


@pytest.mark.row("field-demands", 133)
def test_cloud_init_is_asked_to_forget(image: Callable[..., Image], put: Put) -> None:
    made = image()
    assert made.run("cloud-init").kind == "skipped"
    put("/usr/bin/cloud-init", "", 0o755)
    assert made.run("cloud-init").kind == "changed"
    assert made.recorder.ran == [("cloud-init", "clean", "--logs")]


def test_logs_that_programs_write_are_emptied_their_rotated_forms_removed(
    image: Callable[..., Image], put: Put
) -> None:
    made = image()
    log, old = put("/var/log/auth.log", "bob logged in", 0o640), put("/var/log/auth.log.1", "bob")
    journal = put("/var/log/journal/abc/system.journal", "bob")
    assert made.run("logs").kind == "changed"
    assert (log.read_text(), log.stat().st_mode & 0o777) == ("", 0o640)
    assert not old.exists()
    assert not journal.exists()
    assert (made.root / "var/log/journal").is_dir()
    assert made.recorder.ran == [("journalctl", "--relinquish-var")]


def test_swap_in_the_state_directory_is_switched_off_first(image: Callable[..., Image], put: Put) -> None:
    made = image()
    put("/var/lib/waagent/swapfile", "x")
    put("/proc/swaps", "Filename Type Size Used Priority\n/var/lib/waagent/swapfile file 1 0 -2\n/swap file 1 0 -3\n")
    assert made.run("state").kind == "changed"
    assert made.recorder.ran == [("swapoff", "/var/lib/waagent/swapfile")]
    assert (made.root / "var/lib/waagent").is_dir()


def test_announce_tells_the_hooks_who_goes(image: Callable[..., Image]) -> None:
    made = image()
    made.run("announce", ALL)
    ((event, data),) = made.ctx.events
    assert (event, data["delete_user"], data["user"]) == ("deprovision", True, "bob")


def test_verify_names_what_is_left_and_is_no_failure(image: Callable[..., Image], put: Put) -> None:
    made = image()
    put("/var/log/app.log", "host vm1 said hello\n")
    outcome = made.run("verify", ALL)
    assert outcome.kind == "unchanged"
    assert "still there: name: /var/log/app.log says vm1" in made.ctx.notes


@pytest.mark.row("field-demands", 132)
@pytest.mark.parametrize("step", [step for step in STEPS if "verify" not in step and "announce" not in step])
def test_132_plan_mode_changes_nothing(image: Callable[..., Image], put: Put, step: str) -> None:
    made = image(conf="Provisioning.DeleteRootPassword=y\nProvisioning.RegenerateSshHostKeyPair=y\n")
    for path in ("/etc/ssh/ssh_host_rsa_key", "/var/lib/dhcp/x", "/etc/resolv.conf", "/var/lib/waagent/x/y",
                 "/root/.bash_history", "/etc/machine-id", "/var/log/auth.log", "/etc/random.seed"):  # fmt: skip
        put(path, "content")
    before = _tree(made.root)
    try:
        made.run(step[3:-3], ALL, planning=True)
    except WaagentError as error:
        pytest.fail(str(error))
    assert _tree(made.root) == before
    assert made.recorder.ran == []


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}
