"""Reading one queue: parcels of one bucket one at a time in their order, acknowledged after the receiver's journal has them.

A queue has a channel of its own at the broker, and so can be given back alone: all that was not acknowledged returns to it in
its order, and goes to the node that stands by, or waits there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import DeliveredMessage

from interop_engine.core.events import emit
from interop_engine.exchange.base import Parcel
from interop_engine.exchange.events import TakeFailed
from interop_engine.exchange.rabbitmq import wire
from interop_engine.exchange.rabbitmq.link import BROKER_ERRORS, Link, OnlyOurCancellation, words
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.share import STAND_BY, Turn
from interop_engine.exchange.rabbitmq.topology import TopologyError

OPEN: Final = 15.0  # seconds for declaring and opening on a connection that is up
_AHEAD: Final = 64  # parcels that a receiver's queues may hold here ahead of their turn, all together: each may be a scanned film
_LEAST: Final = 2  # of one queue: the next is here when the first is acknowledged
_ACK: Final = 3.0  # seconds for writing an ack: on a connection that died, the library waits for ever
_CLOSE: Final = 2.0  # seconds for closing a channel


def prefetch(queues: int) -> int:
    """How many parcels of each of so many queues are here at once.

    The same for every worker and at every time: a quorum queue puts what comes back behind what came back before. Who
    takes a queue over must therefore take all that came back at once, or what it gives back in turn is overtaken.
    """
    return max(_LEAST, _AHEAD // queues)


class _Run:
    """The life of one channel: what it was sent, and its end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.held = 0  # parcels that are here and not acknowledged
        self._waiting: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()

    async def arrived(self, message: DeliveredMessage) -> None:
        """The library's callback; it is called in the queue's order."""
        self.held += 1
        self._waiting.put_nowait(message)

    def end(self) -> None:
        """Hand out nothing more."""
        self.ended.set()
        self._waiting.put_nowait(None)

    async def next(self) -> DeliveredMessage | None:
        """The next message, or None at the end."""
        message = await self._waiting.get()
        return None if self.ended.is_set() else message


# Hands a parcel over until the event says that all ends. False before that: no channel takes it now.
HandOver = Callable[[Parcel, asyncio.Event], Awaitable[bool]]


class Reader:
    """One queue of a receiver. ``kind`` is what no channel takes now, so that the queue is given back; empty while it is read."""

    def __init__(
        self, queue: str, turn: Turn, receiver: str, ahead: int, hand_over: HandOver, link: Link, settings: Settings
    ) -> None:
        """``ahead``: see ``prefetch``."""
        self.kind = ""
        self.held = 0  # parcels that went back with the one of that kind
        self._queue = queue
        self._turn = turn
        self._receiver = receiver
        self._ahead = ahead
        self._hand_over = hand_over
        self._link = link
        self._settings = settings
        self._run = _Run()
        self._ended = asyncio.Event()
        self._resumed = asyncio.Event()
        self._channel: AbstractChannel | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, connection: AbstractConnection) -> None:
        """Read the queue from now on, another worker's a little later. Raises what the broker answers; ``shut`` it then too."""
        if self._turn.own:
            await self._consume(connection)
        self._task = asyncio.create_task(self._read(connection), name=f"queue {self._queue}")

    def resume(self) -> None:
        """A channel takes ``kind`` again."""
        self._resumed.set()

    async def shut(self) -> None:
        """Stop, after the takes that are under way; the rest goes back to the queue in its order."""
        self._ended.set()
        self._run.end()
        if self._task is not None:
            await self._task
        await self._close()

    async def _consume(self, connection: AbstractConnection) -> None:
        run = self._run = _Run()
        with OnlyOurCancellation():
            self._channel = channel = await connection.channel(publisher_confirms=False)
            await channel.set_qos(prefetch_count=self._ahead)
            # Consumed on the channel below, which spares a task and two objects a message.
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._cancelled)
            try:
                await underlay.basic_consume(self._queue, run.arrived)
            except ChannelNotFoundEntity:
                if self._settings.declare:
                    raise
                raise TopologyError(f"the queue {self._queue} is not there: import the definitions") from None
            channel.close_callbacks.add(self._closed(run))
        if self._ended.is_set():  # meanwhile
            run.end()

    async def _read(self, connection: AbstractConnection) -> None:
        """Until the end; while no channel takes what comes next, or another worker is let before, the broker has the queue."""
        while True:
            if self._channel is None and not await self._come(connection):
                return
            let_before = await self._work(self._run)
            self.held = self._run.held
            await self._close()
            if not self.kind and not let_before:
                return

    async def _come(self, connection: AbstractConnection) -> bool:
        """Consume once that is due; False where it cannot be, or all ends."""
        if self.kind:
            await first_of(self._resumed, self._ended)
        elif not self._turn.own:
            await first_of(self._turn.changed, self._ended, seconds=STAND_BY)
        if self._ended.is_set():
            return False
        self.kind = ""
        try:
            async with asyncio.timeout(OPEN):
                await self._consume(connection)
        except BROKER_ERRORS as error:
            self._link.drop(words(error))
            return False
        return True

    async def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            with contextlib.suppress(*BROKER_ERRORS):
                async with asyncio.timeout(_CLOSE):
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

    async def _work(self, run: _Run) -> bool:
        """Take what arrives: buckets side by side, so that they wait for one commit together; within a bucket in turn.

        True where it ended to let another worker before; what was not taken then goes back with the channel, in its order.
        """
        under_way: dict[str, asyncio.Task[bool]] = {}
        let_before = False
        while (message := await run.next()) is not None:
            if let_before := self._turn.is_over():
                run.end()
                break
            bucket = (message.routing_key or "").rpartition(".")[2]
            task = asyncio.create_task(self._take(message, under_way.get(bucket), run))
            under_way[bucket] = task
        await asyncio.gather(*under_way.values())
        return let_before

    async def _take(self, message: DeliveredMessage, before: asyncio.Task[bool] | None, run: _Run) -> bool:
        """Hand over and acknowledge, after what came before; False where that, or this, stays in the queue."""
        try:
            if before is not None and not await before:
                return False
            parcel = wire.unpack(message, self._receiver, verified=not self._settings.declare)
            if not await self._hand_over(parcel, run.ended):
                self._give_back(parcel.kind, run)
                return False
            async with asyncio.timeout(_ACK):
                with OnlyOurCancellation():
                    await message.channel.basic_ack(message.delivery_tag or 0)
            run.held -= 1
        except BROKER_ERRORS:
            self._link.drop("a parcel could not be acknowledged")  # it comes again, with the same delivery id
            return False
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave a queue that nobody reads
            emit(TakeFailed(self._receiver, "", type(error).__name__))
            self._link.drop("consuming failed")
            return False
        return True

    def _give_back(self, kind: str, run: _Run) -> None:
        """Read no more until a channel takes the kind: what is held here too long, the broker takes for a fault of ours."""
        if not run.ended.is_set():
            self._resumed.clear()
            self.kind = kind
            run.end()


async def first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for any of the events, at most ``seconds``."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
