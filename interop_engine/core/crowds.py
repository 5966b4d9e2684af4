"""Of what anybody can make happen as often as they like a line a minute is logged: at once, and then with how often it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_MINUTE = 60.0  # seconds
_MOST = 1_000  # crowds that are told apart in a minute: the others are told as one, so that neither log nor memory grows by them
_Event = TypeVar("_Event")


@dataclass(slots=True)
class _Crowd(Generic[_Event]):
    since: float  # when a line was logged of it
    times: int = 0  # how often it has happened since
    last: _Event | None = None


class Crowds(Generic[_Event]):
    """Which of many events are told. Safe in threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._crowds: dict[Hashable, _Crowd[_Event]] = {}
        self._lock = threading.Lock()

    def tells(self, crowd: Hashable, event: _Event) -> bool:
        """Whether an event is told at once. Else it is counted, and ``over`` gives the count."""
        with self._lock:
            if crowd not in self._crowds and len(self._crowds) >= _MOST:
                crowd = None
            found = self._crowds.get(crowd)
            if found is None:
                self._crowds[crowd] = _Crowd(self._clock())
                return True
            found.times += 1
            found.last = event
            return False

    def over(self) -> list[tuple[_Event, int]]:
        """Of each crowd whose minute is over: the last event that was not told, and how many were not. A new minute begins."""
        if not self._crowds:
            return []
        now, told = self._clock(), []
        with self._lock:
            while self._crowds:
                crowd, found = next(iter(self._crowds.items()))
                if now - found.since < _MINUTE:
                    break  # those behind it were told later
                del self._crowds[crowd]
                if found.last is not None:
                    told.append((found.last, found.times))
                    self._crowds[crowd] = _Crowd(now)
        return told
