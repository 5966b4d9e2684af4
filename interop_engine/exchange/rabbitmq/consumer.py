"""Consuming: parcels of one bucket one at a time in their order, acknowledged after the receiver's journal has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from interop_engine.core.events import emit
from interop_engine.exchange.base import Parcel, Take
from interop_engine.exchange.events import ParcelFaulty, TakeFailed
from interop_engine.exchange.rabbitmq import wire
from interop_engine.exchange.rabbitmq.link import BROKER_ERRORS, Link, OnlyOurCancellation, words
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.topology import ensure_queues
from interop_engine.exchange.rules import FAULT

_PREFETCH = 32  # parcels held here ahead of their turn: no pause for a round trip, and few enough where each has a scanned film
_ACK = 3.0  # seconds for writing an ack: on a connection that died, the library waits for ever
_DECLARE = 15.0  # seconds for opening a queue on a connection that is up
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 5.0  # seconds between offers of a parcel that is not taken


class RabbitSubscription:
    """One channel's place on the exchange."""

    def __init__(self, inbox: Inbox, kinds: frozenset[str], take: Take) -> None:
        self.kinds = kinds
        self.closed = asyncio.Event()
        self._inbox = inbox
        self._take = take

    async def close(self) -> None:
        """Stop taking, after the take that is under way."""
        if not self.closed.is_set():
            self.closed.set()
            await self._inbox.left(self)

    async def offer(self, parcel: Parcel, ended: asyncio.Event) -> bool:
        """Offer the parcel until it is taken: waiting here keeps the order. False where we stop first."""
        pause = _FIRST_PAUSE
        while not self.closed.is_set() and not ended.is_set():
            try:
                if await self._take(parcel):
                    return True
            except Exception as error:  # noqa: BLE001 - whatever a channel does wrong, the parcel stays in the queue
                emit(TakeFailed(parcel.receiver, parcel.delivery_id, type(error).__name__))
            await _first_of(self.closed, ended, seconds=pause)
            pause = min(pause * 2, _LAST_PAUSE)
        return False


