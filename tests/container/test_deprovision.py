"""A machine becomes an image, and the image another machine: nothing of the first life is left in the second.

On every Debian that is supported; each guest lives its two lives through the tests in their order.
"""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bed import Bed, Guest, tree

PASSWORD = "Harbour-Lantern-42-Quill"
CUSTOM_DATA = "#!/bin/sh\necho sesame-of-the-first-life\n"
HOST_NAME = "vm-first-life"
# Names that are in no word of the system, so that their bytes can be looked for everywhere; one begins the other.
USER, OTHER = "quillon", "quillonet"

# Where a life leaves something. What systemd writes when it likes is no trace of anybody.
KEPT = "find /etc /home /root /var /srv -xdev ! -path '/var/lib/systemd/*' ! -path '/var/log/journal/*' ! -path '/var/tmp/*'"


class First(NamedTuple):
    """What was of the first life, in bytes that would be found if they were left."""

    bed: Bed
    public: str
    vm_id: str
    host_keys: str
    secrets: dict[str, bytes]


@pytest.fixture(scope="module", params=tree.SUITES)
def first(request: pytest.FixtureRequest) -> Iterator[First]:
    with Bed(request.param) as bed:
        yield live(bed)


def live(bed: Bed) -> First:
    """A first boot with all that an owner can ask for, and a day of work."""
    private, public = bed.make_key("first")
    machine = bed.machine(
        host_name=HOST_NAME, user=USER, password=PASSWORD, ssh_keys=[public], custom_data=CUSTOM_DATA,
        disable_password_authentication=False,
    )  # fmt: skip
    guest = bed.guest
    guest.succeed("mkdir -p /var/log/journal /etc/waagent.conf.d")  # the journal is kept on the disk
    guest.write("/etc/waagent.conf.d/50-run.conf", "Provisioning.ExecuteCustomData=y\n")
    guest.write("/etc/hostname", "image\n")
    guest.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 image\n")
    guest.boot()
    machine.wait_for("ready", timeout=60)
    guest.wait_until_booted()
    guest.wait_for_unit("waagent-final.service")
    assert bed.ssh(USER, private, "echo mine >~/mine; id -un").out == f"{USER}\n"
    as_root = f"echo {PASSWORD} | sudo -S true; logger -t {USER} typed {PASSWORD[:6]}"
    assert bed.ssh(USER, private, as_root).status == 0
    guest.succeed("journalctl --sync && ls /var/log/journal/*/system.journal")
    guest.succeed("echo 'export TOKEN=hunter-of-history' >/root/.bash_history")
    guest.succeed("mkdir -p /var/lib/dhcp && echo lease >/var/lib/dhcp/dhclient.eth0.leases")
    guest.write("/etc/sudoers.d/90-others", f"{USER} ALL=(ALL) NOPASSWD:ALL\n{OTHER} ALL=(ALL) ALL\n", 0o440)
    lib = "/var/lib/waagent"
    transport = guest.read(f"{lib}/TransportPrivate.pem").splitlines()[3]
    secrets = {
        "the password": PASSWORD.encode(),
        "its hash": guest.succeed(f"getent shadow {USER}").split(":")[1].encode(),
        "the key": public.split()[1].encode(),
        "the custom data": b"sesame-of-the-first-life",
        "the custom data as they came": base64.b64encode(CUSTOM_DATA.encode())[:40],
        "the transport key": transport.encode(),
        "the host key": guest.read("/etc/ssh/ssh_host_rsa_key").splitlines()[4].encode(),
        "a typed token": b"hunter-of-history",
        "the VM id": guest.vm_id.encode(),
        "the host name": HOST_NAME.encode(),
        "the user name": USER.encode(),
        "a token of the platform": b"sig=",
    }
    return First(bed, public, guest.vm_id, guest.read("/etc/ssh/ssh_host_rsa_key"), secrets)


def test_verify_says_what_a_machine_in_use_has_and_fails(first: First) -> None:
    ran = first.bed.guest.run("waagent deprovision --verify")
    assert ran.status == 1
    kinds = {line.split(":")[0] for line in ran.out.splitlines()}
    assert {
        "SSH host key", "log", "name", "history", "DHCP lease", "machine id", "agent state", "account",
        "authorized keys", "sudo rule", "password hash",
    } <= kinds  # fmt: skip


def test_dry_run_changes_nothing(first: First) -> None:
    guest = first.bed.guest
    before = snapshot(guest)
    told = guest.succeed("waagent deprovision --user --dry-run")
    assert differing(before, snapshot(guest)) == set()
    assert f"userdel -f -r {USER}" in told
    guest.succeed("systemctl is-active waagent.service")


@pytest.mark.row("provisioning", 63)
@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n", ""])
def test_63_anything_but_yes_changes_nothing(first: First, answer: str) -> None:
    guest = first.bed.guest
    ran = guest.run("waagent -deprovision+user", stdin=answer)
    assert f"WARNING! The account {USER}" in ran.out
    assert ran.status == (0 if answer else 1)
    assert guest.exists(f"/home/{USER}/mine")
    guest.succeed("systemctl is-active waagent.service")


