"""What the watcher needs to know of waagent.conf and the distribution. Lean: a child process reads the files.

The libraries that read configuration and profiles would stay in memory for ever; in a forked child they go with it.
"""

from __future__ import annotations

import json
import os
import sys


class Settings:
    """period: seconds between polls; initial: the same before the first goal state is done; lib: state."""

    __slots__ = ("extensions", "fast_track", "host_health", "initial", "lib", "os_name", "os_version", "period")
    extensions: bool
    fast_track: bool
    host_health: bool
    initial: int
    lib: str
    os_name: str
    os_version: str
    period: int

    def __init__(self, **values: object) -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])


DISABLED_PERIOD = 300  # seconds, when extensions are switched off. Source: guest-operations 1.11
DEFAULTS = Settings(
    extensions=True, fast_track=True, host_health=True, initial=6, lib="/var/lib/waagent", os_name="Linux",
    os_version="", period=6,
)


def read(root: str = "/") -> Settings:
    """Ask a child; when it fails (a damaged profile) the defaults serve, because the fabric has to be followed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            os.write(writing, json.dumps(_load(root)).encode())
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    try:
        return Settings(**json.loads(text))
    except (ValueError, KeyError, TypeError):
        return DEFAULTS


def _load(root: str) -> dict[str, object]:
    from waagent import config as configuration
    from waagent import distro
    from waagent.system import System
    from waagent.system.vendor import profiles_directory

    profile = distro.load(root, profiles_directory(System(root)))
    config = configuration.load(
        root,
        configuration.chosen(profile.text("configuration.file")),
        profile.mapping("configuration.defaults"),
        profile.name,
    )
    period = max(1, config.integer("Extensions.GoalStatePeriod"))
    initial = max(1, config.integer("Extensions.InitialGoalStatePeriod"))
    extensions = config.switch("Extensions.Enabled")
    return {
        "extensions": extensions,
        "fast_track": config.switch("Debug.EnableFastTrack"),
        "host_health": config.switch("Monitor.HostHealth"),
        "initial": initial if extensions else DISABLED_PERIOD,
        "period": period if extensions else DISABLED_PERIOD,
        "lib": config.text("Lib.Dir") or DEFAULTS.lib,
        "os_name": profile.id,
        "os_version": profile.version,
    }
