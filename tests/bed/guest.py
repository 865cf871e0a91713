"""The guest: a whole Debian with systemd in a container, driven by verbs.

    boot()                        start it and wait until systemd answers (under a second)
    start()                       start it and wait for nothing
    run(command)                  -> Ran(status, out, err); a string is for the shell, a list is not
    succeed, fail, wait_…         built on run: see verbs.py
    reboot() poweroff() kill()    as an administrator does it; kill is the power cut
    with restarting(): …          something in the guest makes it restart by itself
    read(path) write(path, …) exists(path) journal(unit)    also of verbs.py

A command runs in the guest when it is up, and chrooted into its tree when it is off: what a
test reads and writes, and how, does not depend on that.

The container is started directly, systemd on this machine is not needed. Times: boot 0.4 s,
each command 10 ms. A power cut is a SIGKILL to the guest's pid 1, which the kernel extends to
every process in it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional, Union

from bed.cgroup import ControlGroup
from bed.verbs import Command, Ran, Verbs, shown, until

# With --keep-unit systemd-nspawn leaves it to its starter to boot again, and ends with status 133.
AGAIN = 'while :; do "$@"; status=$?; [ $status = 133 ] || exit $status; done'

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_PAGER": "",
}


class Guest(Verbs):
    def __init__(self, root: Path, namespace: str, token: str, console: Path) -> None:
        self.root = root
        self.namespace = namespace
        self.console = console
        self.vm_id = str(uuid.uuid4())
        self.name = f"bed-{token}"
        # More words for systemd-nspawn from the next boot on, for example --bind=/dev/loop3.
        self.options: list[str] = []
        self._cgroup = ControlGroup(f"waagent-bed-{token}")
        self._nspawn: Optional[subprocess.Popen[bytes]] = None

    # -- power -------------------------------------------------------------------------------

    def boot(self, timeout: float = 30) -> None:
        self.start()
        self._wait_for_systemd(timeout)

    def start(self) -> None:
        """The power comes on, and that is all: for a test that cuts it before systemd answers."""
        assert self._nspawn is None, "boot: the guest is running already"
        # A tree that knows its machine id would keep the VM id of its first boot.
        if self.exists("/etc/machine-id") and self.read("/etc/machine-id").strip() != self.vm_id.replace("-", ""):
            self.write("/etc/machine-id", "")
        with open(self.console, "ab") as console:
            self._nspawn = subprocess.Popen(
                self._cgroup.enter(
                    *("sh", "-c", AGAIN, "sh", "systemd-nspawn"),
                    "--quiet",
                    f"--directory={self.root}",
                    f"--machine={self.name}",
                    f"--uuid={self.vm_id}",
                    f"--network-namespace-path=/run/netns/{self.namespace}",
                    "--capability=CAP_NET_ADMIN",
                    "--register=no",
                    "--keep-unit",
                    "--resolv-conf=off",
                    "--timezone=off",
                    "--link-journal=no",
                    "--console=pipe",
                    *self.options,
                    "--boot",
                ),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def reboot(self, timeout: float = 60) -> None:
        """An orderly restart; returns when the new systemd answers."""
        with self.restarting(timeout):
            self.run("systemctl reboot")

    @contextlib.contextmanager
    def restarting(self, timeout: float = 60) -> Iterator[None]:
        """What happens inside makes the guest restart, sooner or later; leaves when the new systemd answers."""
        before = self._init()
        yield
        until(lambda: self._init() not in (None, before), timeout, self._while("reboot: the new system"))
        self._wait_for_systemd(timeout)

    def poweroff(self, timeout: float = 60) -> None:
        """An orderly shutdown; returns when the guest is off."""
        self.run("systemctl poweroff")
        self._wait_for_exit("poweroff", timeout)

    def kill(self) -> None:
        """The power cut: nothing in the guest gets to do anything any more."""
        init = self._init()
        if init is not None:
            os.kill(init, signal.SIGKILL)
        else:  # it has not come that far
            self._kill_starter()
        self._wait_for_exit("kill", 10)

    def is_up(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None and self._init() is not None

    def close(self) -> None:
        """The way out of every test, whatever state the guest is in."""
        if self._nspawn is not None:
            self._kill_starter()
            self._nspawn.wait(10)
            self._nspawn = None
        self._cgroup.remove()
        with contextlib.suppress(OSError):  # nspawn leaves it behind
            Path("/run/systemd/nspawn/propagate", self.name).rmdir()

    # -- commands ----------------------------------------------------------------------------

    def run(self, command: Command, timeout: float = 60, stdin: Union[str, bytes] = "") -> Ran:
        """Run as root in the guest. Past `timeout` it is killed there and has status 124 or 137."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        init = self._init()
        if self._nspawn is not None and init is None:
            raise AssertionError(f"run {shown(command)}: the guest has gone down\n{self._console_tail()}")
        door = ["nsenter", f"--target={init}", "--all"] if init is not None else ["chroot", str(self.root)]
        ran = subprocess.run(
            [*door, "timeout", "--kill-after=5", str(timeout), *argv],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=ENVIRONMENT,
            timeout=timeout + 15,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace"))

    # -- within ------------------------------------------------------------------------------

    def _init(self) -> Optional[int]:
        """The guest's pid 1 as this machine numbers it: below the loop comes nspawn, below that the first process."""
        if self._nspawn is None:
            return None
        for nspawn in _children(self._nspawn.pid):
            for child in _children(nspawn):
                if _is_init(child):
                    return child
        return None

    def _kill_starter(self) -> None:
        """SIGKILL to what started the guest, which may not be in the control group yet, and to all that is in it."""
        assert self._nspawn is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._nspawn.pid, signal.SIGKILL)
        self._cgroup.kill()

    def _wait_for_systemd(self, timeout: float) -> None:
        def answers() -> bool:
            if self._nspawn is None or self._nspawn.poll() is not None:
                raise AssertionError(f"boot: systemd-nspawn has ended\n{self._console_tail()}")
            if self._init() is None:
                return False
            return self.run("systemctl is-system-running").out.strip() not in ("", "offline", "unknown")

        until(answers, timeout, self._while("boot: systemd"), every=0.05)

    def _wait_for_exit(self, verb: str, timeout: float) -> None:
        assert self._nspawn is not None, f"{verb}: the guest is off"
        try:
            self._nspawn.wait(timeout)
        except subprocess.TimeoutExpired:
            why = f"{verb}: the guest is still there after {timeout} s\n{self._console_tail()}"
            raise AssertionError(why) from None
        self._nspawn = None

    def _while(self, what: str) -> Callable[[], str]:
        return lambda: f"{what} does not answer\n{self._console_tail()}"

    def _console_tail(self) -> str:
        return self.console.read_text(encoding="utf-8", errors="replace")[-3000:]


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_init(pid: int) -> bool:
    """Whether the process is alive and number 1 in a namespace of its own."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    inner = fields.get("NSpid", "").split()
    return len(inner) > 1 and inner[-1] == "1" and not fields.get("State", "Z").startswith("Z")
