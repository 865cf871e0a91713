"""A machine becomes an image, and the image another machine: nothing of the first life is left in the second."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import Bed

PASSWORD = "Harbour-Lantern-42-Quill"
CUSTOM_DATA = "#!/bin/sh\necho sesame-of-the-first-life\n"
HOST_NAME = "vm-first-life"


class First(NamedTuple):
    """What was of the first life, in bytes that would be found if they were left."""

    bed: Bed
    public: str
    vm_id: str
    host_keys: str
    secrets: dict[str, bytes]


@pytest.fixture(scope="module")
def first(bed: Bed) -> First:
    private, public = bed.make_key("first")
    machine = bed.machine(
        host_name=HOST_NAME, user="ada", password=PASSWORD, ssh_keys=[public], custom_data=CUSTOM_DATA,
        disable_password_authentication=False,
    )  # fmt: skip
    guest = bed.guest
    guest.boot()
    machine.wait_for("ready", timeout=60)
    guest.wait_until_booted()
    assert bed.ssh("ada", private, "echo mine >~/mine; id -un").out == "ada\n"
    guest.succeed("echo 'export TOKEN=hunter-of-history' >/root/.bash_history")
    guest.succeed("mkdir -p /var/lib/dhcp && echo lease >/var/lib/dhcp/dhclient.eth0.leases")
    guest.write("/etc/sudoers.d/90-others", "ada ALL=(ALL) NOPASSWD:ALL\nadam ALL=(ALL) ALL\n", 0o440)
    lib = "/var/lib/waagent"
    transport = guest.read(f"{lib}/TransportPrivate.pem").splitlines()[3]
    secrets = {
        "the password": PASSWORD.encode(),
        "its hash": guest.succeed("getent shadow ada").split(":")[1].encode(),
        "the key": public.split()[1].encode(),
        "the custom data": b"sesame-of-the-first-life",
        "the custom data as they came": guest.read(f"{lib}/CustomData").strip().splitlines()[0][:60].encode(),
        "the transport key": transport.encode(),
        "the host key": guest.read("/etc/ssh/ssh_host_rsa_key").splitlines()[4].encode(),
        "a typed token": b"hunter-of-history",
        "the VM id": guest.vm_id.encode(),
        "the host name": HOST_NAME.encode(),
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


def test_dry_run_lists_what_goes_and_changes_nothing(first: First) -> None:
    guest = first.bed.guest
    look = "find /etc /home /root /var/lib /var/mail -xdev ! -path '/var/lib/systemd/*' -type f -exec sha256sum {} + | sort"
    before = guest.succeed(look)
    told = guest.succeed("waagent deprovision --user --dry-run")
    assert guest.succeed(look) == before
    for path in (
        "/etc/ssh/ssh_host_rsa_key", "/var/lib/dhcp/dhclient.eth0.leases", "/root/.bash_history", "/home/ada",
        "/etc/sudoers.d/waagent", "/var/lib/waagent/instances", "/var/log/waagent.log", "userdel -f -r ada",
    ):  # fmt: skip
        assert path in told, f"{path} is not in the list"
    guest.succeed("systemctl is-active waagent.service")


@pytest.mark.row("provisioning", 63)
@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n", ""])
def test_63_anything_but_yes_changes_nothing(first: First, answer: str) -> None:
    guest = first.bed.guest
    ran = guest.run("waagent -deprovision+user", stdin=answer)
    assert "WARNING! The account ada" in ran.out
    assert ran.status == (0 if answer else 1)
    assert guest.exists("/home/ada/mine")
    guest.succeed("systemctl is-active waagent.service")


@pytest.mark.row("field-demands", 131, 134)
@pytest.mark.row("provisioning", 64, 66)
def test_64_66_deprovision_user_takes_everything_and_only_ada(first: First) -> None:
    guest = first.bed.guest
    guest.succeed("useradd -m adam && echo his >/home/adam/his && chown adam /home/adam/his")
    guest.write("/etc/waagent/hooks.d/on-deprovision/10-tell.sh", "#!/bin/sh\nls /home/ada >/etc/told-before\n", 0o755)
    ran = guest.run("waagent -force -deprovision+user", timeout=120)
    assert ran.status == 0, ran
    assert "y/n" not in ran.out
    assert guest.read("/etc/told-before") == "mine\n", "the hooks run while everything is still there"
    guest.fail("getent passwd ada")
    assert not guest.exists("/home/ada")
    assert guest.read("/home/adam/his") == "his\n"
    assert guest.read("/etc/sudoers.d/90-others") == "adam ALL=(ALL) ALL\n"
    assert guest.succeed("hostname") == "localhost.localdomain\n"
    assert guest.succeed("ls -A /var/lib/waagent") == ""
    guest.succeed("userdel -r adam; rm /etc/sudoers.d/90-others /etc/told-before; rm -r /etc/waagent/hooks.d/on-deprovision; "
                  "cp /etc/passwd /etc/passwd-; cp /etc/shadow /etc/shadow-")  # fmt: skip


def test_nothing_of_the_agent_writes_state_again(first: First) -> None:
    guest = first.bed.guest
    running = guest.succeed("systemctl list-units --all --plain --no-legend 'waagent*' | grep -w running || true")
    assert running == ""
    guest.succeed("sleep 32")  # longer than the timer's period
    assert guest.succeed("ls -A /var/lib/waagent") == ""
    assert not guest.exists("/var/log/waagent.log")


def test_verify_finds_nothing_with_the_names_known(first: First) -> None:
    names = f"--name ada --name {HOST_NAME} --name {first.vm_id}"
    ran = first.bed.guest.run(f"waagent deprovision --verify {names}")
    assert (ran.status, ran.out) == (0, "no trace of an instance was found\n"), ran


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
    names = ["--name", "ada", "--name", HOST_NAME]
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
    bed.guest.fail("getent passwd ada")


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
    assert guest.run("waagent deprovision --verify --name ada --name cut").out == "no trace of an instance was found\n"


def _files_with(root: Path, secret: bytes) -> list[str]:
    """Every file of the tree that has the bytes; the agent's own code and the packages' do not count for "sig="."""
    found = subprocess.run(
        ["grep", "-rlaF", "--devices=skip", "--exclude-dir=proc", "--exclude-dir=sys", "-e", secret.decode(), str(root)],
        capture_output=True,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()
    code = ("/usr/lib/", "/usr/share/", "/usr/bin/", "/usr/sbin/", "/lib/")
    return [name[len(str(root)) :] for name in found if not name[len(str(root)) :].startswith(code)]
