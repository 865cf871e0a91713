"""Find the wire server: try the endpoints that may be it until one speaks our protocol.

find(system, http, patience, globs, known, dhcp, ask, note) -> Endpoint

Each round asks every candidate once for its versions, with five seconds for the answer: the endpoint that worked
last, option 245 of the leases, the well-known address, and where no lease told one, what a DISCOVER of our own
brings (dhcp.py). The DISCOVER stands last, not before the well-known address as in the reference: where that one
speaks our protocol it is the wire server, and on a network without DHCP the question would cost every boot five
seconds. Then it pauses 1, 2, 3, 5, 5, ... s and reads the leases again, until `patience` seconds are over:
FabricUnreachable.

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
    from collections.abc import Callable, Iterable, Iterator

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
    ask: Callable[[], str | None] | None = None,
    well_known: str = endpoints.WIRE_SERVER,
    note: Callable[[str], None] | None = None,
) -> Endpoint:
    """globs: where leases lie; known: text of the endpoint that worked last; dhcp: whether leases count, and an
    answer to `ask`, which is called where there are none and well_known does not answer.
    """
    patterns = list(globs)
    clock = system.clock
    began = clock.monotonic()
    rounds, last = 0, ""
    while True:
        for candidate in _candidates(system, patterns, known, well_known, ask=ask, dhcp=dhcp):
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


def _candidates(
    system: System,
    patterns: list[str],
    known: str | None,
    well_known: str,
    *,
    ask: Callable[[], str | None] | None,
    dhcp: bool,
) -> Iterator[Endpoint]:
    """Best first, each once; the network is asked only when the ones before did not answer."""
    tried: list[Endpoint] = []

    def fresh(texts: list[str]) -> Iterator[Endpoint]:
        for candidate in endpoints.candidates(texts):
            if candidate not in tried:
                tried.append(candidate)
                yield candidate

    yield from fresh([known] if known else [])
    leased = leases.find(system, patterns, system.clock.now()) if dhcp else []
    yield from fresh(leased)
    yield from fresh([well_known])
    if dhcp and not leased and ask is not None:
        told = ask()
        yield from fresh([told] if told else [])
