"""The power fails, or the stage is killed, at random moments of the first boot: the machine ends provisioned, once.

Each machine is cut off several times, at moments spread evenly over the time that it usually takes, and is then left
alone. It has to be what a machine is that was never disturbed: the same accounts, rules, keys and files, and nothing
half written beside them.

WAAGENT_KILLS is the number of cuts of each kind (20), WAAGENT_SEED gives the moments of a former run again.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bed import Bed, package, tree
from bed.cgroup import ControlGroup

from waagent.machine import passwords
from waagent.simulator import Machine

KILLS = int(os.environ.get("WAAGENT_KILLS") or 20)
CUTS_OF_A_MACHINE = 4  # each chain of cuts ends with a whole boot
CUTS_OF_A_STAGE = 10
SEED = int(os.environ.get("WAAGENT_SEED") or random.SystemRandom().randrange(1_000_000))

VM_ID = "6d0d3c7e-2f0b-4c83-9a55-0f6a5a9b1c52"
PASSWORD = "Left-Right-88-Up"
MARKER = "/var/lib/waagent/provisioned"

# Host keys whose public half belongs to the private one.
FITTING = """cd /etc/ssh && for key in ssh_host_*_key; do
    [ "$(ssh-keygen -y -f $key | cut -d' ' -f1,2)" = "$(cut -d' ' -f1,2 $key.pub)" ] && echo $key; done"""

# What no two boots have alike: logs, what systemd makes up, what the custom data did if their boot was the one cut off.
OF_ITS_OWN = re.compile(
    r"/(run|tmp|var/tmp|var/log|home/ada/\.cache|var/lib/(systemd|private)|var/cache/ldconfig)(/|$)"
    r"|\.updated$|/(passwd|shadow|group|gshadow|subuid|subgid)-$|^/var/lib/(ran|waagent/CustomData\.(log|started))$"
    r"|/sem/final\.run-custom-data\.|^/var/lib/waagent/(boots|history|extensions|events)(/|$)"
)
# A certificate of this machine's owner, by its thumbprint.
CERTIFICATE = re.compile(r"[0-9A-F]{40}")


class Usual(NamedTuple):
    """What comes of it when nothing is in its way, and how long that takes."""

    portrait: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def layers() -> Iterator[list[Path]]:
    """The same ones for all machines, whatever somebody changes in the source meanwhile."""
    made = tree.layers("bookworm", package.build())
    with Bed(layers=made):  # what is mounted stays in the cache
        yield made


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A private key file, and the line of the public one."""
    key = tmp_path_factory.mktemp("login") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "login", "-f", str(key)], check=True)
    return key, key.with_suffix(".pub").read_text(encoding="ascii").strip()


@pytest.fixture(scope="module")
def usual_boot(layers: list[Path], login: tuple[Path, str]) -> Usual:
    with Bed(layers=layers) as bed:
        order(bed, login[1])
        seconds = finish(bed)
        print(f"WAAGENT_SEED={SEED}: a boot takes {seconds:.1f} s")
        return Usual(portrait(bed), seconds)


def order(bed: Bed, public: str) -> Machine:
    bed.guest.vm_id = VM_ID
    bed.guest.write("/etc/waagent.conf.d/50-run.conf", "Provisioning.ExecuteCustomData=y\n")
    return bed.machine(
        host_name="cut", user="ada", password=PASSWORD, ssh_keys=[public], disable_password_authentication=False,
        custom_data="#!/bin/sh\necho ran >>/var/lib/ran\n",
    )  # fmt: skip


def finish(bed: Bed) -> float:
    """Boot, and let all of it happen; gives the seconds until the machine knew that the platform knows it as ready."""
    guest, began = bed.guest, time.monotonic()
    guest.boot()
    guest.wait_until_succeeds(f"grep -q {VM_ID} {MARKER}", timeout=90)
    seconds = time.monotonic() - began
    guest.wait_until_booted()
    guest.wait_for_unit("waagent-final.service")
    # Whoever writes a file just now has a temporary one, which is no left-over.
    guest.hold_agent()
    return seconds


def portrait(bed: Bed) -> dict[str, Any]:
    """The machine in what must be alike; keys and salts are random, so only their fitness counts."""
    guest = bed.guest
    names = {
        file: sorted(line.split(":")[0] for line in guest.read(f"/etc/{file}").splitlines())
        for file in ("passwd", "shadow", "group", "gshadow")
    }
    return {
        **names,
        "account": guest.succeed("getent passwd ada; id ada"),
        "password": passwords.matches(PASSWORD, guest.succeed("getent shadow ada").split(":")[1]),
        "rules": guest.read("/etc/sudoers.d/waagent"),
        "keys": guest.read("/home/ada/.ssh/authorized_keys"),
        "sshd": guest.read("/etc/ssh/sshd_config.d/50-waagent.conf"),
        "host keys": guest.succeed(["bash", "-c", FITTING]).split(),
        "host name": guest.read("/etc/hostname"),
        "tree": files(bed),
        "the password in clear": holding(bed, PASSWORD),
    }


