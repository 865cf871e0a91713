"""A bed: one guest, one fabric, the network between them, and the certain way out.

    with Bed(suite="bookworm") as bed:
        bed.guest      Guest, off
        bed.fabric     Fabric, running at 168.63.129.16 and 169.254.169.254
        bed.machine(user="ada", …)    order the machine that the guest will be -> the simulator's Machine
        bed.network    unplug() and plug()
        bed.ssh(user, key, command)   log in from the fabric's side -> Ran
        bed.session(user, key)        the same for a person, with the terminal

Whatever happens inside (a failure, Ctrl-C, a termination), everything is taken away again. What a
killed run left behind is removed by the next one: each bed's directory carries the pid of its
owner, and only beds whose owner is gone are touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Optional

from bed import cache, network, package, tree
from bed.cgroup import ControlGroup
from bed.fabric import Fabric
from bed.guest import Guest
from bed.verbs import Ran

from waagent.simulator import Machine


class Bed:
    def __init__(self, suite: str = "bookworm", layers: Optional[list[Path]] = None) -> None:
        """`layers` replaces the default tree (the suite with this working tree's .deb installed)."""
        self.suite = suite
        self._layers = layers
        self._exits = contextlib.ExitStack()
        self.token = f"{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.directory = cache.directory() / "beds" / self.token

    def __enter__(self) -> Bed:
        sweep()
        lowers = self._layers if self._layers is not None else tree.layers(self.suite, package.build())
        with contextlib.ExitStack() as exits:
            exits.enter_context(termination_is_an_exception())
            self.directory.mkdir(parents=True)
            exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.network = network.Network(self.token)
            exits.callback(self.network.close)
            self.network.open()
            upper, work, root = (self.directory / name for name in ("upper", "work", "root"))
            exits.enter_context(tree.mounted(lowers, upper, work, root))
            self.fabric = exits.enter_context(Fabric(self.network.fabric))
            self.guest = Guest(root, self.network.guest, self.token, self.directory / "console")
            exits.callback(self.guest.close)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._exits.close()

    def machine(self, **given: Any) -> Machine:
        """Order a machine of the fabric: what its owner asked for reaches the guest as its instance media.

        A container has no DVD drive, so the document lies where an image builder may put it. `given` is what
        Simulator.machine() takes: host_name, user, password, ssh_keys, custom_data, … The machine has the guest's
        VM id; one that was ordered before is gone.
        """
        given = {"host_name": "vm-bed", "addresses": [network.GUEST_ADDRESS], **given}
        simulator = self.fabric.simulator
        if "bed" in simulator.machines:
            simulator.remove_machine("bed")
        machine = simulator.machine("bed", vm_id=self.guest.vm_id, **given)
        self.guest.write("/var/lib/waagent/ovf-env.xml", machine.ovf_env(), 0o600)
        return machine

    def ssh(self, user: str, key: Path, command: str, timeout: float = 30) -> Ran:
        """Log in with the private key file `key`, as somebody elsewhere in the network would."""
        ran = subprocess.run(
            [*self._login(user, key, timeout), command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout + 10,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def session(self, user: str, key: Path) -> int:
        """Log in and stay, with the caller's terminal or what it is given instead; the status of the last command."""
        return subprocess.run(self._login(user, key, 30), check=False).returncode

    def _login(self, user: str, key: Path, timeout: float) -> list[str]:
        return self.network.in_fabric(
            "ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={self.directory}/known_hosts",
            "-o", f"ConnectTimeout={int(timeout)}", f"{user}@{network.GUEST_ADDRESS}",
        )  # fmt: skip

    def make_key(self, name: str = "login") -> tuple[Path, str]:
        """A new key pair for logging in: the private key's file, and the public key's line."""
        private = self.directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(private)], check=True)
        return private, private.with_suffix(".pub").read_text(encoding="ascii").strip()


def sweep() -> None:
    """Remove beds whose owner no longer runs: their processes, mounts, namespaces, control groups."""
    for directory in (cache.directory() / "beds").glob("*-*"):
        owner = int(directory.name.split("-")[0])
        if Path(f"/proc/{owner}").exists():
            continue
        group = ControlGroup(f"waagent-bed-{directory.name}")
        group.kill()
        subprocess.run(["umount", "--lazy", str(directory / "root")], stderr=subprocess.DEVNULL, check=False)
        network.Network(directory.name).close()
        group.remove()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def termination_is_an_exception() -> Iterator[None]:
    """SIGTERM unwinds the stack as SIGINT does, instead of leaving a guest running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt(f"signal {number}")  # pytest takes a SystemExit for a failed test

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
