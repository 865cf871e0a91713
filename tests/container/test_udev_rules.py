"""The udev rules, read by the real udev: names of disks, one by one as in the reference's table (provisioning 8.8).

No guest is started. udevadm of a Debian runs in a mount namespace whose /sys is a tree of files with the disks of all
kinds of machines, and whose /dev and /run are empty. What udev made of each disk is the links it says it made.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bed import tree

RULES = Path(__file__).resolve().parents[2] / "data" / "udev"
SCSI_0 = "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}"
IDE = "{00000000-000%d-8899-0000-000000000000}"
DATA = "{f8b3781%s-1e82-4818-a1c3-63d806ec15bb}"
MAJOR = 250  # for local use: no disk of this machine has it


class Disk(NamedTuple):
    name: str
    channel: str  # device_id of the VMBus
    lun: str
    link: str  # below /dev/disk/azure; "" for none
    model: str = "Virtual Disk"
    vendor: str = "Msft"
    partitions: tuple[int, ...] = (1, 15)


DISKS = (
    Disk("sda", IDE % 0, "0:0:0", "root"),
    Disk("sdb", IDE % 1, "0:1:0", "resource"),
    Disk("sdc", SCSI_0, "0:0:0", "root"),
    Disk("sdd", SCSI_0, "0:0:1", "resource"),
    Disk("sde", SCSI_0, "0:0:2", ""),
    Disk("sdf", SCSI_0, "0:0:3", "scsi0/lun3"),
    Disk("sdg", SCSI_0, "0:0:12", "scsi0/lun12"),
    Disk("sdh", DATA % "b", "0:0:0", "scsi1/lun0"),
    Disk("sdi", DATA % "b", "0:0:1", "scsi1/lun1"),
    Disk("sdj", DATA % "b", "0:0:63", "scsi1/lun63"),
    Disk("sdk", DATA % "c", "0:0:2", "scsi2/lun2"),
    Disk("sdl", DATA % "d", "0:0:7", "scsi3/lun7"),
    Disk("sdm", "{f8b3781e-1e82-4818-a1c3-63d806ec15bb}", "0:0:0", ""),
    Disk("sdn", DATA % "b", "0:0:4", "", vendor="ATA"),
    Disk("sdo", DATA % "b", "0:0:5", "", model="Other Disk"),
    Disk("sr0", SCSI_0, "0:0:2", "", model="Virtual DVD-ROM", partitions=()),
)
# In place of scsi_id, which asks the disk itself; partitions get it from their disk as in udev's own rules.
IDENTIFY = (
    'SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ATTRS{vendor}=="Msft", ENV{ID_VENDOR}="Msft"\n'
    'SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ATTRS{vendor}=="ATA", ENV{ID_VENDOR}="ATA"\n'
    'SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ATTRS{model}=="?*", PROGRAM="/bin/echo -n $attr{model}", '
    'ENV{ID_MODEL}="$result"\n'
    'SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ATTRS{model}=="Virtual Disk", ENV{ID_MODEL}="Virtual_Disk"\n'
    'SUBSYSTEM=="block", ENV{DEVTYPE}=="partition", IMPORT{parent}="ID_*"\n'
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Sysfs:
    """A tree of files that udev takes for /sys, and the device nodes that go with it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.nodes: list[str] = []

    def device(self, path: str, subsystem: str, uevent: str = "", **attributes: str) -> str:
        folder = self.top / path
        folder.mkdir(parents=True, exist_ok=True)
        (self.top / subsystem).mkdir(parents=True, exist_ok=True)
        (folder / "subsystem").symlink_to(os.path.relpath(self.top / subsystem, folder))
        (folder / "uevent").write_text(uevent)
        for name, value in attributes.items():
            (folder / name).write_text(f"{value}\n")
        return f"/{path}"

    def disk(self, number: int, disk: Disk) -> dict[str, str]:
        """The paths of the disk and its partitions, by what they are called in /dev."""
        channel = f"devices/vmbus/{number:04d}"
        address = f"{number}:{disk.lun}"
        self.device(channel, "bus/vmbus", device_id=disk.channel)
        scsi = f"{channel}/host{number}/target{address.rpartition(':')[0]}/{address}"
        self.device(scsi, "bus/scsi", "DEVTYPE=scsi_device\n", vendor=disk.vendor, model=disk.model)
        found = {}
        for part in (0, *disk.partitions):
            name = f"{disk.name}{part or ''}"
            minor = number * 16 + part
            kind = f"partition\nPARTN={part}" if part else "disk"
            uevent = f"MAJOR={MAJOR}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE={kind}\n"
            path = f"{scsi}/block/{disk.name}" + (f"/{name}" if part else "")
            found[name] = self.device(path, "class/block", uevent)
            self.nodes.append(f"mknod /dev/{name} b {MAJOR} {minor}")
        return found


