"""Where stages and steps are looked for, lowest first (DESIGN: where steps come from, and who wins).

    vendor   /usr/lib/waagent/modules/<stage>/        this package and distro packages
    site     /usr/local/lib/waagent/modules/<stage>/  the site
    run      /run/waagent/hooks.d/<stage>/            this boot
    admin    /etc/waagent/hooks.d/<stage>/            the administrator

Event hooks lie beside them in on-<event>/. In a source checkout the vendor directory is the checkout itself.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from waagent.system import System
from waagent.system.vendor import VENDOR, vendor_directory

HIGHER = (
    ("site", "/usr/local/lib/waagent/modules"),
    ("run", "/run/waagent/hooks.d"),
    ("admin", "/etc/waagent/hooks.d"),
)
STAGES = ("local", "network", "config", "final", "periodic")
# Run by a verb of their own, when somebody asks for it.
ON_DEMAND = ("deprovision",)
EVERY_STAGE = (*STAGES, *ON_DEMAND)
# Run again and again in one boot; what was found of them is kept meanwhile.
REPEATED = ("periodic",)


# Seconds that a program may take where its header says nothing; elsewhere a minute.
LIMITS = {"config": 300.0, "final": 900.0, "deprovision": 300.0}


class Place(NamedTuple):
    """One directory of steps: its rank, the path to show, where it really is, and the top of what is checked."""

    rank: str
    shown: str
    real: str
    top: str


def step_places(system: System, stage: str) -> tuple[Place, ...]:
    """The directories that may hold steps of this stage (or of "on-<event>"), lowest first."""
    vendor = vendor_directory(system)
    inside = vendor == str(system.path(VENDOR))
    shown = f"{VENDOR if inside else vendor}/modules/{stage}"
    lowest = Place("vendor", shown, os.path.join(vendor, "modules", stage), system.root if inside else vendor)
    higher = (
        # Joined, not resolved: a link on the way is for the check to see and refuse.
        Place(rank, f"{folder}/{stage}", os.path.join(system.root, folder[1:], stage), system.root)
        for rank, folder in HIGHER
    )
    return (lowest, *higher)
