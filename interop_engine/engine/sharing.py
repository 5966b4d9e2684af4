"""Workers that share a journal share what the exchange gives them: each is told its place among those that live."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from interop_engine.core.errors import JournalError

if TYPE_CHECKING:
    from interop_engine.exchange.base import Exchange
    from interop_engine.journal.base import Journal

_PAUSE: Final = 1.0  # seconds between two looks at who lives


class Sharing:
    """Tells the exchange what the journal knows of the other workers."""

    def __init__(self, journal: Journal, exchange: Exchange) -> None:
        self._journal = journal
        self._exchange = exchange
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell it now, before anything is received, and then whenever it changes."""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="sharing")

    async def stop(self) -> None:
        """Stop; twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            await self._look()

    async def _look(self) -> None:
        with contextlib.suppress(JournalError):  # who cannot be asked now: all stays as it is
            self._exchange.share(*await self._journal.workers())
