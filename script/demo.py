"""One guest, a container or (--vm) a virtual machine, from power on to its first extension, told as it happens.

Four parts, in order: prepare a bed and order a machine; boot it and print each step as the guest records it in
/run/waagent/status.json; publish an extension and log in; say what came of it. With --stay its caller is logged in
then. Exit status 1 when something that was asked for is not there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bed import Bed, discs, missing  # noqa: E402
from bed.needs import missing_for_machines  # noqa: E402
from bed.vm_bed import VmBed  # noqa: E402

from waagent.simulator import Machine, NotReported  # noqa: E402

HOST_NAME = "demo-vm"
USER = "demo"
HANDLER = "Demo.Hello"
STAGES = ("local", "network", "config", "final")
BOOT_LIMIT = 180.0
EXTENSION_LIMIT = 90.0
SLOWER = 4.0  # a processor that is emulated in software, at worst
DISK = 512 * 1024 * 1024


def main(words: list[str]) -> int:
    virtual = "--vm" in words
    lacking = missing_for_machines() if virtual else missing()
    if lacking:
        print(f"script/demo: {'; '.join(lacking)}", file=sys.stderr)
        return 1
    kind = "virtual machine" if virtual else "guest"
    print(f"Preparing a Debian 12 {kind} with the agent's .deb, and the simulated fabric.", flush=True)
    with VmBed() if virtual else Bed() as bed:
        if isinstance(bed, VmBed):
            bed.vm.resource_disk = discs.platform(bed.disk("temporary"), DISK)
        private, public = bed.make_key()
        machine = bed.machine(host_name=HOST_NAME, user=USER, ssh_keys=[public])
        print(f"\nThe owner orders a machine: host name {HOST_NAME}, user {USER}, one SSH key.", flush=True)
        print("Power on.\n", flush=True)
        start = time.monotonic()
        bed.guest.boot()
        patience = SLOWER if virtual else 1.0
        status = follow_boot(bed, start, BOOT_LIMIT * patience)
        ready = time.monotonic() - start if wait(machine, "ready", 10) else None

        print(f"\nThe owner asks for the extension {HANDLER}.", flush=True)
        bed.fabric.simulator.add_package(ROOT / "tests" / "data" / "handlers" / HANDLER, HANDLER, "1.0.0")
        settings = {"public": {"name": "world"}, "protected": {"password": "not for every eye"}}
        machine.publish([{"name": HANDLER, "version": "1.0.0", **settings}])
        wait(machine, f"extension={HANDLER}", EXTENSION_LIMIT * patience)

        print(f"Somebody logs in as {USER} with the key that was published.\n", flush=True)
        login = bed.ssh(USER, private, "echo $(id -un) on $(hostname), $(sudo -n id -un) by sudo")
        found = account(bed, machine, status, ready, login.out.strip() or login.err.strip())
        if not all(found.values()):
            print("\nlast lines of the guest's /var/log/waagent.log:")
            print(bed.guest.run("tail -n 40 /var/log/waagent.log").out)
            print(f"script/demo: not as asked: {', '.join(name for name, good in found.items() if not good)}")
            return 1
        print("\nscript/demo: the guest came up as asked", flush=True)
        if "--stay" in words:
            print(f"You are {USER} in it (try: sudo waagent status). Leaving it ends it.\n", flush=True)
            bed.session(USER, private)
        return 0


def follow_boot(bed: Bed, start: float, limit: float) -> dict[str, Any]:
    """Print stages and steps as they end; the last status when the boot is over, or at the limit."""
    told: set[tuple[str, str]] = set()
    status: dict[str, Any] = {"state": "not started", "stages": {}}
    while time.monotonic() - start < limit:
        ran = bed.guest.run(["cat", "/run/waagent/status.json"])
        if ran.status == 0:
            status = json.loads(ran.out)
            for name in STAGES:
                tell_stage(name, status["stages"].get(name), told)
            if all(status["stages"].get(name, {}).get("state", "running") != "running" for name in STAGES):
                break
        time.sleep(0.1)
    return status


def tell_stage(name: str, stage: dict[str, Any] | None, told: set[tuple[str, str]]) -> None:
    if stage is None:
        return
    if (name, "") not in told:
        told.add((name, ""))
        print(f"  {name}", flush=True)
    for step in stage["steps"]:
        if step["outcome"] != "running" and (name, step["name"]) not in told:
            told.add((name, step["name"]))
            took = f"{step['seconds'] * 1000:.0f} ms"
            message = textwrap.shorten(step["message"], 72, placeholder=" …")
            print(f"    {step['name']:24} {step['outcome']:10} {took:>8}  {message}", flush=True)


def wait(machine: Machine, what: str, limit: float) -> bool:
    try:
        machine.wait_for(what, timeout=limit)
    except NotReported as missed:
        print(f"  {missed}")
        return False
    return True


def account(
    bed: Bed, machine: Machine, status: dict[str, Any], ready: float | None, login: str
) -> dict[str, bool]:
    """Print what came of it; {what was asked for: is it there}."""
    found: dict[str, bool] = {}
    print("The stages")
    for name in STAGES:
        stage = status["stages"].get(name, {"state": "not reached", "steps": []})
        kinds = [step["outcome"] for step in stage["steps"]]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        print(f"  {name:12} {stage['state']:10} {stage.get('seconds', 0):6.2f} s   {counts}")
        found[f"stage {name}"] = stage["state"] == "done"

    print("The guest")
    host_name = bed.guest.run("hostname").out.strip()
    user = bed.guest.run(["getent", "passwd", USER]).out.strip()
    print(f"  host name    {host_name}")
    print(f"  user         {user or f'no user {USER}'}")
    print(f"  SSH login    {login}")
    found["host name"] = host_name == HOST_NAME
    found["user"] = user.startswith(f"{USER}:")
    if isinstance(bed, VmBed):
        disk = bed.vm.run("findmnt --noheadings --output SOURCE,FSTYPE,TARGET /dev/disk/azure/resource-part1").out
        print(f"  disk         {' '.join(disk.split()) or 'the resource disk is not mounted'}")
        print(f"  DVD drive    {bed.vm.tray()}")
        found["resource disk"] = "ext4" in disk
        found["DVD drive"] = bed.vm.tray() == "open"
    found["SSH login"] = login == f"{USER} on {HOST_NAME}, root by sudo"

    print("The fabric")
    summary = machine.reports.summary()
    state = summary["provisioning"]["state"]
    after = "" if ready is None else f", {ready:.1f} s after power on"
    print(f"  provisioning {state}{after}")
    found["report Ready"] = state == "Ready"
    agent = summary["agent"] or {}
    uploads = f"{summary['status_uploads']} reports"
    print(f"  agent        version {agent.get('version')}, {agent.get('status')}; {uploads}")
    found["agent status"] = agent.get("status") == "Ready"
    entry = next((one for one in summary["extensions"] if one["name"] == HANDLER), None)
    if entry is None:
        print(f"  extension    {HANDLER} was not reported")
    else:
        outcome = f"{entry['handler_status']}, {entry['status']}: {entry['status_message']}"
        print(f"  extension    {HANDLER} {entry['version']} {outcome}")
    found["extension"] = entry is not None and (entry["handler_status"], entry["status"]) == ("Ready", "success")
    bed.guest.run("waagent stage periodic --only telemetry --force")  # else within the minute
    stages = machine.reports.stages()
    for stage in stages:
        print(f"  event        {stage['message']}, {stage['milliseconds']} ms")
    found["events of the stages"] = [stage["message"].split(":")[0] for stage in stages] == [
        f"stage {name}" for name in STAGES
    ]
    complaints = sorted({f"{one.rule}: {one.message}" for one in bed.fabric.simulator.violations})
    requests = len(bed.fabric.simulator.requests)
    verdict = "with complaints:" if complaints else "none of them against the protocol"
    print(f"  requests     {requests}, {verdict}")
    for complaint in complaints:
        print(f"               {complaint}")
    return found


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        sys.exit(f"script/demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
