#!/usr/bin/python3
"""A handler that does what its public settings say: handle.sh tells how, this is the same in Python."""

import glob
import json
import os
import sys
import time

VERB = sys.argv[1]
NUMBER = os.environ.get("ConfigSequenceNumber", "0")
INSTANCE = os.environ.get("ConfigExtensionName", "")
NAME = os.path.basename(os.getcwd())
NOTES = "/var/tmp/handlers"
PREFIX = INSTANCE + "." if INSTANCE else ""


def note():
    os.makedirs(NOTES, exist_ok=True)
    with open(NOTES + "/ran", "a") as stream:
        stream.write("%.6f %s %s %s %s\n" % (time.time(), VERB, NAME, NUMBER, INSTANCE or "-"))
    stem = "%s/%s.%s.%s" % (NOTES, NAME, VERB, INSTANCE or "-")
    with open(stem + ".env", "w") as stream:
        stream.writelines("%s=%s\n" % item for item in os.environ.items())
    with open("/proc/self/cgroup") as found, open(stem + ".cgroup", "w") as stream:
        stream.write(found.read())


def settings():
    """The public settings of this number, else the newest there are; None without any."""
    path = "config/%s%s.settings" % (PREFIX, NUMBER)
    if not os.path.exists(path):
        there = glob.glob("config/%s*.settings" % PREFIX)
        if not there:
            return None
        path = max(there, key=os.path.getmtime)
    with open(path) as stream:
        text = stream.read()
    return json.loads(text)["runtimeSettings"][0]["handlerSettings"]["publicSettings"] or {} if text else None


def status(state, message):
    """Written aside and renamed, so that nobody reads half of it."""
    file = "status/%s%s.status" % (PREFIX, NUMBER)
    told = {"operation": "Enable", "status": state, "code": 0}
    told["formattedMessage"] = {"lang": "en-US", "message": message}
    with open(file + ".tmp", "w") as stream:
        json.dump([{"version": 1.0, "status": told}], stream)
    os.replace(file + ".tmp", file)


note()
wanted = settings()
if os.path.exists("do/" + VERB):
    with open("do/" + VERB) as script:
        exec(script.read())
steering = wanted or {}
if VERB + ".say" in steering:
    print(steering[VERB + ".say"])
code = steering.get(VERB + ".exit", 0)
if VERB == "enable" and code == 0 and wanted is not None and steering.get("status") != "none":
    status(steering.get("status", "success"), steering.get("message", ""))
sys.exit(code)
