"""waagent report-failure REASON [DETAIL]: tell the platform that this machine cannot be provisioned, and why.

For programs that fail where no stage has run yet, in an initrd above all: it needs no configuration, no stages, no
state, no profile and nothing but Python's own library, and writes nothing on a disk. The host is told through its
key-value pool where there is one, and over the network if that is up. It says what a failed stage would say, so the
owner of the machine sees the reason in the platform's own tools at once instead of a time-out.

REASON is a few fixed words that may be counted ("root disk not found"); DETAIL, or standard input with "-", is for
people and may hold anything but secrets.

Exit status: 0 when the platform was told over the network; 1 when it was not; 2 a wrong argument.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from waagent.errors import WaagentError

if TYPE_CHECKING:
    from waagent.system import System

SUMMARY = "tell the platform that this machine cannot be provisioned"
DETAIL_LETTERS = 3000
PAUSE = 2.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reason", help="a few fixed words, to be counted")
    parser.add_argument("detail", nargs="?", default="", help='for people; "-" reads standard input')
    parser.add_argument("--endpoint", default="", help="address of the platform, where it is another")
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="how long to try (60)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be told")


def main(args: argparse.Namespace, system: System) -> int:
    from waagent.errors import SystemRefused
    from waagent.fabric import endpoint, health
    from waagent.fabric.retry import Policy
    from waagent.fabric.wire import WireServer
    from waagent.provisioning import kvp, report
    from waagent.system.http import Http

    if not args.reason.strip() or args.limit <= 0:
        print("waagent report-failure: REASON must not be empty, SECONDS not below 1", file=sys.stderr)
        return 2
    detail = sys.stdin.read(DETAIL_LETTERS) if args.detail == "-" else args.detail[:DETAIL_LETTERS]
    told = report.failure(args.reason.strip(), " ".join(detail.split()), _vm_id(system), system.clock.stamp())
    if args.dry_run:
        print(told.description)
        return 0
    attempts = max(1, int(args.limit / PAUSE))
    policy = Policy(
        attempts=attempts, base=PAUSE, fixed=True, total=args.limit, throttled=PAUSE, throttled_attempts=attempts,
        timeout=min(10.0, args.limit),
    )  # fmt: skip
    quiet = system.quietly()
    pooled = ""
    try:
        pooled = "; the host's key-value pool has it" if kvp.publish(quiet, kvp.REPORT, told.description) else ""
    except SystemRefused as error:
        print(f"waagent report-failure: {error.message}, continuing without it", file=sys.stderr)
    where = endpoint.parse(args.endpoint or endpoint.WIRE_SERVER)
    wire = WireServer(quiet, Http(quiet.clock), where)
    try:
        wire.report_not_ready(wire.goal_state(policy), health.FAILED, told.description, policy)
    except WaagentError as error:
        print(f"waagent report-failure: {error.message}{pooled}", file=sys.stderr)
        return 1
    print(f"the platform was told: {told.summary}")
    return 0


def _vm_id(system: System) -> str:
    """The machine's id, "" where it cannot be told: the report counts all the same."""
    from waagent.instance import smbios

    try:
        return smbios.identify(system).vm_id
    except (WaagentError, OSError):
        return ""


__all__ = ["SUMMARY", "arguments", "main"]
