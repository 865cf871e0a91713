"""A virtual machine: a whole Debian with a kernel of its own, disks, a DVD drive and a network card, in QEMU.

    boot() reboot() poweroff()    as an owner does it
    kill()                        the power cut: SIGKILL to QEMU
    run(command) …                the verbs of verbs.py, through a door that opens long before anybody can log in
    write(path, content), read(path), exists(path)    also while it is off, in the disk image
    dvd                           what lies in the drive at the next boot, or None
    insert(path) tray()           a disc put in while it runs; "open", "empty", or "closed"
    resource_disk                 the disk at unit 1 of the SCSI controller at the next boot, or None
    attach(path, slow=0) detach() that disk while it runs; slow: bytes a second, to have time for a power cut
    attach_data(path, unit)       a disk of the owner, on a controller of its own
    slow(bytes a second)          the same for the disk that is there; 0 is full speed
    serial()                      all that came out of the serial port, over all boots

Emulated in software: about 20 s to a login, 0.1 s for a command. The operating system's disk is a copy of
the image, in the bed's directory; it lives through power cuts. Devices: virtio for the disk and the network card,
virtio-scsi with the resource disk at unit 1 and the DVD at unit 2, as on the platform's second generation; data disks
on a second controller.
"""

from __future__ import annotations

import signal
import subprocess
import uuid
import zlib
from pathlib import Path
from typing import Optional, Union

from bed.cgroup import ControlGroup
from bed.qmp import Monitor
from bed.verbs import Command, Ran, Verbs, shown, until
from bed.vm_door import Door, DoorClosed
from bed.vm_image import Kernel
from bed.vm_network import CARD

ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
MEMORY = "1024"
# What guards a shared machine, and the kernel's tests of its ciphers, is nothing that an emulated boot should wait for.
QUICK = "mitigations=off cryptomgr.notests audit=0 apparmor=0 nokaslr random.trust_cpu=on"
PARAMETERS = f"root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet {QUICK}"
# No virtualization, no ciphers, no fifth level of page tables: each costs a module or a walk, and no test needs it.
PROCESSOR = "max,svm=off,la57=off,aes=off,pclmulqdq=off,sha-ni=off"
BOOT_LIMIT = 300.0  # of what takes 20 s, where other tests leave it a processor


