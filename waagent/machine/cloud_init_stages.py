"""Whether cloud-init, where it runs in this boot, may still come and set up disks and mounts.

pending(system)   the stage that has not ended, "" when none is to be waited for

cloud-init makes file systems (disk_setup) and entries of /etc/fstab (mounts) in its stage init, older ones in
modules-config. Who comes before it would take its disk. It tells of its stages in /run/cloud-init/status.json,
which it begins anew at each boot, and its generator says by a file whether it runs at all.

Source: field demand 126.
"""

from __future__ import annotations

import json

from waagent.system import System

FOLDER = "/run/cloud-init"
STATUS = f"{FOLDER}/status.json"
ENABLED = f"{FOLDER}/enabled"


def pending(system: System) -> str:
    try:
        told = json.loads(system.read(STATUS))["v1"]
        stages = {name: told[name] for name in ("init", "modules-config") if isinstance(told.get(name), dict)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "init" if system.exists(ENABLED) else ""
    if not stages.get("init", {}).get("finished"):
        return "init"
    config = stages.get("modules-config", {})
    return "modules-config" if config.get("start") and not config.get("finished") else ""
