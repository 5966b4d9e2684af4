"""When to try again: a doubling, capped delay of which half is chance (the AWS architecture blog's "equal jitter").

Half of it is certain, because a delay near nothing would ask a receiver in need again at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

LONGEST_DELIVERY: Final = 1_500.0
"""Seconds that an attempt to deliver may take, all its requests together; a lease of the journal ends five minutes later."""

LONGEST_REQUEST: Final = LONGEST_DELIVERY / 2
"""Seconds that the timeouts of one request may add up to: it may go twice, with a new token or over a new connection."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: at most ``first`` after the first failed attempt, doubling up to ``up_to``."""

    first: float = 2.0
    up_to: float = 600.0

    def ceiling(self, attempt: int) -> float:
        """The longest delay after the given failed attempt, which counts from 1."""
        return min(self.up_to, self.first * 2.0 ** min(max(attempt, 1) - 1, 60))

    def delay(self, attempt: int) -> float:
        """A delay between half the ceiling and the ceiling, so that many waiting items spread out."""
        return self.ceiling(attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load is no secret
