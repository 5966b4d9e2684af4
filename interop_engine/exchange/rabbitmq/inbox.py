"""A receiver's queues that are read together, and the channels of this process that they feed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from aio_pika.abc import AbstractConnection

from interop_engine.core.events import emit
from interop_engine.exchange.base import RECEIPT, Parcel, Take
from interop_engine.exchange.events import ParcelFaulty, TakeFailed
from interop_engine.exchange.rabbitmq.link import BROKER_ERRORS, Link, OnlyOurCancellation, words
from interop_engine.exchange.rabbitmq.reader import OPEN, Reader, first_of, prefetch
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.share import Share
from interop_engine.exchange.rabbitmq.topology import Queues, bind_queues, declare_queues
from interop_engine.exchange.rules import FAULT

_FIRST_PAUSE: Final = 0.05  # seconds between offers of a parcel that is not taken
_LAST_PAUSE: Final = 5.0


class RabbitSubscription:
    """One channel's place on the exchange."""

    def __init__(self, inbox: Inbox, kinds: frozenset[str], take: Take) -> None:
        self.kinds = kinds
        self.closed = asyncio.Event()
        self._inbox = inbox
        self._take = take
        self._offers = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def close(self) -> None:
        """Stop taking, after the takes that are under way."""
        if not self.closed.is_set():
            self.closed.set()
            await self._inbox.left(self)
            await self._idle.wait()

    async def offer(self, parcel: Parcel, ended: asyncio.Event) -> bool:
        """Offer the parcel until it is taken: waiting here keeps the order. False where we stop first."""
        self._offers += 1
        self._idle.clear()
        try:
            return await self._offer(parcel, ended)
        finally:
            self._offers -= 1
            if not self._offers:
                self._idle.set()

    async def _offer(self, parcel: Parcel, ended: asyncio.Event) -> bool:
        pause = _FIRST_PAUSE
        while not self.closed.is_set() and not ended.is_set():
            try:
                if await self._take(parcel):
                    return True
            except Exception as error:  # noqa: BLE001 - whatever a channel does wrong, the parcel stays in the queue
                emit(TakeFailed(parcel.receiver, parcel.delivery_id, type(error).__name__))
            await first_of(self.closed, ended, seconds=pause)
            pause = min(pause * 2, _LAST_PAUSE)
        return False


class Inbox:
    """Reads a receiver's queues while somebody here is subscribed."""

    def __init__(self, queues: Queues, share: Share, link: Link, settings: Settings) -> None:
        self.subscriptions: list[RabbitSubscription] = []
        self._queues = queues
        self._share = share
        self._link = link
        self._settings = settings
        self._kinds: set[str] = set()  # of all subscriptions, those that left too: their parcels wait for them
        self._bound: frozenset[str] = frozenset()  # of those, the ones that are bound on this connection
        self._changing = asyncio.Lock()
        self._readers: list[Reader] = []

    @property
    def receiver(self) -> str:
        """Whose it is."""
        return self._queues.receiver

    @property
    def waiting(self) -> Iterator[str]:
        """What waits for a channel that is stopped, in words."""
        for kind in sorted({each.kind for each in self._readers} - {""}):
            held = sum(each.held for each in self._readers if each.kind == kind)
            yield (
                f'the channel that receives {kind} as "{self.receiver}" is stopped: at least {held} parcels wait for it at the'
                " broker, of other kinds too"
            )

    def add(self, subscription: RabbitSubscription) -> None:
        """Feed it from when the inbox is next opened."""
        self.subscriptions.append(subscription)
        self._kinds |= subscription.kinds

    async def joined(self, subscription: RabbitSubscription, connection: AbstractConnection) -> None:
        """Feed one more, on a connection that is up; what waited for it comes now."""
        self.add(subscription)
        try:
            await self.open(connection)
        except BROKER_ERRORS as error:
            self._link.drop(words(error))
        for reader in self._readers:
            if reader.kind in subscription.kinds:
                reader.resume()

    async def left(self, subscription: RabbitSubscription) -> None:
        """Take a subscription away; the last one closes the inbox."""
        self.subscriptions.remove(subscription)
        if not self.subscriptions:
            await self.shut()

    async def open(self, connection: AbstractConnection) -> None:
        """Declare and bind what is not yet, and read. Raises what the broker answers."""
        async with self._changing:
            if not self.subscriptions:
                return
            try:
                async with asyncio.timeout(OPEN):  # of the broker, and not of a take that somebody waited for above
                    if self._settings.declare and not self._kinds <= self._bound:
                        with OnlyOurCancellation():
                            await self._declare(connection)
                    if not self._readers:
                        await self._read(connection)
            except BaseException:
                await self._shut()
                raise

    async def _read(self, connection: AbstractConnection) -> None:
        names, ahead = self._queues.names, prefetch(len(self._queues.names))
        self._readers = [
            Reader(name, turn, self.receiver, ahead, self._hand_over, self._link, self._settings)
            for name, turn in zip(names, self._share.turns(len(names)), strict=True)
        ]
        opened = await asyncio.gather(*(reader.open(connection) for reader in self._readers), return_exceptions=True)
        for problem in filter(None, opened):
            raise problem

    async def _declare(self, connection: AbstractConnection) -> None:
        kinds = frozenset(self._kinds)
        channel = await connection.channel(publisher_confirms=False)
        if self._bound:
            await bind_queues(channel, self._queues, sorted(kinds - self._bound))
        else:
            await declare_queues(connection, channel, self._queues, sorted(kinds))
        await channel.close()
        self._bound = kinds

    async def shut(self) -> None:
        """Stop reading, after the takes that are under way."""
        async with self._changing:
            await self._shut()

    async def _shut(self) -> None:
        readers, self._readers, self._bound = self._readers, [], frozenset()
        await asyncio.gather(*(reader.shut() for reader in readers))

    async def _hand_over(self, parcel: Parcel, ended: asyncio.Event) -> bool:
        """True once every subscription that wants the parcel has it; False at the end, and where none takes it now."""
        if RECEIPT not in self._kinds and parcel.kind == RECEIPT:
            return True  # a binding that was made by hand, or long ago: the queue of receipts has it too
        if FAULT not in parcel.headers and parcel.kind not in self._kinds:
            parcel = replace(parcel, headers={**parcel.headers, FAULT: "no channel of this node receives this kind"})
        if FAULT in parcel.headers:
            emit(ParcelFaulty(self.receiver, parcel.headers[FAULT]))
        while not ended.is_set() and (takers := self._takers(parcel)):
            if all([await taker.offer(parcel, ended) for taker in takers]):
                return True
        return False

    def _takers(self, parcel: Parcel) -> Sequence[RabbitSubscription]:
        wanting = [each for each in self.subscriptions if parcel.kind in each.kinds]
        return wanting or (self.subscriptions[:1] if FAULT in parcel.headers else ())
