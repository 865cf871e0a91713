"""The local stage as a whole, through the engine's own runner, with real programs where a fake root allows them.

A machine with an image builder's document is provisioned; the second boot does nothing; a step that was cut off, at
any of them, ends in the same machine; another VM made of the disk is provisioned anew or left alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.modules.conftest import TOP, VM_ID, profile_of
from tests.unit.instance.documents import KEY, document
from waagent import config as configuration
from waagent.instance import ovf
from waagent.machine import passwords
from waagent.runner import stage
from waagent.system import System
from waagent.system.command import Result

SECRET = "S3cret-of-the-owner"
OTHER = "11111111-2222-3333-4444-555555555555"
COPY = "/var/lib/waagent/ovf-env.xml"


class Machine:
    """A fake root whose programs behave as the real ones would on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root.parent / f"{root.name}.ran"  # a file, because each step runs in a process of its own
        for folder in ("etc/ssh/sshd_config.d", "etc/sudoers.d", "run", "proc/1", "proc/sys/kernel", "dev", "home",
                       "usr/bin", "var/lib", "var/log", "usr/lib/waagent"):  # fmt: skip
            (root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("modules", "stages", "data"):
            shutil.copytree(TOP / folder, root / "usr/lib/waagent" / folder)
        self.put("etc/os-release", "ID=debian\nVERSION_ID=12\n")
        self.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        self.put("etc/shadow", "root:$6$a$b:19000::::::\n")
        self.put("etc/login.defs", "UID_MIN 0\n")
        self.put("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
        self.put("proc/sys/kernel/hostname", "localhost\n")
        self.put("usr/bin/ssh-keygen", "")
        (root / "usr/bin/ssh-keygen").chmod(0o755)
        self.be(VM_ID)
        self.give(document(password=SECRET, keys=(("/home/operator1/.ssh/authorized_keys", "", KEY),)))

    def put(self, path: str, content: str | bytes) -> None:
        real = self.root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(content.encode() if isinstance(content, str) else content)

    def be(self, vm_id: str) -> None:
        self.put("proc/1/environ", f"container=test\0container_uuid={vm_id}\0")

    def give(self, raw: bytes) -> None:
        self.put(COPY[1:], raw)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def execute(self, argv, stdin, limit, env) -> Result:
        with open(self.log, "a") as log:
            log.write(f"{argv[0]}\n")
        if argv[0] == "useradd":
            self.put(
                "etc/passwd",
                self.text("etc/passwd") + f"{argv[-1]}:x:{os.getuid()}:{os.getgid()}::/home/{argv[-1]}:/bin/sh\n",
            )
            self.put("etc/shadow", self.text("etc/shadow") + f"{argv[-1]}:!:19000:0:99999:7:::\n")
            self.put(f"home/{argv[-1]}/.profile", "")
        elif argv[0] == "chpasswd":
            name, _, hashed = stdin.decode().strip().partition(":")
            lines = [line for line in self.text("etc/shadow").splitlines() if not line.startswith(f"{name}:")]
            self.put("etc/shadow", "\n".join([*lines, f"{name}:{hashed}:19000:0:99999:7:::"]) + "\n")
        elif argv[0] == "ssh-keygen":
            base = f"{argv[-1]}/etc/ssh/ssh_host_ed25519_key"[1:]
            self.put(base, f"PRIVATE {len(list(self.root.rglob('*')))} {os.urandom(4).hex()}")
            self.put(f"{base}.pub", f"{KEY}\n")
        else:
            return Result(argv, 127, "", "not found")
        return Result(argv, 0)

    def ran(self) -> list[str]:
        """The programs that were run since this was asked last."""
        names = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names

    def boot(self, only: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
        """Run the stage as a new boot would; how each step ended."""
        shutil.rmtree(self.root / "run")
        (self.root / "run").mkdir()
        system = System(self.root, execute=self.execute)
        config = configuration.from_text(
            "Provisioning.DeleteRootPassword=y\nLogs.Console=n\nProvisioning.SshHostKeyPairType=auto\n"
        )
        done = stage.run_stage(system, "local", config, profile_of(self.root), stage.Wish(only=only))
        return {record["name"]: (record["outcome"], record["message"]) for record in done.records}

    def state(self) -> dict[str, str]:
        """What the stage is there to bring about; keys and salts are random, so only their form counts."""
        shadow = dict(line.split(":")[:2] for line in self.text("etc/shadow").splitlines())
        return {
            "name": self.text("etc/hostname"),
            "users": self.text("etc/passwd").count("\noperator1:"),
            "password": passwords.matches(SECRET, shadow["operator1"]),
            "root": shadow["root"],
            "keys": self.text("home/operator1/.ssh/authorized_keys"),
            "sudo": self.text("etc/sudoers.d/waagent"),
            "sshd": self.text("etc/ssh/sshd_config.d/50-waagent.conf"),
            "host keys": sorted(path.name for path in (self.root / "etc/ssh").glob("ssh_host*")),
            "copy": ovf.parse((self.root / COPY[1:]).read_bytes()).password,
        }

    def holding(self, secret: str) -> list[str]:
        """The files below the root that contain the text."""
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*")
                if path.is_file() and secret.encode() in path.read_bytes()]  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "guest")


def failed(ended: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {name: how for name, how in ended.items() if how[0] == "failed"}


@pytest.mark.row("field-demands", 138, 155)
def test_a_new_machine_is_provisioned_and_no_file_keeps_the_password(machine: Machine) -> None:
    ended = machine.boot()
    assert failed(ended) == {}
    now = machine.state()
    assert (now["name"], now["users"], now["password"], now["copy"]) == ("web-01\n", 1, True, "*")
    assert now["keys"] == f"{KEY}\n"
    assert now["sudo"].splitlines()[-1] == "operator1 ALL=(ALL) ALL"
    assert now["host keys"] == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"]
    assert machine.holding(SECRET) == []


def test_a_dry_run_foresees_a_whole_first_boot_and_does_nothing(machine: Machine) -> None:
    before = {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()}
    system = System(machine.root, execute=machine.execute, planning=True)
    config = configuration.from_text("Logs.Console=n\nProvisioning.DeleteRootPassword=y\n")
    done = stage.run_stage(system, "local", config, profile_of(machine.root), stage.Wish())
    assert [record for record in done.records if record["outcome"] == "failed"] == []
    foreseen = " ".join(effect for record in done.records for effect in record.get("effects", []))
    for sign in ("/etc/hostname", "useradd -m operator1", "chpasswd", "authorized_keys", "sudoers.d/waagent",
                 "50-waagent.conf", "ssh_host_rsa_key", "/etc/shadow", COPY):  # fmt: skip
        assert sign in foreseen
    assert SECRET not in foreseen
    assert {path: path.read_bytes() for path in machine.root.rglob("*") if path.is_file()} == before
    assert machine.ran() == []


def test_a_second_boot_runs_nothing_again(machine: Machine) -> None:
    machine.boot()
    assert machine.ran() == ["useradd", "chpasswd", "ssh-keygen"]
    key = machine.text("etc/ssh/ssh_host_ed25519_key")
    ended = machine.boot()
    assert {how[0] for how in ended.values()} <= {"skipped", "unchanged"}, ended
    assert machine.ran() == [] and machine.text("etc/ssh/ssh_host_ed25519_key") == key


def test_a_machine_in_use_is_left_alone_when_the_package_comes(machine: Machine) -> None:
    machine.put("var/lib/waagent/provisioned", VM_ID.upper())
    machine.put("etc/ssh/ssh_host_rsa_key", "in use")
    before = {path: path.read_bytes() for path in (machine.root / "etc").rglob("*") if path.is_file()}
    machine.boot()
    assert {path: path.read_bytes() for path in (machine.root / "etc").rglob("*") if path.is_file()} == before
    assert machine.ran() == []


STEPS = ("instance-media", "hostname", "user", "password", "authorized-keys", "sudo", "sshd", "ssh-host-keys",
         "root-password", "release-media")  # fmt: skip


@pytest.mark.parametrize("last", STEPS)
def test_cut_off_after_any_step_before_its_success_was_written_the_next_boot_ends_the_same(
    machine: Machine, last: str
) -> None:
    """Killed when the step's work is done and nothing remembers it: the worst moment there is for repeating."""
    whole = Machine(machine.root.parent / "whole")
    whole.boot()
    names = ("identify", "provisioning-agent", *STEPS)
    machine.boot(only=names[: names.index(last) + 1])
    semaphore = machine.root / f"var/lib/waagent/instances/{VM_ID}/sem/local.{last}.done"
    assert semaphore.exists()
    semaphore.rename(semaphore.with_suffix(".running"))

    assert failed(machine.boot()) == {}
    assert machine.state() == whole.state()
    assert machine.holding(SECRET) == []


def test_another_vm_with_a_document_of_its_own_is_provisioned_anew(machine: Machine) -> None:
    machine.boot()
    key = machine.text("etc/ssh/ssh_host_ed25519_key")
    machine.put("var/lib/waagent/provisioned", VM_ID)
    os.utime(machine.root / "var/lib/waagent/provisioned", (1000, 1000))
    machine.be(OTHER)
    machine.give(document(host="web-02", password=SECRET))
    assert failed(machine.boot()) == {}
    assert machine.text("etc/hostname") == "web-02\n"
    assert machine.text("etc/ssh/ssh_host_ed25519_key") != key
    assert machine.state()["users"] == 1 and machine.holding(SECRET) == []


def test_another_vm_with_nothing_but_the_old_copy_stays_as_it_is(machine: Machine) -> None:
    machine.boot()
    key = machine.text("etc/ssh/ssh_host_ed25519_key")
    machine.put("var/lib/waagent/provisioned", VM_ID)
    machine.be(OTHER)
    ended = machine.boot()
    assert ended["instance-media"][0] == "skipped" and "stays as it is" in ended["instance-media"][1]
    assert machine.text("etc/ssh/ssh_host_ed25519_key") == key


def test_a_document_that_cannot_be_read_fails_one_step_and_no_other(machine: Machine) -> None:
    machine.give(b"<Environment")
    ended = machine.boot()
    assert list(failed(ended)) == ["instance-media"]
    assert "ovf-env.xml: document" in ended["instance-media"][1]
    assert machine.ran() == [] and not (machine.root / "etc/hostname").exists()
    machine.give(document(password=SECRET))
    assert failed(machine.boot()) == {}
