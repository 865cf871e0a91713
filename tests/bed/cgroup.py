"""A control group for one guest, so that two guests do not share the tree below ours.

systemd-nspawn started with --keep-unit puts the guest below the control group that it finds itself
in. Where systemd runs this machine it is asked for a scope; elsewhere the group is a directory
in each hierarchy.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

HIERARCHIES = Path("/sys/fs/cgroup")


class ControlGroup:
    def __init__(self, name: str) -> None:
        self.name = name

    def enter(self, *command: str) -> list[str]:
        """The command line that runs `command` in this group, as the same process."""
        if Path("/run/systemd/system").is_dir():
            scope = ["systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
            return [*scope, f"--unit={self.name}", *command]
        groups = []
        for hierarchy in _hierarchies():
            group = hierarchy / self.name
            group.mkdir(exist_ok=True)
            groups.append(str(group))
        script = """n=$1; shift
            while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; n=$((n - 1)); done
            exec "$@" """
        return ["sh", "-c", script, "sh", str(len(groups)), *groups, *command]

    def kill(self) -> None:
        """SIGKILL to whatever is left in the group, without asking who started it."""
        for group in self._directories():
            with contextlib.suppress(FileNotFoundError):  # the guest's systemd removes what is empty
                for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def remove(self) -> None:
        """Take the directories away again, once the kernel has buried the last process in them."""
        for group in sorted(self._directories(), reverse=True):
            _rmdir(group)

    def _directories(self) -> list[Path]:
        """The group in each hierarchy, wherever systemd put it, and all groups below it."""
        # os.walk passes over what vanishes while it looks: the guest's systemd still removes groups.
        found = ((above, name) for hierarchy in _hierarchies() for above, names, _ in os.walk(hierarchy) for name in names)
        tops = [Path(above, name) for above, name in found if name.startswith(self.name)]
        return [Path(path) for top in tops for path, _, _ in os.walk(top)]


def _hierarchies() -> list[Path]:
    """Those that nspawn uses: the unified one, or systemd's own and the unified one beside it."""
    if (HIERARCHIES / "cgroup.procs").exists():
        return [HIERARCHIES]
    return [path for path in (HIERARCHIES / "systemd", HIERARCHIES / "unified") if (path / "cgroup.procs").exists()]


def _rmdir(directory: Path) -> None:
    deadline = time.monotonic() + 2
    while True:
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
