#!/usr/bin/env python3
"""A small multi-config handler: runs the commands in {"steps": [...]} of each instance and reports each as a sub-status."""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    verb = sys.argv[1]
    number = os.environ.get("ConfigSequenceNumber", "0")
    instance = os.environ.get("ConfigExtensionName", "")
    with open("HandlerEnvironment.json", encoding="utf-8-sig") as stream:
        folders = json.load(stream)[0]["handlerEnvironment"]
    with open(os.path.join(folders["logFolder"], "steps.log"), "a", encoding="utf-8") as log:
        log.write(f"{verb} {instance or '-'} {number}\n")
    if verb != "enable" or not instance:
        return 0
    with open(os.path.join(folders["configFolder"], f"{instance}.{number}.settings"), encoding="utf-8") as stream:
        settings = json.load(stream)["runtimeSettings"][0]["handlerSettings"]["publicSettings"] or {}
    steps = [run(step) for step in settings.get("steps", [])]
    failed = [step for step in steps if step["status"] == "error"]
    status = {
        "name": instance,
        "operation": "Enable",
        "configurationAppliedTime": stamp(),
        "status": "error" if failed else "success",
        "code": 1 if failed else 0,
        "formattedMessage": {"lang": "en-US", "message": f"{len(steps) - len(failed)} of {len(steps)} steps done"},
        "substatus": steps,
    }
    path = os.path.join(folders["statusFolder"], f"{instance}.{number}.status")
    with open(path + ".tmp", "w", encoding="utf-8") as stream:
        json.dump([{"version": 1.0, "timestampUTC": stamp(), "status": status}], stream)
    os.replace(path + ".tmp", path)
    return 0


def run(step: str) -> "dict[str, object]":
    done = subprocess.run(["/bin/sh", "-c", step], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return {
        "name": step,
        "status": "error" if done.returncode else "success",
        "code": done.returncode,
        "formattedMessage": {"lang": "en-US", "message": done.stdout[-200:]},
    }


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    sys.exit(main())