@pytest.mark.row("field-demands", 131, 134)
@pytest.mark.row("provisioning", 64, 66)
def test_64_66_deprovision_user_takes_everything_and_only_that_user(first: First) -> None:
    guest = first.bed.guest
    guest.succeed(f"useradd -m {OTHER} && echo his >/home/{OTHER}/his && chown {OTHER} /home/{OTHER}/his")
    tell = f"#!/bin/sh\nls /home/{USER} >/run/told-before\n"
    guest.write("/etc/waagent/hooks.d/on-deprovision/10-tell.sh", tell, 0o755)
    before = snapshot(guest)
    foreseen = json.loads(guest.succeed("waagent deprovision --user --dry-run --format json"))
    ran = guest.run("waagent -force -deprovision+user", timeout=120)
    assert ran.status == 0, ran
    assert "y/n" not in ran.out
    assert guest.read("/run/told-before") == "mine\n", "the hooks run while everything is still there"
    guest.fail(f"getent passwd {USER}")
    assert not guest.exists(f"/home/{USER}")
    assert guest.read(f"/home/{OTHER}/his") == "his\n"
    assert guest.read("/etc/sudoers.d/90-others") == f"{OTHER} ALL=(ALL) ALL\n"
    assert guest.succeed("hostname") == "localhost.localdomain\n"
    assert guest.read("/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 localhost.localdomain\n"
    assert guest.succeed("ls -A /var/lib/waagent") == ""
    assert_foreseen(foreseen, differing(before, snapshot(guest)))
    guest.succeed(f"userdel -r {OTHER}; rm /etc/sudoers.d/90-others; rm -r /etc/waagent/hooks.d/on-deprovision; "
                  "for file in passwd shadow group gshadow subuid subgid; do cp -p /etc/$file /etc/$file-; done")  # fmt: skip


def assert_foreseen(foreseen: dict[str, Any], gone: set[str]) -> None:
    """What was listed is what went or changed, no path more and no path less."""
    effects = [effect for step in foreseen["steps"] for effect in step.get("effects", ())]
    listed = {
        word
        for effect in effects
        for word in effect.split()
        if word.startswith("/") and not effect.startswith("run ")
    }
    accounts = {
        f"/etc/{file}{copy}"
        for file in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
        for copy in ("", "-")
    }
    assert f"run userdel -f -r {USER}" in "\n".join(effects)
    by_userdel = {
        path for path in gone if path in accounts or path.startswith((f"/home/{USER}", f"/var/mail/{USER}"))
    }
    unforeseen = {path for path in gone - by_userdel if not any(f"{path}/".startswith(f"{top}/") for top in listed)}
    assert unforeseen == set()
    kept = {top for top in listed if top.startswith(("/etc/", "/home/", "/root/", "/var/")) and not top.startswith(("/var/log/journal", "/var/run/"))
            and not any(f"{path}/".startswith(f"{top}/") for path in gone)}  # fmt: skip
    assert kept == set()


def test_nothing_of_the_agent_can_write_state_again(first: First) -> None:
    """No process of it runs, and nothing waits for its time."""
    guest = first.bed.guest
    units = guest.succeed("systemctl list-units --all --plain --no-legend 'waagent*'").splitlines()
    assert [unit for unit in units if {"running", "waiting", "listening", "activating"} & set(unit.split())] == []
    assert guest.run(["pgrep", "-af", "[w]aagent"]).out == ""
    assert guest.succeed("ls -A /var/lib/waagent") == ""
    assert not guest.exists("/var/log/waagent.log")


def test_verify_finds_nothing_with_the_names_known(first: First) -> None:
    names = f"--name {USER} --name {HOST_NAME} --name {first.vm_id}"
    ran = first.bed.guest.run(f"waagent deprovision --verify {names}")
    assert (ran.status, ran.out) == (0, "no trace of an instance was found\n"), ran


@pytest.mark.parametrize(
    ("kind", "path", "content"),
    [
        pytest.param("SSH host key", "/etc/ssh/ssh_host_ed25519_key", "PRIVATE", id="host-key"),
        pytest.param("DHCP lease", "/var/lib/dhcp/dhclient.eth0.leases", "lease {}", id="lease"),
        pytest.param("machine id", "/etc/machine-id", "0123456789abcdef0123456789abcdef\n", id="machine-id"),
        pytest.param("history", "/root/.bash_history", "ls\n", id="history"),
        pytest.param("name", "/var/log/dpkg.log", f"2026 {HOST_NAME} installed\n", id="log-with-the-name"),
        pytest.param("log", "/var/log/waagent.log", "ready\n", id="log"),
        pytest.param("agent state", "/var/lib/waagent/provisioned", "x\n", id="state"),
    ],
)  # fmt: skip
def test_verify_finds_what_was_planted(first: First, kind: str, path: str, content: str) -> None:
    guest = first.bed.guest
    guest.succeed(
        [
            "sh",
            "-c",
            'test -e "$0" && cp -p "$0" /run/kept; mkdir -p "$(dirname "$0")"; printf %s "$1" >>"$0"',
            path,
            content,
        ]
    )
    ran = guest.run(f"waagent deprovision --verify --name {HOST_NAME}")
    assert ran.status == 1
    assert [line for line in ran.out.splitlines() if line.startswith(f"{kind}: {path}")], ran
    guest.succeed(["sh", "-c", 'rm "$0"; test ! -e /run/kept || mv /run/kept "$0"', path])
    assert guest.run("waagent deprovision --verify").status == 0


def test_it_can_be_done_again(first: First) -> None:
    ran = first.bed.guest.run("waagent deprovision --user --force")
    assert ran.status == 0, ran
    assert "account was not found" in ran.out


def test_bytes_of_the_first_life_are_nowhere_on_the_disk(first: First) -> None:
    first.bed.guest.poweroff()
    for what, secret in first.secrets.items():
        assert _files_with(first.bed.guest.root, secret) == [], f"{what} is left"


def test_image_is_clean_from_outside(first: First) -> None:
    """As an image builder looks at it: mounted, without starting it."""
    names = ["--name", USER, "--name", HOST_NAME]
    root = first.bed.guest.root
    ran = subprocess.run(
        ["/usr/bin/python3", "-m", "waagent.cli", "deprovision", "--verify", "--root", str(root), *names],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


def test_boot_with_a_new_id_is_provisioned_anew(first: First) -> None:
    bed = first.bed
    bed.guest.vm_id = str(uuid.uuid4())
    private, public = bed.make_key("second")
    machine = bed.machine(host_name="vm-second-life", user="grace", ssh_keys=[public])
    bed.guest.boot()
    machine.wait_for("ready", timeout=60)
    bed.guest.wait_until_booted()
    (bed.directory / "known_hosts").unlink(missing_ok=True)
    assert bed.ssh("grace", private, "hostname").out == "vm-second-life\n"
    assert bed.guest.read("/etc/ssh/ssh_host_rsa_key") != first.host_keys
    assert bed.guest.read("/etc/machine-id").strip() not in ("", first.vm_id.replace("-", ""))
    status = json.loads(bed.guest.succeed("waagent status --format json"))
    assert status["state"] == "done"
    bed.guest.fail(f"getent passwd {USER}")


def test_disk_of_the_second_life_has_no_secret_of_the_first(first: First) -> None:
    first.bed.guest.poweroff()
    for what, secret in first.secrets.items():
        if what != "a token of the platform":  # the second life has tokens of its own
            assert _files_with(first.bed.guest.root, secret) == [], f"{what} is left"


def test_killed_at_any_step_it_is_finished_by_the_next_run(fresh_bed: Bed) -> None:
    """SIGKILL after each of several moments; the last run finds what is left to do, the account's name included."""
    machine = fresh_bed.machine(host_name="cut", user="ada", password=PASSWORD)
    guest = fresh_bed.guest
    guest.boot()
    machine.wait_for("ready", timeout=60)
    guest.wait_until_booted()
    for moment in (0.15, 0.3, 0.45, 0.6, 0.8, 1.0):
        guest.run(f"timeout --signal=KILL {moment} waagent deprovision --user --force")
    ran = guest.run("waagent deprovision --user --force")
    assert ran.status == 0, ran
    guest.fail("getent passwd ada")
    assert not guest.exists("/home/ada")
    assert (
        guest.run("waagent deprovision --verify --name ada --name cut").out == "no trace of an instance was found\n"
    )


def snapshot(guest: Guest) -> dict[str, str]:
    """Every path where a life leaves something: content of files, target of links."""
    shown = guest.succeed(
        f"{KEPT} \\( -type f -exec sha256sum {{}} + -o -type l -printf '%l  %p\\n' -o -printf 'd  %p\\n' \\)"
    )
    return {path: content for content, _, path in (line.partition("  ") for line in shown.splitlines())}


def differing(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {path for path in {*before, *after} if before.get(path) != after.get(path)}


def _files_with(root: Path, secret: bytes) -> list[str]:
    """Every path of the tree whose content, name or link has the bytes, the journal's files among them.

    The packages' own code does not count: it has "sig=".
    """
    found = subprocess.run(
        [
            "grep",
            "-rlaF",
            "--devices=skip",
            "--exclude-dir=proc",
            "--exclude-dir=sys",
            "-e",
            secret.decode(),
            str(root),
        ],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()
    named = [
        "find",
        str(root),
        "-xdev",
        "(",
        "-name",
        f"*{secret.decode()}*",
        "-o",
        "-lname",
        f"*{secret.decode()}*",
        ")",
    ]
    found += subprocess.run(named, capture_output=True, text=True, check=True).stdout.splitlines()
    code = ("/usr/lib/", "/usr/share/", "/usr/bin/", "/usr/sbin/", "/lib/")
    return [name[len(str(root)) :] for name in found if not name[len(str(root)) :].startswith(code)]
