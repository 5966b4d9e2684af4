"""What a FHIR destination remembers: how often each delivery failed and how far it came.

It is kept in memory. A restart forgets it: then a delivery parks later, and pieces that the server has go again, without effect.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from interop_engine.core.model import Park

_REMEMBERED = 10_000  # deliveries


@dataclass(slots=True)
class Tally:
    """How often one delivery was answered one thing. ``alone``: without the times when nothing passed since the one before.

    ``alone`` is what tells a message's fault from an outage, in which all are answered the same however often they are sent.
    """

    times: int = 0
    alone: int = 0
    passes: int = 0  # how many deliveries had passed at the last time
    between: bool = False  # others passed since the time before


@dataclass(slots=True)
class Progress:
    """That of ``delivery``. ``done`` pieces were taken; of the next, ``taken`` entries were, and ``refused`` ones park."""

    delivery: str = ""
    done: int = 0
    taken: set[int] = field(default_factory=set)
    refused: dict[str, Park] = field(default_factory=dict)  # by what the entry writes
    tallies: dict[str, Tally] = field(default_factory=dict)  # by the code of what it was answered

    def next_piece(self) -> None:
        """All of a piece is taken or refused."""
        self.done += 1
        self.taken.clear()


class Troubles:
    """All deliveries that were tried and are not settled, those that were tried last at the end."""

    def __init__(self) -> None:
        self.passes = 0  # deliveries that the server took
        self._of: OrderedDict[str, Progress] = OrderedDict()

    def of(self, delivery: str) -> Progress:
        """What is known of one; a new one is not kept before it was tried."""
        return self._of.get(delivery) or Progress(delivery)

    def keep(self, delivery: str, progress: Progress) -> None:
        """It was tried and is not settled."""
        self._of[delivery] = progress
        self._of.move_to_end(delivery)
        if len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)

    def failed(self, progress: Progress, code: str) -> Tally:
        """Count one more answer of that code."""
        tally = progress.tallies.setdefault(code, Tally())
        tally.between = tally.times > 0 and self.passes > tally.passes
        tally.times += 1
        tally.alone += tally.between or tally.times == 1
        tally.passes = self.passes
        return tally

    def passed(self, delivery: str) -> None:
        """It was delivered."""
        self.passes += 1
        self.settled(delivery)

    def settled(self, delivery: str) -> None:
        """It was delivered or parked: sent again, it begins anew."""
        self._of.pop(delivery, None)
