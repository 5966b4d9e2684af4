"""What a FHIR destination remembers of deliveries under way: how often each failed, and how far it came.

It is kept in memory. A restart forgets it: then a delivery parks later, and pieces that the server has go again, without effect.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from interop_engine.core.model import Park

_REMEMBERED = 10_000  # deliveries


@dataclass(slots=True)
class Progress:
    """One delivery's. ``done`` pieces were taken; of the next, ``taken`` entries were, and ``refused`` ones park."""

    passes: int  # how many deliveries had passed when it began
    failures: int = 0
    done: int = 0
    taken: set[int] = field(default_factory=set)
    refused: dict[str, Park] = field(default_factory=dict)  # by what the entry writes

    def next_piece(self) -> None:
        """All of a piece is taken or refused."""
        self.done += 1
        self.taken.clear()


class Troubles:
    """All deliveries that were begun and are not settled."""

    def __init__(self) -> None:
        self._passes = 0
        self._of: OrderedDict[str, Progress] = OrderedDict()

    def of(self, delivery: str) -> Progress:
        """What is known of one."""
        progress = self._of.setdefault(delivery, Progress(self._passes))
        if len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)
        return progress

    def others_passed(self, delivery: str) -> bool:
        """Whether others were delivered since this one began."""
        return self._passes > self.of(delivery).passes

    def passed(self, delivery: str) -> None:
        """It was delivered."""
        self._passes += 1
        self.settled(delivery)

    def settled(self, delivery: str) -> None:
        """It was delivered or parked: sent again, it begins anew."""
        self._of.pop(delivery, None)
