#!/usr/bin/python3
"""What an agent costs while nothing happens: processor time a minute, and memory. As root. Prints JSON.

    bench/idle.py [--minutes N] [--settle SECONDS] [--alone]

Two guests at once, each with a fabric of its own (the bundled simulator): this agent, built from the working tree,
and the packaged waagent (WALinuxAgent as Debian 12 packages it); with --alone only this agent. Both are set up,
have processed a goal state with one extension and then --settle seconds to come to rest. Of each there are

    cpu        seconds of processor time a minute: all processes of the guest, those that have ended included, less
               what the same guest takes with the agent stopped. What systemd spends on a timer thus counts
    guest      the same of the whole guest, and `without` the agent
    resident   the processes that stay, with their own processor time a minute, RSS and PSS in KiB
    asked      requests a minute that the fabric got
    log        lines that came to the agent's log and to the journal of its units

The hourly collection of logs is switched off in both: a container lacks the control groups that it asks for.

And `ratio`, this agent's over the packaged one's: of cpu, rss and pss.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "tests")]

from bed import Bed, missing  # noqa: E402
from extensions import PATIENCE, Agent, incumbent  # noqa: E402

UNITS = {
    "this": "waagent-periodic.timer waagent-periodic.service waagent.service",
    "packaged": "walinuxagent.service",
}
TICK = os.sysconf("SC_CLK_TCK")
# A pid, and the processor time of it and of its children that have ended: their sum over all that live is all there
# has been, because a process that ends leaves its time to who waits for it.
STAT = "cat /proc/[0-9]*/stat 2>/dev/null"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long is measured")
    parser.add_argument("--settle", type=float, default=90.0, metavar="SECONDS", help="how long before")
    parser.add_argument("--alone", action="store_true", help="without the packaged waagent")
    args = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print(f"bench/idle.py: {'; '.join(missing()) or 'needs root'}", file=sys.stderr)
        return 1
    load = [os.getloadavg()[0]]
    with contextlib.ExitStack() as exits:
        guests = {"this": Guest("this", Agent(exits.enter_context(Bed()), 0.2))}
        if not args.alone:
            guests["packaged"] = Guest("packaged", incumbent(exits, 0.2))
        for guest in guests.values():
            guest.bed.guest.succeed("echo Logs.Collect=n >>/etc/waagent.conf")
            guest.agent.boot()
        _together(guests, args.settle, args.minutes * 60, "measured")
        load.append(os.getloadavg()[0])
        for guest in guests.values():
            guest.stop()
        _together(guests, 20.0, max(60.0, args.minutes * 24), "without")
        report: dict[str, Any] = {
            "schema": 1,
            "where": {"cpus": os.cpu_count(), "load": load, "minutes": args.minutes},
            **{name: guest.result() for name, guest in guests.items()},
        }
    if not args.alone:
        ours, theirs = report["this"], report["packaged"]
        report["ratio"] = {key: round(ours[key] / theirs[key], 3) for key in ("cpu", "rss", "pss")}
    print(json.dumps(report, indent=1))
    return 0


def _together(guests: dict[str, Guest], settle: float, seconds: float, name: str) -> None:
    time.sleep(settle)
    for guest in guests.values():
        guest.begin()
    time.sleep(seconds)
    for guest in guests.values():
        guest.end(name)


class Guest:
    """A guest with an agent, and what it has cost."""

    def __init__(self, name: str, agent: Agent) -> None:
        self.name, self.agent, self.bed = name, agent, agent.bed
        self.told: dict[str, Any] = {}

    def begin(self) -> None:
        self._before, self._began = self._look(), time.monotonic()
        self._asked = len(self.bed.fabric.simulator.requests)
        self._lines = self._log()

    def end(self, name: str) -> None:
        minutes = (time.monotonic() - self._began) / 60
        now = self._look()
        took = sum(time for time, _ in now.values()) - sum(time for time, _ in self._before.values())
        told: dict[str, Any] = {"cpu": took / TICK / minutes}
        if name == "measured":
            told["resident"] = [
                {"cpu": round((now[pid][1] - self._before[pid][1]) / TICK / minutes, 4), **self._memory(pid)}
                for pid in self._residents()
                if pid in now and pid in self._before
            ]
            told["asked"] = round((len(self.bed.fabric.simulator.requests) - self._asked) / minutes, 1)
            told["log"] = [after - before for before, after in zip(self._lines, self._log())]
        self.told[name] = told

    def stop(self) -> None:
        self.bed.guest.succeed(f"systemctl stop {UNITS[self.name]}", timeout=PATIENCE)

    def result(self) -> dict[str, Any]:
        measured, without = self.told["measured"], self.told["without"]
        return {
            "agent": self.agent.version,
            "cpu": round(measured["cpu"] - without["cpu"], 4),
            "guest": round(measured["cpu"], 4),
            "without": round(without["cpu"], 4),
            "rss": sum(one["rss"] for one in measured["resident"]),
            "pss": sum(one["pss"] for one in measured["resident"]),
            **{key: measured[key] for key in ("resident", "asked", "log")},
        }

    def _look(self) -> dict[int, tuple[int, int]]:
        """Of each process: its processor time with that of its children that have ended, and its own, in ticks."""
        found = {}
        for line in self.bed.guest.run(STAT).out.splitlines():
            pid, _, rest = line.partition(" ")
            fields = rest.rpartition(")")[2].split()
            if fields[1] != "0" or pid == "1":  # a process from outside, as this very cat, has no parent in there
                times = [int(word) for word in fields[11:15]]
                found[int(pid)] = (sum(times), times[0] + times[1])
        return found

    def _residents(self) -> list[int]:
        unit = UNITS[self.name].split()[-1]
        group = self.bed.guest.succeed(["systemctl", "show", unit, "--property=ControlGroup", "--value"]).strip()
        words = self.bed.guest.run(f"grep -lE ':{group}$' /proc/[0-9]*/cgroup").out.split()
        return sorted(int(word.split("/")[2]) for word in words)

    def _memory(self, pid: int) -> dict[str, int]:
        text = self.bed.guest.succeed(["cat", f"/proc/{pid}/smaps_rollup"])
        found = {line.split(":")[0].lower(): int(line.split()[1]) for line in text.splitlines()[1:]}
        return {"rss": found["rss"], "pss": found["pss"]}

    def _log(self) -> list[int]:
        units = " ".join(f"-u {unit}" for unit in UNITS[self.name].split())
        log = self.bed.guest.run("cat /var/log/waagent.log").out.count("\n")
        return [log, self.bed.guest.run(f"journalctl -q -o cat {units}").out.count("\n")]


if __name__ == "__main__":
    sys.exit(main())