class _Run:
    """The life of one consumer's channel: what it was sent, and its end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._waiting: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()

    async def arrived(self, message: DeliveredMessage) -> None:
        """The library's callback; it is called in the queue's order."""
        self._waiting.put_nowait(message)

    def end(self) -> None:
        """Hand out nothing more."""
        self.ended.set()
        self._waiting.put_nowait(None)

    async def next(self) -> DeliveredMessage | None:
        """The next message, or None at the end."""
        message = await self._waiting.get()
        return None if self.ended.is_set() else message


class Inbox:
    """A receiver's queues, and the subscriptions in this process that they feed."""

    def __init__(self, receiver: str, link: Link, settings: Settings) -> None:
        self.receiver = receiver
        self.subscriptions: list[RabbitSubscription] = []
        self._link = link
        self._settings = settings
        self._kinds: set[str] = set()  # of all subscriptions, those that left too: their parcels wait for them
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._run = _Run()
        self._channel: AbstractChannel | None = None
        self._worker: asyncio.Task[None] | None = None

    async def joined(self, subscription: RabbitSubscription) -> None:
        """Add a subscription; its kinds are bound where the broker is there, and else when it comes."""
        self.subscriptions.append(subscription)
        self._kinds |= subscription.kinds
        self._changed.set()
        if (connection := self._link.connection) is not None:
            await self._reopen(connection)

    async def left(self, subscription: RabbitSubscription) -> None:
        """Take a subscription away; the last one closes the inbox."""
        self.subscriptions.remove(subscription)
        if not self.subscriptions:
            await self.shut()
        elif (connection := self._link.connection) is not None:  # what was being offered to it goes back to the queue
            await self._reopen(connection)

    async def _reopen(self, connection: AbstractConnection) -> None:
        try:
            async with asyncio.timeout(_DECLARE):
                await self.open(connection)
        except BROKER_ERRORS as error:
            self._link.drop(words(error))

    async def open(self, connection: AbstractConnection) -> None:
        """Declare, bind and consume, on a channel of its own; what an earlier channel had not acknowledged comes again."""
        async with self._changing:
            await self._shut()
            if not self.subscriptions:
                return
            run = self._run = _Run()
            with OnlyOurCancellation():
                self._channel = channel = await connection.channel(publisher_confirms=False)
                await channel.set_qos(prefetch_count=_PREFETCH)
                kinds, settings = sorted(self._kinds), self._settings
                queues = await ensure_queues(connection, channel, self.receiver, kinds, settings.queues, declare=settings.declare)
                underlay = await channel.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(self._cancelled)
                channel.close_callbacks.add(self._closed(run))
                self._worker = asyncio.create_task(self._work(run), name=f"inbox {self.receiver}")
                # Consumed on the channel below, which spares a task and two objects a message.
                for queue in queues:
                    await underlay.basic_consume(queue, run.arrived)

    async def shut(self) -> None:
        """Stop consuming, after the take that is under way; the rest goes back to the queue in its order."""
        async with self._changing:
            await self._shut()

    async def _shut(self) -> None:
        self._run.end()
        worker, self._worker = self._worker, None
        channel, self._channel = self._channel, None
        if worker is not None:
            await worker
        if channel is not None and not channel.is_closed:
            with contextlib.suppress(*BROKER_ERRORS):
                async with asyncio.timeout(2):
                    with OnlyOurCancellation():
                        await channel.close()

    def _closed(self, run: _Run) -> Any:
        def callback(_: Any, __: BaseException | None = None) -> None:
            if not run.ended.is_set():  # not by us
                run.end()
                self._link.drop("the broker closed a consumer's channel")

        return callback

    def _cancelled(self, _: Any) -> None:
        self._link.drop("the broker cancelled a consumer (was its queue deleted?)")

    async def _work(self, run: _Run) -> None:
        """Take what arrives: buckets side by side, so that they wait for one commit together; within a bucket in turn."""
        under_way: dict[str, asyncio.Task[bool]] = {}
        while (message := await run.next()) is not None:
            bucket = (message.routing_key or "").rpartition(".")[2]
            task = asyncio.create_task(self._take(message, under_way.get(bucket), run))
            under_way[bucket] = task
        await asyncio.gather(*under_way.values())

    async def _take(self, message: DeliveredMessage, before: asyncio.Task[bool] | None, run: _Run) -> bool:
        """Hand over and acknowledge, after what came before; False where that, or this, stays in the queue."""
        try:
            if before is not None and not await before:
                return False
            parcel = wire.unpack(message, self.receiver, verified=not self._settings.declare)
            if not await self._hand_over(parcel, run.ended):
                return False
            async with asyncio.timeout(_ACK):
                with OnlyOurCancellation():
                    await message.channel.basic_ack(message.delivery_tag or 0)
        except BROKER_ERRORS:
            self._link.drop("a parcel could not be acknowledged")  # it comes again, with the same delivery id
            return False
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave a queue that nobody reads
            emit(TakeFailed(self.receiver, "", type(error).__name__))
            self._link.drop("consuming failed")
            return False
        return True

    async def _hand_over(self, parcel: Parcel, ended: asyncio.Event) -> bool:
        """True once every subscription that wants the parcel has it."""
        if FAULT not in parcel.headers and parcel.kind not in self._kinds:
            headers = {**parcel.headers, FAULT: "no channel of this node receives this kind"}
            parcel = Parcel(**{**_fields(parcel), "headers": headers})
        if FAULT in parcel.headers:
            emit(ParcelFaulty(self.receiver, parcel.headers[FAULT]))
        while not ended.is_set():
            takers = self._takers(parcel)
            if takers:
                return all([await taker.offer(parcel, ended) for taker in takers])
            self._changed.clear()
            await _first_of(self._changed, ended)
        return False

    def _takers(self, parcel: Parcel) -> Sequence[RabbitSubscription]:
        wanting = [each for each in self.subscriptions if parcel.kind in each.kinds]
        return wanting or (self.subscriptions[:1] if FAULT in parcel.headers else ())


class Consumer:
    """All inboxes of a node, on a connection of their own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings, "consume", self._prepare, self._lost)
        self._inboxes: dict[str, Inbox] = {}

    @property
    def problem(self) -> str:
        """Empty while consuming works, or where nobody consumes."""
        return self._link.problem if self.receivers else ""

    @property
    def receivers(self) -> tuple[str, ...]:
        """Who receives here."""
        return tuple(sorted(name for name, inbox in self._inboxes.items() if inbox.subscriptions))

    async def subscribe(self, receiver: str, kinds: Sequence[str], take: Take, moment: float) -> RabbitSubscription:
        """Feed ``take``; from now on where the broker is there, and else from when it comes."""
        self._link.start()
        await self._link.wait_up(moment)
        inbox = self._inboxes.setdefault(receiver, Inbox(receiver, self._link, self._settings))
        subscription = RabbitSubscription(inbox, frozenset(kinds), take)
        await inbox.joined(subscription)
        return subscription

    async def close(self) -> None:
        """End for good, after the takes that are under way."""
        for inbox in self._inboxes.values():
            await inbox.shut()
        await self._link.close()

    async def _prepare(self, connection: AbstractConnection) -> None:
        for inbox in self._inboxes.values():
            await inbox.open(connection)

    async def _lost(self) -> None:
        for inbox in self._inboxes.values():
            await inbox.shut()


async def _first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for any of the events, at most ``seconds``."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _fields(parcel: Parcel) -> dict[str, Any]:
    return {name: getattr(parcel, name) for name in ("delivery_id", "sender", "receiver", "kind", "body", "media")}
