"""A circuit breaker: after some failures in a row nobody is asked for a while, then one is sent ahead to see.

closed ── failures in a row, or trip ──► open ── the pause is over ──► one probe ── success ──► closed
                                          ▲                                │
                                          └──────── failure, longer pause ─┘
"""

from __future__ import annotations

import time
from collections.abc import Callable

from interop_engine.core.retry import Backoff


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

    def wait(self) -> float | None:
        """None: go ahead, and report ``success``, ``failure`` or ``abandon``. Else the seconds to wait before asking again."""
        if not self.problem:
            return None
        remaining = self._until - self._clock()
        if remaining > 0:
            return remaining
        if self.probing:
            return self._pause.first
        self.probing = True
        return None

    def success(self) -> None:
        """The receiver answered as itself: what it said about the message is another matter."""
        self.problem = ""
        self._failures = self._openings = 0
        self.probing = False

    def failure(self, why: str) -> None:
        """The receiver did not answer, or cannot."""
        self._failures += 1
        if self.probing or self._failures >= self._allowed:
            self.trip(why)

    def trip(self, why: str, seconds: float | None = None) -> None:
        """Open at once, for ``seconds`` where the receiver said how long."""
        already = bool(self.problem) and not self.probing
        self.probing = False
        self.problem = why
        if seconds is not None:
            self._until = self._clock() + seconds
        elif not already:  # those that were in flight as it opened do not lengthen the pause
            self._openings += 1
            self._until = self._clock() + self._pause.delay(self._openings)

    def abandon(self) -> None:
        """The one that was sent ahead did not find out: another may."""
        self.probing = False
