"""The power goes while a handler is being enabled: after the boot it is enabled again, and nothing is installed twice."""

from __future__ import annotations

import io
import json
import time
import zipfile

import pytest
from bed import Bed

from waagent.simulator import Machine

SHELL = """#!/bin/sh
echo "$0 $1" >> /var/tmp/ran
[ "$1" != enable ] || { sleep 4; printf '%s' '[{"status": {"operation": "Enable", "status": "success", "code": 0,
    "formattedMessage": {"lang": "en-US", "message": "done"}}}]' > "status/$ConfigSequenceNumber.status"; }
"""
PYTHON = """#!/usr/bin/python3
import json, os, sys, time
with open("/var/tmp/ran", "a") as record:
    record.write(f"{sys.argv[0]} {sys.argv[1]}\\n")
if sys.argv[1] == "enable":
    time.sleep(4)
    said = {"operation": "Enable", "status": "success", "code": 0, "formattedMessage": {"lang": "en-US", "message": "done"}}
    with open(f"status/{os.environ['ConfigSequenceNumber']}.status", "w") as file:
        json.dump([{"status": said}], file)
"""
NAMES = {"Contoso.Test.Shell": SHELL, "Contoso.Test.Python": PYTHON}


def package(program: str) -> bytes:
    body = {f"{verb}Command": f"run {verb}" for verb in ("install", "uninstall", "update", "enable", "disable")}
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("HandlerManifest.json", json.dumps([{"handlerManifest": body}]))
        archive.writestr("run", program)
    return output.getvalue()


def ran(bed: Bed, name: str) -> list[str]:
    lines = bed.guest.read("/var/tmp/ran").splitlines() if bed.guest.exists("/var/tmp/ran") else []
    return [line.split()[-1] for line in lines if name in line]


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Machine:
    made = bed.machine(user="ada", ssh_keys=[bed.make_key()[1]])
    for name, program in NAMES.items():
        bed.fabric.simulator.add_package(package(program), name, "1.0.0")
    bed.guest.boot()
    made.wait_for("ready", timeout=60)
    return made


@pytest.mark.parametrize("moment", [0.5, 2.0])
@pytest.mark.parametrize("name", list(NAMES))
def test_a_power_cut_while_a_handler_is_enabled(bed: Bed, machine: Machine, name: str, moment: float) -> None:
    before = len(ran(bed, name))
    machine.publish([{"name": one, "version": "1.0.0", "public": {"moment": moment, "name": name}} for one in NAMES])
    until = time.monotonic() + 60
    while "enable" not in ran(bed, name)[before:]:
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(moment)
    sequence = machine.reports.extension(name)
    bed.guest.kill()
    bed.guest.boot()

    def over(machine: Machine) -> bool:
        for one in NAMES:
            entry = machine.reports.extension(one) or {}
            inner = entry.get("runtimeSettingsStatus", {})
            status = inner.get("settingsStatus", {}).get("status", {}).get("status")
            if status != "success" or ran(bed, name)[before:].count("enable") < 2:
                return False
        return True

    machine.wait_for(over, timeout=90)
    assert sequence is None or sequence["handlerName"] == name
    assert ran(bed, name).count("install") == 1
