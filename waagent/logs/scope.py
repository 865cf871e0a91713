"""The limits under which logs are collected from time to time: a systemd scope in a slice of its own.

    possible(system, limiting) -> "" or why there can be no such limits
    command(program) -> argument list that starts the program below them; its statuses are those of `collect-logs`
    Confinement(system).check()      in the collector: that it is where it should be
    Confinement(system).watch()      every now and then: that it uses no more than it may

5 % of one CPU; with cgroup v2 also MemoryHigh=170M. The collector looks after its own memory, because the kernel
would kill something else: 25 MiB of its own, 155 MiB of cache, 10 times throttled.

Raises NotConfined with the exit status that says why: 2 no cgroups to be measured by, 3 more than its share,
4 in another slice than its own.

Source: guest-operations 4.5, 7.1, 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.errors import MachineError

if TYPE_CHECKING:
    from waagent.system import System

SLICE = "azure-walinuxagent-logcollector.slice"
SYSTEMD, UNIFIED = "/run/systemd/system", "/sys/fs/cgroup/cgroup.controllers"
NO_CGROUPS, TOO_MUCH, MISPLACED = 2, 3, 4

OWN_MEMORY = 26_214_400
CACHE = 162_529_280
THROTTLED = 10
EVERY = 2.0  # seconds between two looks
CHECKS, PAUSE = 3, 5.0  # systemd may be late in moving the process


class NotConfined(MachineError):
    """The collector does not run below its limits. Facts: status."""

    reason = "log collection not confined"


def possible(system: System, *, limiting: bool) -> str:
    """limiting: the option that permits limits with cgroup v2."""
    if not system.is_directory(SYSTEMD):
        return "there is no systemd to limit what a collection uses"
    if system.exists(UNIFIED) and not limiting:
        return "Debug.EnableCgroupV2ResourceLimiting=n"
    if not system.exists(UNIFIED) and not system.is_directory("/sys/fs/cgroup/memory"):
        return "there are no control groups to limit what a collection uses"
    return ""


def command(system: System, program: str) -> tuple[str, ...]:
    high = ("--property=MemoryHigh=170M",) if system.exists(UNIFIED) else ()
    return (
        "systemd-run", "--quiet", "--scope", "--unit=collect-logs", f"--slice={SLICE}",
        "--property=CPUAccounting=yes", "--property=MemoryAccounting=yes", "--property=CPUQuota=5%", *high,
        program, "collect-logs", "--confined",
    )  # fmt: skip


class Confinement:
    def __init__(self, system: System) -> None:
        self.system = system
        self._last = 0.0
        self._folder = ""
        self._unified = system.exists(UNIFIED)

    def check(self) -> None:
        for left in range(CHECKS - 1, -1, -1):
            cpu, memory = self._groups()
            if not cpu or not memory:
                raise _not(NO_CGROUPS, "the controllers cpu and memory are not there")
            if SLICE in cpu and SLICE in memory:
                break
            if not left:
                raise _not(MISPLACED, f"it runs in {memory}, not in {SLICE}")
            self.system.clock.sleep(PAUSE)
        self._folder = f"/sys/fs/cgroup{'' if self._unified else '/memory'}{memory}"
        if not self.system.exists(f"{self._folder}/memory.stat"):
            raise _not(NO_CGROUPS, f"{self._folder}/memory.stat is not there")

    def watch(self) -> None:
        now = self.system.clock.monotonic()
        if not self._folder or now - self._last < EVERY:
            return
        self._last = now
        used = self._numbers("memory.stat")
        if self._unified:
            own = used.get("anon", 0) + self._number("memory.swap.current")
            cache, throttled = used.get("file", 0), self._numbers("memory.events").get("high", 0)
        else:
            own = used.get("total_rss", 0) + used.get("total_swap", 0)
            cache, throttled = used.get("total_cache", 0), self._number("memory.failcnt")
        for what, value, limit in (
            ("bytes of its own memory", own, OWN_MEMORY),
            ("bytes of cache", cache, CACHE),
            ("times throttled", throttled, THROTTLED),
        ):
            if value > limit:
                raise _not(TOO_MUCH, f"{value} {what}, {limit} are allowed")

    def _groups(self) -> tuple[str, str]:
        """The paths of this process in the hierarchies of cpu and memory."""
        cpu = memory = ""
        for line in self._text("/proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            names = controllers.split(",")
            if self._unified and controllers == "":
                there = self._text(f"/sys/fs/cgroup{path}/cgroup.controllers").split()
                cpu, memory = (path if name in there else "" for name in ("cpu", "memory"))
            elif not self._unified:
                cpu = path if "cpu" in names else cpu
                memory = path if "memory" in names else memory
        return cpu, memory

    def _numbers(self, name: str) -> dict[str, int]:
        pairs = (line.split() for line in self._text(f"{self._folder}/{name}").splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}

    def _number(self, name: str) -> int:
        text = self._text(f"{self._folder}/{name}").strip()
        return int(text) if text.isdigit() else 0

    def _text(self, path: str) -> str:
        try:
            return self.system.read_text(path)
        except OSError:
            return ""


def _not(status: int, why: str) -> NotConfined:
    return NotConfined(f"cannot collect logs below their limits: {why}", status=status)
