"""Where a broker goes on saying that it did not take a parcel (basic.nack), and when to connect anew for that.

In a cluster, a channel looks for a queue's leader when it first writes to it. Where it finds one on a node that has just died,
it refuses for as long as that node is away, although the other nodes have chosen another (RabbitMQ 3.10; later ones where their
record of it is old). A new channel looks again. A queue whose own limit is reached refuses in the same way, and there it does
not help: therefore the pauses between two attempts grow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from interop_engine.core.retry import Backoff

_PATIENCE: Final = Backoff(1.0, 60.0)  # seconds of nacks alone, after which another connection is tried


class Nacks:
    """By routing key, since neighbours on the same channel may be taken."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # the first on this connection, of keys for which there was nothing else since
        self._tried: set[str] = set()  # the keys for which a connection was given up, and nothing was taken since
        self._attempts = 0

    def connected(self) -> None:
        """The connection is a new one."""
        self._since.clear()

    def taken(self, key: str) -> None:
        """The broker confirmed a parcel."""
        if self._since:
            self._since.pop(key, None)
        if key in self._tried:
            self._tried.discard(key)
            self._attempts = 0

    def refused(self, key: str) -> bool:
        """The broker nacked a parcel. Whether to give the connection up."""
        now = self._clock()
        if now - self._since.setdefault(key, now) < _PATIENCE.ceiling(self._attempts + 1):
            return False
        self._tried.add(key)
        self._attempts += 1
        return True
