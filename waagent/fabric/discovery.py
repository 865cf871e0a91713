"""Find the wire server: try the endpoints that may be it until one speaks our protocol.

find(system, http, patience, globs, known, dhcp, note) -> Endpoint

Each round asks every candidate (endpoint.candidates) once for its versions, with five seconds for the answer; then
it pauses 1, 2, 3, 5, 5, ... s and reads the leases again, until `patience` seconds are over: FabricUnreachable.

Source: wire-protocol 1.1, 1.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.errors import FabricError, FabricUnreachable
from waagent.fabric import endpoint as endpoints
from waagent.fabric import leases
from waagent.fabric.retry import Policy
from waagent.fabric.wire import WireServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from waagent.fabric.endpoint import Endpoint
    from waagent.system import System
    from waagent.system.http import Http

ASK = Policy(attempts=1, throttled_attempts=1, timeout=5.0)
PAUSES = (1.0, 2.0, 3.0, 5.0)


def find(
    system: System,
    http: Http,
    *,
    patience: float,
    globs: Iterable[str] = (),
    known: str | None = None,
    dhcp: bool = True,
    well_known: str = endpoints.WIRE_SERVER,
    note: Callable[[str], None] | None = None,
) -> Endpoint:
    """globs: where leases lie; known: text of the endpoint that worked last; dhcp: whether leases count;
    well_known: what is tried last.
    """
    patterns = list(globs)
    clock = system.clock
    began = clock.monotonic()
    rounds, last = 0, ""
    while True:
        leased = leases.find(system, patterns, clock.now()) if dhcp else []
        for candidate in endpoints.candidates(known, leased, dhcp=dhcp, well_known=well_known):
            try:
                WireServer(system, http, candidate).check_version(ASK)
            except FabricError as error:
                last = error.message
                continue
            if note is not None and rounds:
                note(f"{candidate.text} answered after {clock.monotonic() - began:.0f} s; before that: {last}")
            return candidate
        pause = PAUSES[min(rounds, len(PAUSES) - 1)]
        rounds += 1
        if clock.monotonic() - began + pause > patience:
            raise FabricUnreachable(
                f"cannot find the wire server: {rounds} rounds in {clock.monotonic() - began:.0f} s, last: {last}; "
                "the platform is asked again later"
            )
        clock.sleep(pause)
