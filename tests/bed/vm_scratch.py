"""The temporary disk of a virtual machine, exchanged while it runs; what the agent's two steps then say.

    exchange(vm, path)     another disk at the place of the one that is there
    prepare(vm)            the steps run as at a boot -> what they said in the log (it is silent about what is skipped)
    set_options(vm, text)  the only options besides those of the package
"""

from __future__ import annotations

from pathlib import Path

from bed.vm import VirtualMachine

POINT = "/mnt/resource"
SWAP = f"{POINT}/swapfile"
LOG = "/var/log/waagent.log"
DROP_IN = "/etc/waagent.conf.d/50-test.conf"
KEYS = "Provisioning.SshHostKeyPairType=ed25519\n"  # an RSA key takes a minute of the emulated processor at worst
LIMIT = 300


def set_options(vm: VirtualMachine, *lines: str) -> None:
    vm.write(DROP_IN, KEYS + "".join(f"{line}\n" for line in lines))


def swap_of(size: int) -> tuple[str, str]:
    """Options for so many MiB of swap space."""
    return ("ResourceDisk.EnableSwap=y", f"ResourceDisk.SwapSizeMB={size}")


def exchange(vm: VirtualMachine, path: Path, slow: int = 0) -> None:
    vm.run(f"swapoff {SWAP}; umount {POINT}")
    if vm.resource_disk is not None:
        vm.detach()
        vm.wait_until_succeeds("test ! -e /dev/disk/azure/resource")
    vm.attach(path, slow)
    vm.wait_until_succeeds("test -b /dev/disk/azure/resource && udevadm settle")


def prepare(vm: VirtualMachine) -> str:
    before = len(vm.read(LOG))
    vm.run("waagent stage config --only resource-disk --only swap --force", timeout=LIMIT)
    return "".join(line for line in vm.read(LOG)[before:].splitlines(keepends=True) if " config/" in line)
