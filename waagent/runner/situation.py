"""What a process of the agent starts from: the distribution's profile, and the configuration it leads to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from waagent.runner.places import vendor_directory
from waagent.system import System

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile


def situation(system: System) -> tuple[DistroProfile, Config]:
    """Read both for the machine below the system's root. Raises ConfigError for a damaged shipped profile."""
    from waagent import config, distro
    from waagent.distro import cache

    data = os.path.join(vendor_directory(system), "data", "distros")
    profile = distro.load(system.root, data)
    if os.geteuid() == 0 and not system.planning:
        cache.remember(system.quietly(), profile, data)
    loaded = config.load(
        system.root,
        profile.text("configuration.file"),
        profile.mapping("configuration.defaults"),
        f"distro profile {profile.name}",
    )
    return profile, loaded
