"""What a process of the agent starts from: the distribution's profile, and the configuration it leads to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from waagent.errors import WaagentError
from waagent.system import System
from waagent.system.vendor import profiles_directory

LIB = "/var/lib/waagent"
FIPS = "OPENSSL_FIPS"  # what OpenSSL is told by OS.EnableFIPS; this process and all that it starts have it
VERBOSE = "WAAGENT_VERBOSE"  # set by -verbose for this command and the processes that it starts

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile


def situation(system: System) -> tuple[DistroProfile, Config]:
    """Read both for the machine below the system's root. Raises ConfigError for a damaged shipped profile."""
    from waagent import config, distro
    from waagent.distro import cache

    data = profiles_directory(system)
    profile = distro.load(system.root, data)
    if os.geteuid() == 0 and not system.planning:
        cache.remember(system.quietly(), profile, data)
    loaded = config.load(
        system.root,
        config.chosen(profile.text("configuration.file")),
        profile.mapping("configuration.defaults"),
        f"distro profile {profile.name}",
    )
    if os.environ.get(VERBOSE):
        loaded = loaded.but("Logs.Verbose", True, "-verbose")
    if loaded.switch("OS.EnableFIPS"):
        os.environ[FIPS] = "1"
    return profile, loaded


def state_directory(system: System) -> str:
    """Lib.Dir; for verbs that only look, its default where profile or configuration cannot be read."""
    try:
        return situation(system)[1].text("Lib.Dir") or LIB
    except (WaagentError, OSError):
        return LIB
