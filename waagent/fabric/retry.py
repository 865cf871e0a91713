"""Asking again: how often, how long apart, after which answers.

Policy
    attempts   most requests          base      seconds; the waits are base x 2, 3, 5, 8, 13, ...
    fixed      all waits are base     total     seconds after which no further attempt begins
    timeout    seconds of one attempt
    throttled  wait after 403, 429 and 503; these also raise the attempts to `throttled_attempts`
    again      statuses that this call repeats beside the common ones

persist(clock, policy, attempt, doing, note) calls attempt() until it gives an answer that is no invitation to ask
again, and returns that answer, good or not. Attempts used up: FabricUnreachable, saying what was last and how
long it took; a request that cannot be sent and an answer that is too large: FabricRejected, at once. Success after
failures is told to note(), it is no warning.

A Retry-After of a throttling answer makes a wait longer, never shorter, and by LONGEST at most: a server that asks
for an hour does not hold up a boot.

Source: wire-protocol 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from waagent.errors import FabricRejected, FabricUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from waagent.system import Clock
    from waagent.system.http import Response

LATER = frozenset((205, 206, 403, 429, 500, 501, 502, 503, 504, 507))
THROTTLED = frozenset((403, 429, 503))
LONGEST = 30.0


@dataclass(frozen=True)
class Policy:
    attempts: int = 6
    base: float = 1.0
    fixed: bool = False
    timeout: float = 10.0
    total: float = 120.0
    throttled: float = 1.0
    throttled_attempts: int = 25
    again: tuple[int, ...] = ()


COMMON = Policy()
ONCE = Policy(attempts=1, throttled_attempts=1)
# The platform waits for this report, and minutes of it: a steady pace instead of growing waits.
HEALTH = Policy(attempts=30, base=10.0, fixed=True, total=300.0, throttled=10.0, throttled_attempts=30)
TELEMETRY = Policy(attempts=3, throttled=8.0, throttled_attempts=3)
LOGS = Policy(timeout=30.0, total=240.0)


def persist(
    clock: Clock,
    policy: Policy,
    attempt: Callable[[], Response],
    doing: str,
    note: Callable[[str], None] | None = None,
) -> Response:
    """`doing` completes "cannot …": "fetch the goal state"."""
    began = clock.monotonic()
    limit, made, last, throttled, fibonacci = policy.attempts, 0, "", False, (2, 3)
    status = 0
    while True:
        made += 1
        asked = 0.0
        try:
            response = attempt()
        except FabricUnreachable as error:
            last, status = error.message, 0
        except FabricRejected as error:
            raise FabricRejected(f"cannot {doing}: {error.message}", **error.facts) from error
        else:
            if response.status not in LATER and response.status not in policy.again:
                if made > 1 and note is not None:
                    note(f"it took {made} tries to {doing}; before: {last}")
                return response
            last, status = f"{response.status} {response.reason}", response.status
            if response.status in THROTTLED:
                asked = asked_pause(response.headers.get("retry-after"), clock.now()) or 0.0
                throttled, limit = True, max(limit, policy.throttled_attempts)
        seconds = clock.monotonic() - began
        wait = policy.base if policy.fixed else policy.base * fibonacci[0]
        if throttled:
            wait = policy.throttled
        wait = max(wait, asked)
        if made >= limit or seconds + wait > policy.total:
            tries = f"{made} tries in {seconds:.0f} s" if made > 1 else "one try"
            raise FabricUnreachable(f"cannot {doing}: {last}, {tries}", **({"status": status} if status else {}))
        clock.sleep(wait)
        fibonacci = (fibonacci[1], fibonacci[0] + fibonacci[1])


def asked_pause(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for ("120" or a date), at most LONGEST; None when it asks nothing."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST)
    try:
        until = parsedate_to_datetime(text)
        seconds = (until - now).total_seconds() if until.tzinfo else 0.0
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST)


def require(response: Response, doing: str, url: str, good: tuple[int, ...] = (200, 201, 202)) -> Response:
    """The response itself if its status is good; else FabricRejected with status, URL and the body's beginning."""
    if response.status in good:
        return response
    from waagent.system.redact import redact, redact_text

    told = redact_text(response.excerpt())
    raise FabricRejected(
        f"cannot {doing}: {response.status} {response.reason} from {redact(url)}" + (f': "{told}"' if told else ""),
        url=redact(url),
        status=response.status,
    )
