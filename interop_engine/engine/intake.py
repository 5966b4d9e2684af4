"""The intake of a channel: its source, whether it is open, and where what it takes in goes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from interop_engine.core import events

if TYPE_CHECKING:
    from interop_engine.connectors.base import ConnectorHealth, Source
    from interop_engine.core.model import Accept, Answer, Arrival


class ChannelState(StrEnum):
    """Where a channel is."""

    STARTING = "starting"
    STOPPED = "stopped"
    RUNNING = "running"
    FAILED = "failed"


class Intake:
    """Outlives the configuration it was opened under where a reload leaves the source as it is: its connections stay open."""

    def __init__(self, channel: str, source: Source, accept: Accept) -> None:
        """``accept`` takes what the source takes in; it may be put in another's place at any time, between two messages."""
        self.accept = accept
        self.state = ChannelState.STARTING
        self.problem = ""
        self._channel = channel
        self._source = source

    def health(self) -> ConnectorHealth:
        """How the source is."""
        return self._source.health()

    async def open(self) -> None:
        """Begin to take messages in. A source that cannot start leaves the channel FAILED."""
        try:
            await self._source.start(self._accept)
        except OSError as error:
            self._changed(ChannelState.FAILED, f"The source cannot start: {error.strerror or error}")
        else:
            self._changed(ChannelState.RUNNING)

    async def close(self) -> None:
        """Stop intake; what was taken in goes on. Twice is harmless."""
        await self._source.stop()
        if self.state is not ChannelState.STOPPED:
            self._changed(ChannelState.STOPPED)

    async def _accept(self, arrival: Arrival) -> Answer:
        return await self.accept(arrival)

    def _changed(self, state: ChannelState, problem: str = "") -> None:
        self.state, self.problem = state, problem
        failed = state is ChannelState.FAILED
        event = events.ChannelFailed(self._channel, self.problem) if failed else events.ChannelStateChanged(self._channel, state)
        events.emit(event)