class Told(NamedTuple):
    said: dict[str, str]  # by device
    paths: dict[str, str]

    def links(self, name: str) -> list[str]:
        return re.findall(r"Successfully created symlink '/dev/disk/azure/([^']+)'", self.said[name])


UDEV = """
set -eu
root=$1 sys=$2 rules=$3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
for at in run dev etc/udev usr/lib/udev/rules.d; do mount -t tmpfs none "$root/$at"; done
mount -t proc none "$root/proc"
mount --bind "$sys" "$root/sys"
mkdir "$root/etc/udev/rules.d"
cp "$rules"/* "$root/etc/udev/rules.d/"
exec chroot "$root" /bin/sh -eu /etc/udev/rules.d/ask
"""


@pytest.fixture(scope="module")
def udev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    top = tmp_path_factory.mktemp("udev")
    rules = top / "rules"
    shutil.copytree(RULES, rules)
    (rules / "60-identify.rules").write_text(IDENTIFY)
    sysfs = Sysfs(top / "sys")
    paths: dict[str, str] = {}
    for number, disk in enumerate(DISKS):
        paths.update(sysfs.disk(number, disk))
    for vendor in ("Microsoft Corporation", "Somebody"):
        paths[vendor] = sysfs.device(
            f"devices/virtual/dmi/{vendor[:4]}", "class/dmi",
            sys_vendor=vendor, product_name="Virtual Machine", product_uuid="0f8fad5b",
        )  # fmt: skip
    asked = [*sysfs.nodes, "mknod /dev/null c 1 3", "export SYSTEMD_DEVICE_VERIFY_SYSFS=0 SYSTEMD_LOG_LEVEL=debug"]
    for name, path in paths.items():
        asked += [f"echo '@@@ {name}'", f"udevadm test --action=add '/sys{path}' 2>&1"]
    (rules / "ask").write_text("\n".join(asked) + "\n")
    command = ["unshare", "--mount", "--net", "sh", "-c", UDEV, "sh", str(tree.base("bookworm")), str(top / "sys"), str(rules)]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr + answer.stdout[-2000:]
    parts = re.split(r"^@@@ (.*)\n", answer.stdout, flags=re.MULTILINE)
    yield Told(dict(zip(parts[1::2], parts[2::2])), paths)


@pytest.mark.row("field-demands", 125)
@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: f"{disk.name}-{disk.link or 'none'}")
def test_each_disk_has_the_name_of_the_table_and_its_partitions_theirs(udev: Told, disk: Disk) -> None:
    assert udev.links(disk.name) == ([disk.link] if disk.link else [])
    for part in disk.partitions:
        assert udev.links(f"{disk.name}{part}") == ([f"{disk.link}-part{part}"] if disk.link else [])


def test_udev_has_nothing_to_say_against_the_rules(udev: Told) -> None:
    about = [line for line in udev.said["sda"].splitlines() if "azure" in line]
    assert [line for line in about if "Reading rules file" in line]
    assert not [line for line in about if re.search(r"(?i)invalid|unknown|ignor|fail|overlong", line)]


def test_the_vm_id_may_be_read_by_all_on_the_platform_alone(udev: Told) -> None:
    path = udev.paths["Microsoft Corporation"]
    assert f"run: '/bin/chmod 0444 /sys{path}/product_uuid'" in udev.said["Microsoft Corporation"]
    assert "chmod" not in udev.said["Somebody"]
