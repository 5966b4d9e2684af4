"""The failures in a row of a receiver, for people: what it said last, and since when it takes nothing.

A message that it fails at alone is no problem of the receiver's, though nothing else was there to show that it works.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


class Streak:
    """One destination's, over all its deliveries."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._why = ""
        self._times = 0
        self._since = ""
        self._of: str | None = ""  # the delivery whose fault it may be; None where it is nobody's alone

    def failed(self, why: str, delivery: str | None) -> None:
        """One more; ``why`` is for people, without what the receiver wrote. ``delivery``: None where it cannot be its fault."""
        if not self._times:
            self._since = f"{self._clock():%Y-%m-%d %H:%M} UTC"
            self._of = delivery
        self._times += 1
        self._why = why
        if delivery != self._of:
            self._of = None

    def ended(self) -> None:
        """The receiver took a delivery, or a delivery parked for what it is."""
        self._times = 0

    def problem(self, left_alone: str) -> str:
        """Why the receiver takes nothing; empty where it works, as far as is known. ``left_alone``: why its gate is closed."""
        return str(self) or left_alone if left_alone or self._of is None else ""

    def details(self, left_alone: str) -> dict[str, str]:
        """What one delivery alone fails with, where that is all."""
        return {"alone": told} if (told := str(self)) and not self.problem(left_alone) else {}

    def __str__(self) -> str:
        """What the receiver said last, how often in a row it took nothing, and since when; empty where it works."""
        return f"{self._why} ({self._times} in a row, since {self._since})" if self._times else ""
