"""When an exchange has to be over: at a fixed time, or later as long as enough of its body arrives.

    deadline = Deadline(clock.monotonic, 300.0)               over after 300 seconds, whatever comes
    deadline = Deadline(clock.monotonic, 300.0, pace=65536)   later, while so many bytes come in a second
    deadline.left()          seconds; none or less: it is over
    deadline.got(count)      so many bytes have come

A large package over a narrow line takes its time and arrives; one that trickles would keep everybody waiting. So
its deadline is put off again and again while it keeps pace, until an hour has passed since its beginning.

Source: extensions 6.3, wire-protocol 7.2.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SPAN = 10.0  # seconds over which the pace is taken
GRANTED = 30.0  # seconds from then on, when it was kept
LONGEST = 3600.0


class Deadline:
    def __init__(self, monotonic: Callable[[], float], timeout: float, pace: float = 0.0) -> None:
        self._monotonic, self._pace = monotonic, pace
        self._began = self._since = monotonic()
        self._end = self._began + timeout
        self._came = 0

    def left(self) -> float:
        return self._end - self._monotonic()

    def bring_forward(self, seconds: float) -> None:
        """Have it over in so many seconds at the latest."""
        self._end = min(self._end, self._monotonic() + seconds)
        self._pace = 0.0

    def got(self, count: int) -> None:
        if not self._pace:
            return
        self._came += count
        now = self._monotonic()
        passed = now - self._since
        if passed < SPAN:
            return
        if self._came >= self._pace * passed and now < self._end:
            self._end = max(self._end, min(now + GRANTED, self._began + LONGEST))
        self._since, self._came = now, 0