class VirtualMachine(Verbs):
    def __init__(self, disk: Path, kernel: Kernel, in_network: list[str], tap: str, token: str, home: Path) -> None:
        """`disk` is written to; `in_network` begins a command line that runs where the tap device is."""
        self.disk, self.kernel, self.home = disk, kernel, home
        self.vm_id = str(uuid.uuid4())
        self.dvd: Optional[Path] = None
        self.resource_disk: Optional[Path] = None
        self.options: list[str] = []
        self._in_network, self._tap = in_network, tap
        self._cgroup = ControlGroup(f"waagent-bed-{token}")
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._door: Optional[Door] = None
        self._monitor: Optional[Monitor] = None
        self._attached = 0  # names of devices are used once

    # -- power -------------------------------------------------------------------------------

    def boot(self, timeout: float = BOOT_LIMIT) -> None:
        """Power on; returns when commands can be run, which is early: see wait_until_booted."""
        assert self._process is None, "boot: the machine is running already"
        for name in ("door", "qmp"):
            (self.home / name).unlink(missing_ok=True)
        with open(self.home / "qemu.log", "ab") as log:
            self._process = subprocess.Popen(
                self._cgroup.enter("nice", "-n", "2", *self._in_network, *self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until((self.home / "qmp").exists, 30, lambda: f"boot: QEMU does not start\n{self._told()}")
        self._check()
        self._monitor = Monitor(self.home / "qmp")
        self._door = Door(self.home / "door")
        if self.resource_disk is not None:
            self.attach(self.resource_disk)
        self._monitor.ask("cont")
        self._door.wait_for_boot(timeout, self._check)

    def reboot(self, timeout: float = BOOT_LIMIT) -> None:
        """An orderly restart; returns when the new system takes commands.

        The machine goes off and on in between: after a reset the firmware looks for the disc in an open drive for
        three quarters of a minute. What lies in the drive is what `dvd` says, and the drive is closed.
        """
        self._opened("reboot").send(["systemctl", "reboot"], 60)
        self._wait_for_exit("reboot", 120)
        self.boot(timeout)

    def poweroff(self, timeout: float = 120) -> None:
        self._opened("poweroff").send(["systemctl", "poweroff"], 60)
        self._wait_for_exit("poweroff", timeout)

    def kill(self) -> None:
        assert self._process is not None, "kill: the machine is off"
        self._process.send_signal(signal.SIGKILL)
        self._wait_for_exit("kill", 20)

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        if self._process is not None:
            self._cgroup.kill()
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait(10)
        self._forget()
        self._cgroup.remove()

    # -- commands ----------------------------------------------------------------------------

    def run(self, command: Command, timeout: float = 60, stdin: Union[str, bytes] = "") -> Ran:
        """Run as root. Past `timeout` it is killed there and has status 124 or 137."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        given = stdin.encode() if isinstance(stdin, str) else stdin
        try:
            return self._opened(f"run {shown(command)}").run(argv, timeout, given, self._check)
        except DoorClosed as error:
            raise AssertionError(f"run {shown(command)}: {error}\n{self._told()}") from error

    def write(self, path: str, content: Union[str, bytes], mode: int = 0o644) -> None:
        if self._process is not None:
            return super().write(path, content, mode)
        given = self.home / "given"
        given.write_bytes(content.encode() if isinstance(content, str) else content)
        parents = [str(parent) for parent in reversed(Path(path).parents) if str(parent) != "/"]
        made = [f"mkdir {parent}" for parent in parents if not self.exists(parent)]
        fields = [f"set_inode_field {path} {name}" for name in (f"mode 0100{mode:o}", "uid 0", "gid 0")]
        self._debugfs(*made, f"rm {path}", f"write {given} {path}", *fields)
        given.unlink()
        return None

    def read(self, path: str) -> str:
        return super().read(path) if self._process is not None else self._debugfs(f"cat {path}")

    def exists(self, path: str) -> bool:
        if self._process is not None:
            return super().exists(path)
        return "Inode:" in self._debugfs(f"stat {path}")

    def serial(self) -> str:
        path = self.home / "serial"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # -- hardware ----------------------------------------------------------------------------

    def insert(self, path: Path) -> None:
        """Put a disc into the drive and close it; whoever has locked the tray is not asked."""
        self._asked("blockdev-open-tray", id="dvd", force=True)
        self._asked("blockdev-change-medium", id="dvd", filename=str(path), format="raw", read_only_mode="read-only")

    def tray(self) -> str:
        for drive in self._asked("query-block"):
            if drive["qdev"] == "dvd":
                return "open" if drive.get("tray_open") else "closed" if "inserted" in drive else "empty"
        raise AssertionError("there is no DVD drive")

    def attach(self, path: Path, slow: int = 0) -> None:
        """The resource disk; its node is there a moment later: wait for /dev/disk/azure/resource."""
        self._attached += 1
        self._plug(path, str(self._attached), "scsi.0", 1, slow)
        self.resource_disk = path

    def attach_data(self, path: Path, unit: int) -> None:
        """A data disk of the owner at this unit; until the power goes off."""
        self._plug(path, f"data{unit}", "data.0", unit, 0)

    def _plug(self, path: Path, name: str, bus: str, unit: int, slow: int) -> None:
        node, group, file, raw = f"disk{name}", f"speed{name}", f"file{name}", f"raw{name}"
        self._asked("object-add", **{"qom-type": "throttle-group"}, id=group, limits=_limits(slow))
        self._asked("blockdev-add", driver="file", filename=str(path), **{"node-name": file})
        self._asked("blockdev-add", driver="raw", file=file, **{"node-name": raw})
        self._asked("blockdev-add", driver="throttle", file=raw, **{"node-name": node, "throttle-group": group})
        self._asked("device_add", driver="scsi-hd", id=node, drive=node, bus=bus, lun=unit,
                    wwn=_number(path), vendor="Msft", product="Virtual Disk")  # fmt: skip

    def slow(self, speed: int) -> None:
        self._asked("qom-set", path=f"/objects/speed{self._attached}", property="limits", value=_limits(speed))

    def detach(self) -> None:
        assert self._monitor is not None, "detach: the machine is off"
        self._asked("device_del", id=f"disk{self._attached}")
        self._monitor.await_event("DEVICE_DELETED", 30)
        self.resource_disk = None

    # -- within ------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        drive = f",file={self.dvd}" if self.dvd is not None else ""
        return [
            "qemu-system-x86_64", "-S", "-no-reboot", "-nodefaults", "-display", "none", "-accel", "tcg,thread=multi,tb-size=1024",
            "-cpu", PROCESSOR, "-machine", "q35", "-m", MEMORY, "-smp", "2", "-uuid", self.vm_id,
            "-smbios", "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine",
            "-smbios", f"type=3,manufacturer=Microsoft Corporation,asset={ASSET_TAG}",
            "-kernel", str(self.kernel.vmlinuz), "-initrd", str(self.kernel.initrd), "-append", PARAMETERS,
            "-chardev", f"file,id=serial,path={self.home}/serial,append=on", "-serial", "chardev:serial",
            "-qmp", f"unix:{self.home}/qmp,server=on,wait=off",
            "-drive", f"file={self.disk},if=none,id=os,format=raw,cache=unsafe,discard=unmap",
            "-device", "virtio-blk-pci,drive=os",
            "-device", "virtio-scsi-pci,id=scsi", "-device", "virtio-scsi-pci,id=data",
            "-drive", f"if=none,id=disc,media=cdrom,format=raw,readonly=on{drive}" if drive else
            "if=none,id=disc,media=cdrom",
            "-device", "scsi-cd,id=dvd,drive=disc,bus=scsi.0,lun=2",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=door,path={self.home}/door,server=on,wait=off",
            "-device", "virtserialport,chardev=door,name=bed",
            "-device", "virtio-rng-pci",
            "-netdev", f"tap,id=net,ifname={self._tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net,mac={CARD}",
            *self.options,
        ]  # fmt: skip

    def _opened(self, verb: str) -> Door:
        assert self._door is not None, f"{verb}: the machine is off"
        return self._door

    def _asked(self, command: str, /, **arguments: object) -> list[dict[str, object]]:
        assert self._monitor is not None, f"{command}: the machine is off"
        answer: list[dict[str, object]] = self._monitor.ask(command, **arguments)
        return answer

    def _debugfs(self, *requests: str) -> str:
        """Read or change the file system of the machine that is off."""
        subprocess.run(["e2fsck", "-p", str(self.disk)], capture_output=True, check=False)  # after a power cut
        command = ["debugfs", "-w", "-f", "-", str(self.disk)]
        ran = subprocess.run(command, input="\n".join(requests), capture_output=True, encoding="utf-8", check=False)
        return "".join(f"{line}\n" for line in ran.stdout.splitlines() if not line.startswith("debugfs: "))

    def _check(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"the virtual machine has gone down\n{self._told()}")

    def _wait_for_exit(self, verb: str, timeout: float) -> None:
        assert self._process is not None, f"{verb}: the machine is off"
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{verb}: QEMU is still there after {timeout} s\n{self._told()}") from None
        self._forget()

    def _forget(self) -> None:
        for end in (self._door, self._monitor):
            if end is not None:
                end.close()
        self._process, self._door, self._monitor = None, None, None

    def _told(self) -> str:
        log = (self.home / "qemu.log").read_text(encoding="utf-8", errors="replace")
        return f"{log[-1000:]}{self.serial()[-3000:]}"


def _number(path: Path) -> int:
    """The world wide name of a disk is its own wherever it is plugged in: it follows the disk's file."""
    return 0x5000C500_00000000 | zlib.crc32(path.name.encode())


def _limits(speed: int) -> dict[str, int]:
    return {"bps-write": speed}
