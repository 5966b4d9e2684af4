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
        self._asked = 0.0  # until when the receiver asked to be left alone

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

    @property
    def pause(self) -> float:
        """Seconds until one may go ahead; 0 where one may, or where it is closed."""
        return max(self._until - self._clock(), 0.0) if self.problem else 0.0

    def abandon(self) -> None:
        """The one that was sent ahead did not find out: another may."""
        self.probing = False
