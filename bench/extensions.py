#!/usr/bin/python3
"""How long an extension takes, from publication of a goal state to `success` in a status blob. As root.

    bench/extensions.py [--rounds N] [--handler SECONDS] [--alone] [--seed N]

Two guests, each with a fabric of its own (the bundled simulator): this agent, built from the working tree, and the
incumbent (WALinuxAgent as Debian 12 packages it); with --alone only this agent. The guests take turns, so that the
load of the machine meets both. Each round, in either, at a random moment of the poll period:

    enable    new settings for an installed handler: one command
    install   a handler that is not there: package, install and enable

A command sleeps for --handler seconds; the handler writes down how long it really took, with a shell's start and
end. `over` of a round is its time less the poll period (6 s) and less what the handler itself took: the agents' own
part, and negative where the publication fell late into the period. What the claim is about is the greatest `over`.
The time is taken where the fabric receives the blob. Nothing is left out: a round that fails fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP), str(TOP / "tests")]

from bed import Bed, Dhcp, missing, tree  # noqa: E402

from waagent.simulator import Machine  # noqa: E402

PERIOD = 6.0
PATIENCE = 240.0
ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"  # a machine on Azure is known by it
RUN = """#!/bin/sh
began=$(cut -d' ' -f1 /proc/uptime)
sleep SECONDS
[ "$1" != enable ] || printf '[{"version": 1.0, "timestampUTC": "2026-01-01T00:00:00Z", "status": {"name": "bench",
    "operation": "Enable", "status": "success", "code": 0,
    "formattedMessage": {"lang": "en-US", "message": "done"}}}]' > "status/$ConfigSequenceNumber.status"
echo "$1 $began $(cut -d' ' -f1 /proc/uptime)" >> /var/tmp/took
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--handler", type=float, default=0.2, metavar="SECONDS", help="what a command takes")
    parser.add_argument("--alone", action="store_true", help="without the incumbent")
    parser.add_argument("--seed", type=int, default=1, help="of the moments within the period")
    args = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print(f"bench/extensions.py: {'; '.join(missing()) or 'needs root'}", file=sys.stderr)
        return 1
    load = [os.getloadavg()[0]]
    with contextlib.ExitStack() as exits:
        agents = {"this": Agent(exits.enter_context(Bed()), args.handler)}
        if not args.alone:
            agents["incumbent"] = _incumbent(exits, args.handler)
        for agent in agents.values():
            agent.boot()
        chance = random.Random(args.seed)
        for number in range(args.rounds):
            for kind in ("install", "enable"):
                for agent in agents.values():
                    agent.round(kind, number, chance.uniform(0, PERIOD))
        load.append(os.getloadavg()[0])
        report: dict[str, Any] = {
            "schema": 1,
            "where": {"cpus": os.cpu_count(), "load": load, "period": PERIOD, "handler": args.handler},
            **{name: agent.result() for name, agent in agents.items()},
        }
    if not args.alone:
        ours, theirs = report["this"], report["incumbent"]
        report["ratio"] = {
            kind: {
                key: round(ours[kind][key] / theirs[kind][key], 3) for key in ("median", "greatest")
            }
            for kind in ("install", "enable")
        }  # fmt: skip
    print(json.dumps(report, indent=1))
    return 0


