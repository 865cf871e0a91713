"""What the host's services look like from here, minute by minute, and when that makes them unhealthy. Pure but for
the file that remembers since when one has been failing.

    troubles = read(system)             {"GuestAgentPluginHeartbeat": 812.5}: since then, in seconds since boot
    seen, troubles = judge(troubles, {PLUGIN: False, METADATA: True}, now)
    write(system, troubles)

A single failure says nothing: a service is reported unhealthy once it has failed for some minutes on end, and
healthy again with its first good answer. The file lies in /run, so that nothing of it outlives the boot.

Source: wire-protocol 5.7, guest-operations 5.3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waagent.system import System

PLUGIN, METADATA = "GuestAgentPluginHeartbeat", "InstanceMetadataHeartbeat"
# Seconds of failing on end after which a service is called unhealthy.
PATIENCE: Mapping[str, float] = {PLUGIN: 300.0, METADATA: 180.0}
FOLDER, PATH = "/run/waagent", "/run/waagent/host-health.json"


def judge(
    troubles: Mapping[str, float], answered: Mapping[str, bool], now: float
) -> tuple[dict[str, bool], dict[str, float]]:
    """Whether each service is to be called healthy, and since when those that do not answer have been failing."""
    healthy: dict[str, bool] = {}
    since: dict[str, float] = {}
    for name, good in answered.items():
        if not good:
            # A time of the future is from before a boot that did not empty /run.
            since[name] = min(troubles.get(name, now), now)
        healthy[name] = good or now - since[name] < PATIENCE[name]
    return healthy, since


def read(system: System) -> dict[str, float]:
    try:
        found = json.loads(system.read_text(PATH))
        return {name: float(found[name]) for name in PATIENCE if name in found}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def write(system: System, troubles: Mapping[str, float]) -> None:
    quiet = system.quietly()
    if troubles:
        quiet.make_directory(FOLDER)
        quiet.write(PATH, json.dumps(dict(troubles)))
    else:
        quiet.remove(PATH)
