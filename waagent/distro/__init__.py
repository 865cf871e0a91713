"""What this distribution is like: profiles as data, chosen by os-release.

profile.py   data/distros/*.yaml -> DistroProfile     detect.py    which profile fits this system
files.py     YAML and its checks                      version.py   how versions compare
cache.py     the resolved profile, for this boot

No code asks for a distribution's name; it asks a profile for a capability: profile.text("services.ssh").
"""

from __future__ import annotations

from waagent.distro.profile import DistroProfile, load

__all__ = ["DistroProfile", "load"]
