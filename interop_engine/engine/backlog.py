"""How much waits of a channel, where more than so much must not be taken in: looked at now and then, and kept meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interop_engine.config.site import ChannelConfig
    from interop_engine.journal.base import Journal

_EVERY = 1.0  # seconds: what arrives meanwhile goes beyond the limit


class Backlog:
    """The backlog of one channel, against its ``waiting: {stop: …}``."""

    def __init__(self, channel: ChannelConfig, journal: Journal) -> None:
        self._channel = channel.name
        self._stop = channel.options.waiting.stop
        self._journal = journal
        self._looked_at = float("-inf")
        self._waiting = 0

    async def refusal(self) -> str:
        """Why nothing more is taken in; empty where it is. Raises JournalError."""
        if not self._stop:
            return ""
        if (now := time.monotonic()) - self._looked_at >= _EVERY:
            self._looked_at = now
            counts = await self._journal.counts()
            self._waiting = max((each.waiting for each in counts if each.queue.channel == self._channel), default=0)
        return (
            f"{self._waiting} messages wait, and at {self._stop} nothing more is taken in." if self._waiting >= self._stop else ""
        )
