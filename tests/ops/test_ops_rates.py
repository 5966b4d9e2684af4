"""Rates of arrival."""

from __future__ import annotations

from interop_engine.core.events import MessageAccepted, MessageForwarded, MessageRejected
from interop_engine.ops.rates import Arrivals, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_the_average_over_its_time() -> None:
    """120 arrivals in the last minute of a quarter of an hour are 2 a second, and less over longer times."""
    clock = Clock()
    arrivals = Arrivals(clock)
    clock.now += 15 * 60
    for _ in range(120):
        arrivals.note(MessageAccepted("lab", "id"))
    assert arrivals.rates("lab") == Rates(2.0, 0.4, 0.133)


def test_a_young_process_averages_over_its_age() -> None:
    """Thirty arrivals in the first thirty seconds are 1 a second, not half of one."""
    clock = Clock()
    arrivals = Arrivals(clock)
    for _ in range(30):
        clock.now += 1
        arrivals.note(MessageRejected("lab", "id", "100", "peer"))
    assert arrivals.rates("lab") == Rates(1.0, 1.0, 1.0)


def test_old_arrivals_are_forgotten() -> None:
    """A quarter of an hour later nothing counts any more; another channel and another event never did."""
    clock = Clock()
    arrivals = Arrivals(clock)
    arrivals.note(MessageAccepted("lab", "id"))
    arrivals.note(MessageForwarded("images", "id", 1))
    assert arrivals.rates("images") == Rates()
    clock.now += 16 * 60
    assert arrivals.rates("lab") == Rates()