class Agent:
    """A guest with an agent, and how long each round took in it."""

    def __init__(self, bed: Bed, handler: float) -> None:
        self.bed = bed
        self.machine: Machine = bed.machine(user="ada", password="Correct-horse-7", host_name="bench")
        self.package = _package(handler)
        self.version = ""
        self.rounds: dict[str, list[dict[str, float]]] = {"install": [], "enable": []}

    def boot(self) -> None:
        self.bed.guest.boot()
        self.machine.wait_for("ready", PATIENCE)
        self.machine.wait_for("status", PATIENCE)
        self._publish("Contoso.Bench.First", {"round": -1})  # what happens only once is not measured
        self.version = self.machine.reports.summary()["agent"]["version"]

    def round(self, kind: str, number: int, offset: float) -> None:
        """One measurement: the handler of this round, installed anew, or again with new settings."""
        time.sleep(offset)
        self.bed.guest.run("rm -f /var/tmp/took")
        seconds = self._publish(f"Contoso.Bench.Round{number}", {"kind": kind})
        took = 0.0
        for line in self.bed.guest.read("/var/tmp/took").splitlines():
            _, began, ended = line.split()
            took += float(ended) - float(began)
        self.rounds[kind].append({"seconds": seconds, "handler": took, "over": seconds - PERIOD - took})

    def _publish(self, name: str, public: dict[str, Any]) -> float:
        """Seconds from the publication until the fabric has the blob that says success."""
        self.bed.fabric.simulator.add_package(self.package, name, "1.0.0")
        before = self.machine.reports.extension(name)
        old = _sequence(before) if before else -1
        began = time.time()
        self.machine.publish([{"name": name, "version": "1.0.0", "public": public}])
        self.machine.wait_for(lambda machine: _done(machine, name, old) is not None, PATIENCE)
        received = _done(self.machine, name, old)
        assert received is not None
        return received - began

    def result(self) -> dict[str, Any]:
        told: dict[str, Any] = {"agent": self.version}
        for kind, rounds in self.rounds.items():
            seconds = [one["seconds"] for one in rounds]
            told[kind] = {
                "median": round(statistics.median(seconds), 3),
                "least": round(min(seconds), 3),
                "greatest": round(max(seconds), 3),
                "handler_median": round(statistics.median(one["handler"] for one in rounds), 3),
                "greatest_over": round(max(one["over"] for one in rounds), 3),
                "rounds": [{key: round(value, 3) for key, value in one.items()} for one in rounds],
            }
        return told


def _sequence(entry: dict[str, Any]) -> int:
    return int(entry.get("runtimeSettingsStatus", {}).get("sequenceNumber", -1))


def _done(machine: Machine, name: str, old: int) -> float | None:
    """When the fabric received the first blob with this handler's success for a newer number."""
    for received, document in list(machine.reports.statuses):
        for entry in document["aggregateStatus"].get("handlerAggregateStatus") or ():
            if entry["handlerName"] == name and _sequence(entry) > old:
                status = entry.get("runtimeSettingsStatus", {}).get("settingsStatus", {}).get("status", {})
                if entry["status"] == "Ready" and status.get("status") == "success":
                    return float(received)
    return None


def _package(handler: float) -> bytes:
    body = {f"{verb}Command": f"run.sh {verb}" for verb in ("install", "uninstall", "update", "enable", "disable")}
    body.update(rebootAfterInstall=False, reportHeartbeat=False)  # type: ignore[arg-type]
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("HandlerManifest.json", json.dumps([{"version": 1.0, "handlerManifest": body}]))
        archive.writestr("run.sh", RUN.replace("SECONDS", str(handler)))
    return output.getvalue()


def _incumbent(exits: contextlib.ExitStack, handler: float) -> Agent:
    """Debian's WALinuxAgent in a guest that looks like a virtual machine to it."""
    bed = exits.enter_context(Bed(layers=[tree.base("bookworm", "waagent")]))
    exits.enter_context(Dhcp(bed.network, bed.directory / "dhcp.log"))
    agent = Agent(bed, handler)
    guest = bed.guest
    script = f"""#!/bin/sh
    case "$*" in
    *system-uuid*) echo {guest.vm_id} ;;
    *chassis-asset-tag*) echo {ASSET_TAG} ;;
    *) echo Virtual Machine ;;
    esac
    """
    guest.write("/usr/local/sbin/dmidecode", script, 0o755)
    guest.succeed(["sed", "-i", "s/^Provisioning.Agent=.*/Provisioning.Agent=waagent/", "/etc/waagent.conf"])
    guest.write("/etc/systemd/system/walinuxagent.service.d/container.conf", "[Unit]\nConditionVirtualization=\n")
    for name in ("ifdown", "ifup"):
        guest.write(f"/usr/local/sbin/{name}", "#!/bin/sh\nexit 0\n", 0o755)
    guest.succeed("ssh-keygen -A")
    medium = bed.directory / "medium"
    medium.touch()
    guest.options.append(f"--bind={medium}:/dev/sr0")
    guest.succeed("rm /var/lib/waagent/ovf-env.xml")
    guest.write("/mnt/cdrom/secure/ovf-env.xml", agent.machine.ovf_env(), 0o600)
    return agent


if __name__ == "__main__":
    sys.exit(main())
