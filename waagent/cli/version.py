"""waagent version: the versions of agent, distribution, Python and goal state agent.

Three lines that tools parse. Source: provisioning 1.4.
"""

from __future__ import annotations

import argparse
import platform

from waagent import __version__
from waagent.system import System

SUMMARY = "print the version"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.runner.situation import situation

    profile, _ = situation(system)
    print(f"WALinuxAgent-{__version__} running on {profile.id} {profile.version}".rstrip())
    print(f"Python: {platform.python_version()}")
    print(f"Goal state agent: {__version__}")
    return 0
