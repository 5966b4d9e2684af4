"""Which worker reads which of a receiver's queues, where several workers do the same.

The broker gives a queue to the one that came first (single active consumer), and the others wait in line. So each worker comes
to its own queues at once, and to the others a little later. Where it reads another's queue all the same, since that one died
or came later, it goes back to the end of the line now and then: an owner that is there by now is then before it. Who of the
workers is which may be seen differently for a moment: it decides who goes to the end of a line, never who may read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

STAND_BY: Final = 3.0  # seconds that a queue's own worker has to come first
_FIRST_LOAN: Final = 5.0  # seconds that another's queue is read before its owner is let before
_LAST_LOAN: Final = 300.0  # the same, where the owner never comes: each time all that is read ahead goes back


@dataclass(frozen=True, slots=True)
class Place:
    """This worker's place among all that do the same, from 0."""

    number: int = 0
    workers: int = 1


class Share:
    """What is this worker's own; a place may change at any time."""

    def __init__(self) -> None:
        self.place = Place()
        self.changed = asyncio.Event()  # of this place: another one has an event of its own

    def move(self, place: Place) -> None:
        """Another place from now on."""
        if place != self.place:
            self.place = place
            self.changed.set()
            self.changed = asyncio.Event()

    def turns(self, queues: int) -> list[Turn]:
        """One for each queue of a receiver. One queue alone is everybody's own: nothing is to be spread."""
        return [Turn(self, number, alone=queues == 1) for number in range(queues)]


class Turn:
    """What that means for one queue."""

    def __init__(self, share: Share, number: int, *, alone: bool = False) -> None:
        self._share = share
        self._number = number
        self._alone = alone
        self._place = share.place
        self._loan = _FIRST_LOAN
        self._since = 0.0

    @property
    def own(self) -> bool:
        """Whether the queue is this worker's own."""
        place = self._share.place
        return self._alone or self._number % place.workers == place.number

    @property
    def changed(self) -> asyncio.Event:
        """Set when the worker has another place."""
        return self._share.changed

    def is_over(self) -> bool:
        """Asked as a parcel comes: whether its owner is to be let before now. Longer each time, while the owner does not come."""
        now = time.monotonic()
        if self._place != self._share.place:
            self._place, self._loan, self._since = self._share.place, _FIRST_LOAN, now
        elif not self._since:
            self._since = now
        if self.own or now - self._since < self._loan:
            return False
        self._loan, self._since = min(2 * self._loan, _LAST_LOAN), 0.0
        return True
