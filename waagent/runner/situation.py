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
    profile = _profile(system)
    loaded = _config(system, profile)
    if os.environ.get(VERBOSE):
        loaded = loaded.but("Logs.Verbose", True, "-verbose")
    if loaded.switch("OS.EnableFIPS"):
        os.environ[FIPS] = "1"
    return profile, loaded


def _profile(system: System) -> DistroProfile:
    """The profile as it is kept, else of its files."""
    from waagent.distro import cache
    from waagent.distro.profile import resolve

    data = profiles_directory(system)
    profile = cache.remembered(system.root, data)
    if profile is None:
        made_from = cache.stamp(system.root, data)
        profile = resolve(system.root, data)
        cache.remember(system, profile, data, made_from)
    return profile


def _config(system: System, profile: DistroProfile) -> Config:
    """The configuration as it is kept, else of its files."""
    from waagent import config
    from waagent.config import cache

    main = config.chosen(profile.text("configuration.file"))
    defaults, origin = profile.mapping("configuration.defaults"), f"distro profile {profile.name}"
    made_from = cache.stamp(system.root, main, defaults, origin)
    loaded = cache.remembered(system.root, made_from)
    if loaded is None:
        loaded = config.load(system.root, main, defaults, origin)
        cache.remember(system, loaded, made_from)
    return loaded


def state_directory(system: System) -> str:
    """Lib.Dir; for verbs that only look, its default where profile or configuration cannot be read."""
    try:
        return situation(system)[1].text("Lib.Dir") or LIB
    except (WaagentError, OSError):
        return LIB
