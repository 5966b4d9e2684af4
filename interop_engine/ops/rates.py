"""How fast messages arrive: per channel, over the last 1, 5 and 15 minutes, from memory."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interop_engine.core.events import Event, MessageAccepted, MessageRejected

if TYPE_CHECKING:
    from collections.abc import Callable

_SLOT = 5.0  # seconds that one count covers
_MINUTES = (1, 5, 15)


@dataclass(frozen=True, slots=True)
class Rates:
    """Messages a second, averaged over a time; of a younger process over its age, but at least over one slot."""

    minute: float = 0.0
    five_minutes: float = 0.0
    fifteen_minutes: float = 0.0


class Arrivals:
    """Counts arrivals in slots of five seconds; give ``note`` to ``core.events.subscribe``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._started = clock()
        self._slots: dict[str, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=int(_MINUTES[-1] * 60 / _SLOT) + 1))

    def note(self, event: Event) -> None:
        """Count a message that was accepted or rejected; every other event is ignored."""
        if isinstance(event, MessageAccepted | MessageRejected):
            slot, slots = int(self._clock() // _SLOT), self._slots[event.channel]
            if slots and slots[-1][0] == slot:
                slots[-1] = (slot, slots[-1][1] + 1)
            else:
                slots.append((slot, 1))

    def rates(self, channel: str) -> Rates:
        """The rates of a channel, now."""
        now = self._clock()
        age = max(now - self._started, _SLOT)
        slots = self._slots.get(channel, ())

        def over(minutes: int) -> float:
            seconds = minutes * 60.0
            first = int((now - seconds) // _SLOT)
            return round(sum(count for slot, count in slots if slot > first) / min(seconds, age), 3)

        return Rates(*(over(minutes) for minutes in _MINUTES))
