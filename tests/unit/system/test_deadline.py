"""When an exchange is over: at its time, or later while its body keeps pace."""

from __future__ import annotations

import pytest

from waagent.system import deadline
from waagent.system.deadline import Deadline


class Watch:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passes(rate: float, pace: float, limit: float = 10_000.0) -> float:
    """Seconds until it is over when so many bytes come in every second."""
    watch = Watch()
    tested = Deadline(watch, 300.0, pace)
    while tested.left() > 0 and watch.now < 1000.0 + limit:
        watch.now += 1.0
        tested.got(int(rate))
    return watch.now - 1000.0


@pytest.mark.parametrize(
    ("rate", "pace", "seconds"),
    [(0, 0, 300), (10**6, 0, 300), (0, 100, 300), (99, 100, 300), (100, 100, deadline.LONGEST), (10**6, 100, deadline.LONGEST)],
)
def test_it_is_put_off_while_enough_comes_and_not_for_ever(rate: float, pace: float, seconds: float) -> None:
    assert passes(rate, pace) == seconds


def test_what_stops_after_its_time_is_over_soon() -> None:
    watch = Watch()
    tested = Deadline(watch, 300.0, 100.0)
    for _ in range(600):
        watch.now += 1.0
        tested.got(1000)
    assert 0 < tested.left() <= deadline.GRANTED
    watch.now += deadline.GRANTED
    assert tested.left() <= 0
    tested.got(10**9)  # too late
    assert tested.left() <= 0


def test_it_can_be_brought_forward_and_stays_so() -> None:
    watch = Watch()
    tested = Deadline(watch, 300.0, 100.0)
    tested.bring_forward(5.0)
    watch.now += deadline.SPAN
    tested.got(10**6)
    assert tested.left() == 5.0 - deadline.SPAN
