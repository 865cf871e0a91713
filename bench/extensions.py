#!/usr/bin/python3
"""How long an extension takes, from publication of a goal state to `success` in a status blob. As root.

    bench/extensions.py [--rounds N] [--handler SECONDS] [--alone] [--seed N] [--requests]

Two guests, each with a fabric of its own (the bundled simulator): this agent, built from the working tree, and the
incumbent (WALinuxAgent as Debian 12 packages it); with --alone only this agent. The guests take turns, so that the
load of the machine meets both. Each round, in either, at a random moment of the poll period:

    enable    new settings for an installed handler: one command
    install   a handler that is not there: package, install and enable

A command sleeps for --handler seconds; the handler writes down how long it really took, with a shell's start and
end. Of a round there are

    seconds   from the publication to the blob that says success, taken where the fabric receives it
    waited    until the agent asked for the goal state for the first time: where in the poll period it was published
    handler   what the handler's commands took
    excess    seconds less waited and handler: the agent's own part, which the claim is about

and `over`, in the summary, is the time of the worst round less the poll period (6 s) and less what its handler
took. --requests adds what the last round of each kind asked of the fabric, with the seconds since it was first
asked. Nothing is left out: a round that fails fails the run.
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
    parser.add_argument("--requests", action="store_true", help="with what the last rounds asked of the fabric")
    args = parser.parse_args()
    if os.geteuid() != 0 or missing():
        print(f"bench/extensions.py: {'; '.join(missing()) or 'needs root'}", file=sys.stderr)
        return 1
    load = [os.getloadavg()[0]]
    with contextlib.ExitStack() as exits:
        agents = {"this": Agent(exits.enter_context(Bed()), args.handler)}
        if not args.alone:
            agents["incumbent"] = incumbent(exits, args.handler)
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
            **{name: agent.result(requests=args.requests) for name, agent in agents.items()},
        }
    if not args.alone:
        ours, theirs = report["this"], report["incumbent"]
        report["ratio"] = {
            kind: {
                key: round(ours[kind][key]["median"] / theirs[kind][key]["median"], 3)
                for key in ("seconds", "excess")
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
        self.asked: dict[str, list[str]] = {}

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
        published, received = self._publish(f"Contoso.Bench.Round{number}", {"kind": kind})
        handler = 0.0
        for line in self.bed.guest.read("/var/tmp/took").splitlines():
            _, began, ended = line.split()
            handler += float(ended) - float(began)
        requests = [one for one in self.bed.fabric.simulator.requests if one.time >= published]
        waited = next(one.time for one in requests if one.query == "comp=goalstate") - published
        seconds = received - published
        self.rounds[kind].append(
            {"seconds": seconds, "waited": waited, "handler": handler, "excess": seconds - waited - handler}
        )
        self.asked[kind] = [
            f"{one.time - published - waited:.3f} {one.method} {one.target[:100]} {one.status}"
            for one in requests
            if one.time <= received
        ]

    def _publish(self, name: str, public: dict[str, Any]) -> tuple[float, float]:
        """When it was published, and when the fabric got the blob that says success; seconds since the epoch."""
        self.bed.fabric.simulator.add_package(self.package, name, "1.0.0")
        before = self.machine.reports.extension(name)
        old = _sequence(before) if before else -1
        began = time.time()
        self.machine.publish([{"name": name, "version": "1.0.0", "public": public}])
        self.machine.wait_for(lambda machine: _done(machine, name, old) is not None, PATIENCE)
        received = _done(self.machine, name, old)
        assert received is not None
        return began, received

    def result(self, *, requests: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"agent": self.version}
        for kind, rounds in self.rounds.items():
            told[kind] = {
                key: _summary([one[key] for one in rounds]) for key in ("seconds", "waited", "handler", "excess")
            }
            told[kind]["over"] = round(max(one["seconds"] - one["handler"] for one in rounds) - PERIOD, 3)
            told[kind]["rounds"] = [{key: round(value, 3) for key, value in one.items()} for one in rounds]
            if requests:
                told[kind]["requests"] = self.asked[kind]
        return told


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "greatest": round(max(values), 3),
    }


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


def incumbent(exits: contextlib.ExitStack, handler: float) -> Agent:
    """Debian's WALinuxAgent in a guest that looks like a virtual machine to it."""
    bed = exits.enter_context(Bed(layers=[tree.base("bookworm", "waagent")]))
    exits.enter_context(Dhcp(bed.network, bed.directory))
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
