"""Where the agent's own files lie: stages/, modules/ and data/, as this package or a distribution's installed them.

Below another root its own copy is used, where there is one; in a source checkout the checkout itself.
"""

from __future__ import annotations

import os

from waagent.system.door import System

VENDOR = "/usr/lib/waagent"


def vendor_directory(system: System) -> str:
    """Return the real directory that holds stages/, modules/ and data/."""
    below_root = str(system.path(VENDOR))
    if os.path.isdir(below_root):
        return below_root
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return checkout if os.path.isdir(os.path.join(checkout, "stages")) else VENDOR


def profiles_directory(system: System) -> str:
    """Where the shipped distro profiles are."""
    return os.path.join(vendor_directory(system), "data", "distros")
