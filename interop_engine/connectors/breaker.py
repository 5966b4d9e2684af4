"""A circuit breaker: after some failures in a row nobody is asked for a while, then one is sent ahead to see.

closed ── failures in a row, or trip ──► open ── the pause is over ──► one probe ── success ──► closed
                                          ▲                                │
                                          └──────── failure, longer pause ─┘
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from pydantic import Field, model_validator

from interop_engine.connectors.options import Options
from interop_engine.core.retry import Backoff
from interop_engine.core.units import Duration


class BreakerOptions(Options):
    """When a receiver that does not answer is left alone. Waiting for it is not a failed attempt."""

    failures: int = Field(
        5, ge=1, description="Failures in a row, of the receiver and not of one message, after which nothing is sent."
    )
    first: Duration = Field(1.0, gt=0, description="The first pause; each later one is twice as long.", examples=["1s"])
    up_to: Duration = Field(
        5.0,
        gt=0,
        description="The longest pause. After each, one delivery is sent ahead: how soon it is seen that a receiver is back.",
        examples=["5s"],
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.first > self.up_to:
            raise ValueError("first is the shortest pause, up_to the longest: first must not be longer")
        return self

    def breaker(self) -> Breaker:
        """A breaker that behaves so."""
        return Breaker(self.failures, Backoff(self.first, self.up_to))


class Breaker:
    """One destination's. ``problem`` says why it is open, and is empty while it is closed."""

    def __init__(self, failures: int, pause: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self.problem = ""
        self.probing = False  # one was sent ahead, and has not reported yet
        self._allowed = failures
        self._pause = pause
        self._clock = clock
        self._failures = 0
        self._openings = 0
        self._until = 0.0
        self._asked = 0.0  # until when the receiver asked to be left alone
        self.changed: Callable[[], None] = lambda: None  # told when it opens, closes, or its pause changes

    def hurry(self) -> None:
        """End the pause, also one that the receiver asked for: one may be sent ahead now."""
        self._until = self._asked = 0.0

    def wait(self) -> float | None:
        """None: go ahead, and report ``success``, ``failure`` or ``abandon``. Else the seconds to wait before asking again."""
        if not self.problem:
            return None
        if (remaining := self.pause) > 0:
            return remaining
        if self.probing:
            return self._pause.first
        self.probing = True
        return None

    def success(self) -> None:
        """The receiver answered as itself: what it said about the message is another matter.

        One that was sent before the receiver asked to be left alone does not end that.
        """
        if self._clock() < self._asked:
            return
        self.problem = ""
        self._failures = self._openings = 0
        self._until = 0.0
        self.probing = False
        self.changed()

    def failure(self, why: str) -> None:
        """The receiver did not answer, or cannot."""
        self._failures += 1
        if self.probing or self._failures >= self._allowed:
            self.trip(why)

    def trip(self, why: str, seconds: float = 0.0) -> None:
        """Open at once, for at least ``seconds``: what the receiver asked for."""
        now, already = self._clock(), bool(self.problem) and not self.probing
        self.probing = False
        self.problem = why
        self._asked = max(self._asked, now + seconds)
        if not already:  # those that were in flight as it opened do not lengthen the pause
            self._openings += 1
            self._until = now + self._pause.delay(self._openings)
        self._until = max(self._until, self._asked)
        self.changed()

    @property
    def pause(self) -> float:
        """Seconds until one may go ahead; 0 where one may, or where it is closed."""
        return max(self._until - self._clock(), 0.0) if self.problem else 0.0

    def abandon(self) -> None:
        """The one that was sent ahead did not find out: another may."""
        self.probing = False
