"""Where deliveries wait while their receiver is left alone, or an operator holds them: in their queue, and nobody leases them.

A worker enters before it leases and leaves when what it leased is settled. While the breaker is open nobody comes in, until its
pause is over: then one does, to be sent ahead. Its success lets in all the others at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.events import DestinationDown, DestinationUp
from interop_engine.core.events import Event, emit
from interop_engine.core.model import Outcome, Retry


class Gate:
    """One destination's. ``held_since``: when an operator stopped its deliveries; None while they go."""

    def __init__(self, breaker: Breaker, channel: str, destination: str) -> None:
        self.held_since: datetime | None = None
        self._breaker = breaker
        self._channel = channel
        self._destination = destination
        self._ahead = False  # one is inside, or about to be, although the breaker is open
        self._told: type[Event] = DestinationUp
        self._changed = asyncio.Event()
        breaker.changed = self._tell_all

    @property
    def problem(self) -> str:
        """Why the receiver is left alone; empty while it is not."""
        return self._breaker.problem

    @property
    def pause(self) -> float:
        """Seconds until one is sent ahead; 0 where one may be now."""
        return self._breaker.pause

    def hold(self, since: datetime | None = None) -> None:
        """Let nobody in until ``go``. What is under way ends."""
        self.held_since = self.held_since or since or datetime.now(UTC)
        self._tell_all()

    def go(self) -> None:
        """Let deliveries in again; where the receiver is left alone, one is sent ahead at once."""
        self.held_since = None
        self._breaker.hurry()
        self._tell_all()

    def shut(self, *, ahead: bool) -> bool:
        """Whether one that had come in may not deliver any more: the gate was closed while it waited for something to do."""
        return self.held_since is not None or (bool(self.problem) and not ahead)

    async def enter(self) -> bool:
        """Wait until there may be deliveries. True: this one goes ahead, and the others wait for what comes of it."""
        while self.shut(ahead=False):
            if self._ahead or self.held_since is not None:
                await self._change(None)
            elif await self._go_ahead():
                return True
        return False

    def leave(self, *, ahead: bool) -> None:
        """What was leased is settled or given back. ``ahead`` is what ``enter`` said."""
        if ahead:
            self._ahead = False
            self._tell_all()

    async def attempt(
        self, send: Callable[[], Awaitable[Outcome]], left_alone: Callable[[str, str], Event] = DestinationDown
    ) -> Outcome:
        """Send, unless the receiver was left alone meanwhile; tell where that begins or ends, or where its kind changes.

        ``send`` reports ``success``, ``failure`` or ``trip`` to the breaker. ``left_alone``: what is told of a receiver that is,
        of channel and destination.
        """
        if (wait := self._breaker.wait()) is not None:
            return Retry(f"waiting for the receiver: {self.problem}", "breaker-open", after=wait, counts=False, sent=False)
        probing = self._breaker.probing
        try:
            outcome = await send()
        finally:
            if probing:
                self._breaker.abandon()  # has no effect where the attempt was reported
        happened = (left_alone if self.problem else DestinationUp)(self._channel, self._destination)
        if type(happened) is not self._told:  # which may have been by another one that was under way as well
            self._told = type(happened)
            emit(happened)
        return outcome

    async def _go_ahead(self) -> bool:
        """Wait for the end of the pause as the only one; False where the gate is open, or held, by then."""
        self._ahead = True
        try:
            while self.problem and self.held_since is None and (pause := self.pause) > 0:
                await self._change(pause)
        except BaseException:
            self.leave(ahead=True)
            raise
        if self.shut(ahead=True) or not self.problem:
            self.leave(ahead=True)
            return False
        return True

    async def _change(self, within: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._changed.wait()

    def _tell_all(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
