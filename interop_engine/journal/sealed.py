"""An encrypted journal: the contract over another journal, sealing what is written and opening what is read.

Both adapters are encrypted by this one layer (see ``records`` for what is sealed); neither knows of it but for keeping which
keys it is written with. An item that does not open parks, as one does whose digest differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from interop_engine.core.errors import CORRUPT, JournalBroken, UnknownItem
from interop_engine.core.model import Delivery, Known, Outcome, Park, Question, Receipt, Received, Report
from interop_engine.journal import texts
from interop_engine.journal.base import (
    Attempt,
    Forward,
    Journal,
    JournalHealth,
    Lease,
    MessageRow,
    NewMessage,
    Queue,
    QueueCount,
    Selection,
    Stored,
)
from interop_engine.journal.keys import Keys
from interop_engine.journal.records import Records


class SealedJournal:
    """The contract, over a journal that is written with ``keys``."""

    def __init__(self, journal: Journal, keys: Keys) -> None:
        self._journal = journal
        self._records = Records(keys)

    # --- sealed and opened --------------------------------------------------------------------------------------------

    async def accept(self, message: NewMessage) -> Stored:
        """Commit a message, or find that it is a duplicate."""
        stored = await self._journal.accept(self._records.message(message))
        return replace(stored, reply=self._records.reply(stored.reply, message))

    async def lease(self, queue: Queue, owner: str) -> Lease:
        """Wait until an item of the queue is due and free, and take it."""
        while True:
            lease = await self._journal.lease(queue, owner)
            try:
                try:
                    return await self._open_lease(lease)
                except JournalBroken as error:
                    await self._park_corrupt(lease, str(error))
            except BaseException:
                await self._journal.release(lease)
                raise

    async def _open_lease(self, lease: Lease) -> Lease:
        if lease.delivery is not None:
            delivery = self._records.delivery(lease.delivery)
            return replace(lease, lanes=delivery.lanes, delivery=delivery)
        assert lease.message is not None, "a lease is of a message or a delivery"
        message = await self._open_message(lease.message)
        return replace(lease, lanes=message.lanes, message=message)

    async def _park_corrupt(self, lease: Lease, why: str) -> None:
        if lease.delivery is None:
            await self._journal.park(lease, CORRUPT, why)
        else:
            await self._journal.settle(lease, Park(CORRUPT, why))

    async def _open_message(self, got: Received) -> Received:
        """A message that is the one its row says; of a replay, the one that was first received, as far as that is still known."""
        opened, origin = self._records.received(got)
        of = got.replay_of
        while of is not None and of != origin:
            try:
                of = (await self._journal.show(of)).replay_of
            except UnknownItem:
                return opened
            if of is None:
                raise JournalBroken("A row of the journal is not as it was written: it is another message's replay.")
        return opened

    async def known(self, question: Question, destinations: Sequence[str]) -> Known:
        """Answer a question."""
        known = await self._journal.known(self._records.question(question), [texts.name(place) for place in destinations])
        return self._records.known(known, question, destinations)

    async def forward(self, lease: Lease, forward: Forward) -> bool:
        """Write what a transformation made; False where its ``Known`` is out of date."""
        assert lease.message is not None, "only the message of a lease is forwarded"
        return await self._journal.forward(lease, self._records.forward(forward, lease.message.id))

    async def park(self, lease: Lease, code: str, why: str, findings: Sequence[str] = ()) -> None:
        """Park the message of a lease."""
        assert lease.message is not None, "only the message of a lease is parked"
        of = lease.message.id
        await self._journal.park(lease, code, self._records.why(why, of), self._records.findings(findings, of))

    async def settle(self, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None, took: float = 0.0) -> None:
        """Settle the delivery of a lease."""
        assert lease.delivery is not None, "only the delivery of a lease is settled"
        sealed = self._records.outcome(outcome, lease.delivery.message_id)
        await self._journal.settle(lease, sealed, due_at=due_at, took=took)

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        return [self._records.row(row) for row in await self._journal.search(self._records.selection(selection))]

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
        return self._records.row(await self._journal.show(message_id))

    async def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made, oldest first."""
        return [self._records.attempt(each, message_id) for each in await self._journal.attempts(message_id)]

    async def content(self, message_id: str) -> Received:
        """The message's bytes as received."""
        return await self._open_message(await self._journal.content(message_id))

    async def body(self, delivery_id: str) -> Delivery:
        """The exact bytes of a delivery."""
        return self._records.delivery(await self._journal.body(delivery_id))

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message, with a reason."""
        await self._journal.discard(message_id, self._records.why(why, message_id), to=to, code=code, waiting=waiting)

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return self._records.unread(await self._journal.unread())

    # --- as they are --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the journal; raises JournalError where these are not its keys."""
        await self._journal.open()

    async def close(self) -> None:
        """Close it."""
        await self._journal.close()

    def holds(self, lease: Lease) -> bool:
        """Whether nobody else can have the item."""
        return self._journal.holds(lease)

    async def release(self, lease: Lease) -> None:
        """Give an item back unsettled."""
        await self._journal.release(lease)

    async def replay(
        self, message_id: str, *, config: str = "", only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again, as a new one that cites the old: returns its id."""
        return await self._journal.replay(message_id, config=config, only=only, then=then, resend=resend, once=once)

    async def retry(self, delivery_id: str) -> str | None:
        """Make a parked or waiting delivery due now."""
        return await self._journal.retry(delivery_id)

    async def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""
        return await self._journal.counts()

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""
        return await self._journal.totals()

    async def stored(self) -> Mapping[str, int]:
        """Bytes of what each channel's messages and deliveries hold."""
        return await self._journal.stored()

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return await self._journal.last_received()

    async def keep_config(self, config: str, text: str, commit: str = "") -> None:
        """Keep a configuration snapshot by its digest: it holds no patient's data, and no secret."""
        await self._journal.keep_config(config, text, commit)

    async def config(self, config: str) -> str:
        """A configuration snapshot by its digest."""
        return await self._journal.config(config)

    async def reports(self, after: int = 0, limit: int = 200) -> list[Report]:
        """What senders on the exchange are to be told."""
        return await self._journal.reports(after, limit)

    async def reported(self, numbers: Sequence[int]) -> None:
        """These reports were sent."""
        await self._journal.reported(numbers)

    async def keep_receipts(self, by: str, receipts: Sequence[Receipt]) -> None:
        """Keep what a receiver says with its deliveries."""
        await self._journal.keep_receipts(by, receipts)

    async def overdue(self, before: datetime) -> Mapping[Queue, int]:
        """Of deliveries that receivers on the exchange took before: how many have no last word."""
        return await self._journal.overdue(before)

    async def prune(self, *, before: datetime | None = None, channel: str | None = None, most: int = 50) -> int:
        """Remove some of the oldest messages that are done; returns how many."""
        return await self._journal.prune(before=before, channel=channel, most=most)

    async def shrink(self, limit: int = 0) -> bool:
        """Give a little of the free space back to the disk."""
        return await self._journal.shrink(limit)

    async def workers(self) -> tuple[int, int]:
        """This node's place among those that work on the journal."""
        return await self._journal.workers()

    async def health(self) -> JournalHealth:
        """How the journal is."""
        return await self._journal.health()
