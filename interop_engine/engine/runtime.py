"""The one place where everything is put together: journal, exchange, channels; a clean start and a clean stop."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from interop_engine.config.checkout import commit_of
from interop_engine.config.loader import load
from interop_engine.config.schema import AmqpOptions
from interop_engine.core import events
from interop_engine.engine.channel import Channel, Shared, receivers_first
from interop_engine.engine.receipts import Receipts
from interop_engine.engine.reload import Reload, Reloaded
from interop_engine.engine.retention import Retention
from interop_engine.engine.sharing import Sharing
from interop_engine.engine.transformers import Beside, Inside
from interop_engine.exchange import open_exchange
from interop_engine.journal import open_journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interop_engine.config.site import Site
    from interop_engine.core.errors import JournalError
    from interop_engine.exchange.base import Exchange
    from interop_engine.journal.base import Journal

_DEADLINE = 15.0  # seconds that attempts under way are given when the engine stops


def _exchange(site: Site) -> Exchange:
    options = site.options.exchange
    if not isinstance(options, AmqpOptions):
        return open_exchange(options)
    return open_exchange(
        options.amqp,
        name=options.name or site.options.facility,
        allow_plain=options.allow_plain,
        queues=options.queues,
        declare=options.declare,
        tls=partial(options.tls.context, str(site.root)) if options.amqp.startswith("amqps:") else None,
        max_message=options.max_message,
    )


class Runtime:
    """One node at work."""

    def __init__(self, site: Site) -> None:
        self.site = site
        options = site.options
        kept = options.journal
        self.journal: Journal = open_journal(kept.place(site.root), reserve=kept.reserve, keys=kept.keys(site.root))
        self.exchange = _exchange(site)
        self.failed = asyncio.Event()
        self._started = False
        processes = options.transform.processes
        self.beside = Beside(site, processes) if processes else None
        self.shared = Shared(
            self.journal,
            self.exchange,
            self.beside or Inside(),
            owner=f"{socket.gethostname()}:{os.getpid()}",
            root=str(site.root),
            broken=self._broken,
        )
        self.channels: Sequence[Channel] = [Channel(config, self.shared) for config in site.channels]
        self.retention = Retention(site, self.journal, self._broken)
        self.receipts = Receipts(options.facility, self.journal, self.exchange, self._broken)
        self.sharing = Sharing(self.journal, self.exchange)
        self.steering = asyncio.Lock()
        """Held by who starts, stops or replaces channels."""

    async def start(self) -> None:
        """Recover, open the channels, and begin to work once all are open, so that what is sent finds its receiver."""
        try:
            if self.beside is not None:
                await self.beside.start()  # first: it forks, and the journal has a thread
            await self.journal.open()
            await self.journal.keep_config(self.site.digest, self.site.snapshot, commit_of(self.site.root, self.site.files))
            await self.exchange.open()
            await self.receipts.start()
            channels = {channel.name: channel for channel in self.channels}
            for config in receivers_first(self.site.channels):
                await channels[config.name].open()
            await self.sharing.start()
            await self.exchange.begin()
            for channel in self.channels:
                channel.begin()
            self.retention.start()
        except BaseException:
            await self.stop()
            raise
        self._started = True
        events.emit(events.EngineStarted(self.site.options.site, len(self.channels)))

    async def stop(self, deadline: float = _DEADLINE) -> None:
        """Stop intake, let what is under way end, give back the rest, close. Twice is harmless.

        Channels fed by the exchange stop last: what the others still send in this process finds its receiver.
        """
        await self.retention.stop()
        await self.sharing.stop()
        async with self.steering:
            fed = [channel for channel in self.channels if channel.config.connector == "exchange"]
            for group in ([channel for channel in self.channels if channel not in fed], fed):
                await asyncio.gather(*(channel.stop(deadline) for channel in group))
        if self.beside is not None:
            await self.beside.stop()
        await self.receipts.stop()
        await self.exchange.close()
        await self.journal.close()
        if self._started:
            self._started = False
            events.emit(events.EngineStopped(self.site.options.site))

    async def reload(self, only: str = "") -> Reloaded:
        """Take the site as its folder has it now, see ``engine.reload``. Raises ConfigError, and nothing has changed."""
        async with self.steering:  # read under it too: of two reloads at once the later one has the later files
            site = await asyncio.to_thread(load, self.site.root)
            return await Reload(self, site, only).run()

    def _broken(self, error: JournalError) -> None:
        if not self.failed.is_set():
            events.emit(events.JournalFailed(str(error)))
            self.failed.set()
