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

    profile = distro.load(system.root, os.path.join(vendor_directory(system), "data", "distros"))
    loaded = config.load(
        system.root, profile.text("configuration.file"), profile.mapping("configuration.defaults"), profile.name
    )
    return profile, loaded
