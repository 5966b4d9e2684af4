"""Keeps the journal within its limits: old messages go, a few at a time, beside the traffic."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from interop_engine.core import events
from interop_engine.core.errors import JournalBroken, JournalError

if TYPE_CHECKING:
    from collections.abc import Container

    from interop_engine.config.site import Site
    from interop_engine.engine.workers import Broken
    from interop_engine.journal.base import Journal

_EVERY = 60.0  # seconds
_SHARE = 4.0  # after each step so many times its own time is left to others
_LOW = 0.95  # of the limit: a full journal is emptied so far, not message by message


class Retention:
    """The limits of one site's journal, and the task that keeps them. ``broken``: see ``Workers``."""

    def __init__(self, site: Site, journal: Journal, broken: Broken) -> None:
        self._keep = site.options.journal.keep
        self._days = {channel.name: channel.options.keep.days or self._keep.days for channel in site.channels}
        # Who shares a journal may find channels in it that are another node's, and whose days that one knows.
        self._database = bool(site.options.journal.postgres)
        self._others = 0 if self._database else self._keep.days
        self._sizes = {channel.name: channel.options.keep.size for channel in site.channels if channel.options.keep.size}
        self._journal = journal
        self._broken = broken
        self._task: asyncio.Task[None] | None = None
        self._told = False

    def start(self) -> None:
        """Begin, where there is a limit."""
        if self._others or self._keep.size or any(self._days.values()) or self._sizes:
            self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """Stop. Twice is harmless."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            try:
                await self.once(datetime.now(UTC))
            except JournalBroken as error:
                self._broken(error)
                return
            except JournalError:
                pass  # it cannot commit at present, and says so itself
            await asyncio.sleep(_EVERY)

    async def once(self, now: datetime) -> None:
        """Remove what is too old, then the oldest while a channel or all have too much, then give back what is free."""
        removed = 0
        for channel in sorted(await self._journal.totals()):
            if days := self._days.get(channel, self._others):
                removed += await self._prune(channel, now - timedelta(days=days))
        if removed:
            events.emit(events.JournalPruned("age", removed))
        removed = 0
        for channel, size in self._sizes.items():
            removed += await self._channel_within(channel, size)
        if removed:
            events.emit(events.JournalPruned("size", removed))
        if self._keep.size:
            await self._within(self._keep.size)
        more = True
        while more:
            began = time.monotonic()
            more = await self._journal.shrink(self._keep.size)
            await self._pause(began)

    async def _prune(self, channel: str, before: datetime) -> int:
        total, removed = 0, 1
        while removed:
            removed = await self._step(channel, before)
            total += removed
        return total

    async def _channel_within(self, channel: str, limit: int) -> int:
        if (await self._journal.stored()).get(channel, 0) <= limit:
            return 0
        total, removed = 0, 1
        while removed and (await self._journal.stored()).get(channel, 0) > limit * _LOW:
            removed = await self._step(channel)
            total += removed
        return total

    async def _used(self) -> int:
        """What counts against the limit: of a file all that is in use, of a database the contents, since its room is its own."""
        return sum((await self._journal.stored()).values()) if self._database else (await self._journal.health()).used

    async def _within(self, limit: int) -> None:
        used = await self._used()
        if used <= limit:
            self._told = False
            return
        total = 0
        spent: set[str] = set()  # channels of which all is due, parked or the newest
        while used > limit * _LOW and (channel := await self._largest(spent)) is not None:
            removed = await self._step(channel)
            total += removed
            if not removed:
                spent.add(channel)
            used = await self._used()
        if total:
            events.emit(events.JournalPruned("size", total))
        if used > limit and not self._told:
            self._told = True
            events.emit(events.JournalOverLimit(used, limit))

    async def _largest(self, spent: Container[str]) -> str | None:
        """The channel that has most, so that one that sends much takes the room of none but itself."""
        stored = await self._journal.stored()
        return max((each for each in stored if each not in spent), key=lambda each: stored[each], default=None)

    async def _step(self, channel: str, before: datetime | None = None) -> int:
        began = time.monotonic()
        removed = await self._journal.prune(before=before, channel=channel)
        await self._pause(began)
        return removed

    async def _pause(self, began: float) -> None:
        await asyncio.sleep((time.monotonic() - began) * _SHARE)
