"""The leases in force, and the lines they are of. What was just written is kept warm for whoever leases it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from interop_engine.core.errors import CORRUPT, JournalBroken, UnknownItem
from interop_engine.core.model import Delivery, Received
from interop_engine.journal import codec
from interop_engine.journal.base import Lease, NewMessage, Queue
from interop_engine.journal.sqlite import changes
from interop_engine.journal.sqlite.lanes import Item, Line
from interop_engine.journal.sqlite.reads import Reads
from interop_engine.journal.sqlite.warm import Warm
from interop_engine.journal.sqlite.writer import Writer

_AGAIN = 1_000_000  # microseconds until an item that could not be read is handed out again: others go before it


@dataclass(slots=True, eq=False)
class _Held:
    """A lease in force."""

    line: Line
    item: Item
    until: float  # of the event loop's clock
    owner: str


class Leases:
    """All leases of a journal; each ends after ``seconds`` where nobody settles it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lines: dict[Queue, Line] = {}
        self._held: dict[int, _Held] = {}
        self._fence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._warm_messages: Warm[Received] = Warm()
        self._warm_deliveries: Warm[Delivery] = Warm()

    # --- workers ------------------------------------------------------------------------------------------------------

    async def take(self, queue: Queue, owner: str, reads: Reads, writer: Writer) -> Lease:
        """Wait until an item of the queue is due and free, and take it."""
        if (line := self._lines.get(queue)) is None:
            line = self._lines[queue] = Line(queue, partial(reads.due, queue))
        while True:
            if broken := writer.broken:
                raise JournalBroken(broken)
            self._fence += 1
            if (item := line.take(self._fence)) is None:
                await line.wait()
                continue
            try:
                lease = await self._hand_out(line, item, reads, writer)
            except BaseException:
                line.give_back(item, codec.now() + _AGAIN)
                raise
            if lease is not None:
                now = asyncio.get_running_loop().time()
                self._held[lease.fence] = _Held(line, item, now + self._seconds, owner)
                self._watch(self._seconds)
                return lease

    async def _hand_out(self, line: Line, item: Item, reads: Reads, writer: Writer) -> Lease | None:
        """The lease of an item; None where it is not due any more, or is not as it was written (then it parks)."""
        queue = line.queue
        try:
            if queue.destination is None:
                message = self._warm_messages.take(item.seq) or reads.due_message(item.seq)
                if message is not None:
                    return Lease(queue, item.lanes, item.fence, message=message)
            else:
                delivery = self._warm_deliveries.take(item.seq) or reads.due_delivery(item.seq)
                if delivery is not None:
                    return Lease(queue, item.lanes, item.fence, delivery=delivery)
        except JournalBroken as error:
            await writer.do(partial(changes.park_corrupt, queue=queue, seq=item.seq, code=CORRUPT, why=str(error)))
        line.finish(item)
        return None

    def item(self, lease: Lease) -> Item:
        """The item of a lease. Raises UnknownItem where the lease has ended."""
        if (held := self._held.get(lease.fence)) is None:
            raise UnknownItem("The lease has ended: its item was handed out again or is settled.")
        return held.item

    def finish(self, fence: int) -> None:
        """A lease ended, and its item left the queue."""
        if (held := self._held.pop(fence, None)) is not None:
            held.line.finish(held.item)

    def give_back(self, fence: int, due: int | None) -> None:
        """A lease ended, and its item stays: due again at ``due`` (microseconds), or now."""
        if (held := self._held.pop(fence, None)) is not None:
            held.line.give_back(held.item, due)

    def fail(self, error: Exception) -> None:
        """Everyone who waits gets the error."""
        if self._timer is not None:
            self._timer.cancel()
        for line in self._lines.values():
            line.fail(error)

    # --- what was committed -------------------------------------------------------------------------------------------

    def add_message(self, seq: int, message: NewMessage) -> None:
        """A message joined its queue."""
        if (line := self._lines.get(Queue(message.channel))) is not None:
            self._warm_messages.put(seq, len(message.data), _received(message))
            line.add(seq, message.lanes)

    def add_delivery(self, seq: int, delivery: Delivery) -> None:
        """A delivery joined its queue."""
        if (line := self._lines.get(Queue(delivery.channel, delivery.destination))) is not None:
            self._warm_deliveries.put(seq, len(delivery.body), delivery)
            line.add(seq, delivery.lanes)

    def add(self, queue: Queue, seq: int, lanes: tuple[str, ...]) -> None:
        """An item joined its queue, or is due again."""
        if (line := self._lines.get(queue)) is not None:
            line.add(seq, lanes)

    def leave(self, places: tuple[changes.Place, ...]) -> None:
        """Items left their queues without being settled."""
        for queue, seq in places:
            if (line := self._lines.get(queue)) is not None:
                line.remove(seq)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        """One timer for the oldest lease: all live equally long."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end_old_leases)

    def _end_old_leases(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for fence, held in list(self._held.items()):
            if held.until > now:
                self._watch(held.until - now)
                return
            self.give_back(fence, None)


def _received(message: NewMessage) -> Received:
    return Received(
        message.id,
        message.channel,
        message.data,
        message.media,
        message.received_at,
        message.peer,
        message.control_id,
        message.message_type,
        message.digest,
        message.lanes,
        message.headers,
        message.replay_of,
    )