def files(bed: Bed) -> dict[str, str]:
    """What was made or changed above the tree of the package: path -> kind, mode and owner."""
    upper, found = bed.directory / "upper", {}
    for folder, directories, names in os.walk(upper):
        for name in (*directories, *names):
            path = Path(folder, name)
            status, inside = path.lstat(), f"/{path.relative_to(upper)}"
            if (name.endswith(".new") or not OF_ITS_OWN.search(inside)) and "__pycache__" not in inside:
                owner = f"{status.st_uid}:{status.st_gid}"
                found[CERTIFICATE.sub("of-the-owner", inside)] = f"{stat.filemode(status.st_mode)} {owner}"
    return found


def assert_alike(now: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = {what: now[what] for what in wanted if now[what] != wanted[what] and what != "tree"}
    assert differing == {}
    assert set(now["tree"].items()) ^ set(wanted["tree"].items()) == set()


def holding(bed: Bed, secret: str) -> list[str]:
    """The files of the machine that have the text, in memory file systems as well."""
    search = 'grep -rlaF --devices=skip -e "$0" /etc /home /root /var /run /srv /tmp /usr/local || true'
    return bed.guest.succeed(["sh", "-c", search, secret]).split()


@pytest.mark.parametrize("number", range(-(-KILLS // CUTS_OF_A_MACHINE)))
def test_machine_whose_power_failed_four_times_is_what_it_would_have_been(
    usual_boot: Usual, layers: list[Path], login: tuple[Path, str], number: int
) -> None:
    chance = random.Random(f"{SEED}-{number}")
    with Bed(layers=layers) as bed:
        machine, guest = order(bed, login[1]), bed.guest
        for moment in (*(chance.uniform(0, usual_boot.seconds) for _ in range(CUTS_OF_A_MACHINE)), None):
            marked, before = guest.exists(MARKER), len(machine.reports.health)
            if moment is None:
                finish(bed)
            else:
                print(f"WAAGENT_SEED={SEED}, machine {number}: the power fails after {moment:.3f} s")
                guest.start()
                time.sleep(moment)
                guest.kill()
            ready = [report.state for report in machine.reports.health[before:]].count("Ready")
            assert ready <= (0 if marked else 1), "one boot tells it once, and none after it is known to be told"
        assert_alike(portrait(bed), usual_boot.portrait)
        assert guest.succeed("systemctl list-units --state=failed --no-legend --plain") == ""
        states = [report.state for report in machine.reports.health]
        assert states == sorted(states, key=["NotReady", "Ready"].index), "it was ready and is not any more"
        assert len(guest.read("/var/lib/ran").splitlines() if guest.exists("/var/lib/ran") else []) <= 1
        asked = bed.ssh("ada", login[0], "id -un; hostname; sudo -n true 2>/dev/null || echo asks")
        assert asked.out == "ada\ncut\nasks\n"


# -- the stage alone, on a tree that nobody boots --------------------------------------------------------------


def stage_process(bed: Bed, group: ControlGroup) -> subprocess.Popen[bytes]:
    """waagent stage local on the guest's tree: real programs, in a chroot."""
    command = ["/usr/bin/python3", "-m", "waagent.cli", "stage", "local", "--root", str(bed.guest.root)]
    return subprocess.Popen(
        group.enter(*command),
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def prepare(bed: Bed, public: str) -> ControlGroup:
    """What the kernel would show of the machine, as files."""
    order(bed, public)
    bed.guest.write("/proc/1/environ", f"container=tree\0container_uuid={VM_ID}\0")
    bed.guest.write("/proc/sys/kernel/hostname", "localhost\n")
    bed.guest.write("/dev/null", "")
    return ControlGroup(f"waagent-bed-{bed.token}-stage")


def run_to_the_end(bed: Bed, group: ControlGroup) -> float:
    began = time.monotonic()
    process = stage_process(bed, group)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told.decode()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def usual_stage(layers: list[Path], login: tuple[Path, str]) -> Usual:
    with Bed(layers=layers) as bed:
        group = prepare(bed, login[1])
        seconds = run_to_the_end(bed, group)
        print(f"WAAGENT_SEED={SEED}: the stage takes {seconds:.1f} s")
        return Usual(portrait(bed), seconds)


@pytest.mark.parametrize("step_too", [True, False], ids=["with-its-step", "without-its-step"])
@pytest.mark.parametrize("number", range(-(-KILLS // CUTS_OF_A_STAGE // 2)))
def test_stage_that_was_killed_ten_times_leaves_what_it_would_have_made(
    usual_stage: Usual, layers: list[Path], login: tuple[Path, str], number: int, step_too: bool
) -> None:
    """SIGKILL to all of it, as systemd has it; or to its process group, and the step that runs goes on beside the next."""
    chance = random.Random(f"{SEED}-{number}-{step_too}")
    with Bed(layers=layers) as bed:
        group = prepare(bed, login[1])
        for _ in range(CUTS_OF_A_STAGE):
            moment = chance.uniform(0, usual_stage.seconds)
            print(f"WAAGENT_SEED={SEED}, tree {number}: killed after {moment:.3f} s")
            process = stage_process(bed, group)
            time.sleep(moment)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if step_too:
                group.kill()
            process.wait(10)
            process.stderr.close()
        run_to_the_end(bed, group)
        assert_alike(portrait(bed), usual_stage.portrait)
