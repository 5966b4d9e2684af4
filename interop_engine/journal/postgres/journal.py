"""The contract, on PostgreSQL. Called from one event loop; see the package's docstring for the rooms it is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from interop_engine.core import events
from interop_engine.core.errors import CORRUPT, JournalBroken, JournalError, NothingToDiscard, UnknownItem
from interop_engine.core.model import Delivery, Known, Outcome, Question, Receipt, Received, Report, new_id
from interop_engine.journal import codec
from interop_engine.journal.base import (
    Attempt,
    Forward,
    JournalHealth,
    Lease,
    MessageRow,
    NewMessage,
    Queue,
    QueueCount,
    Selection,
    Stored,
)
from interop_engine.journal.postgres import jobs, reads, schema
from interop_engine.journal.postgres.calls import Row
from interop_engine.journal.postgres.desks import Desks
from interop_engine.journal.postgres.heart import Heart
from interop_engine.journal.postgres.listener import Listener
from interop_engine.journal.postgres.reads import Reads
from interop_engine.journal.postgres.writer import Writer

_APART_SECONDS = 1.0  # between two clocks, beyond which it is told
_ENDED = "The lease has ended: its item was handed out again or is settled."


class PostgresJournal:
    """A journal that several nodes share. ``lease_time``: after it the items of a worker that hangs are handed out again.

    Those of a node that died are, some seconds after it was last heard of (see ``Heart``).
    """

    def __init__(
        self, url: str, *, readonly: bool = False, window: timedelta, lease_time: timedelta, seals: Sequence[str] = ()
    ) -> None:
        self._url = url
        self._readonly = readonly
        self._seals = seals
        self._window = window // timedelta(microseconds=1)
        self._node = new_id()  # of this life of the process: its leases, and the stamps it gives out
        self._packer = codec.Packer()
        self._unpacker = codec.Unpacker()
        self._desks = Desks(lease_time // timedelta(microseconds=1), self._read)
        self._desks.when_unwanted = self._return
        self._reads = Reads(url)
        self._writer: Writer | None = None
        self._listener: Listener | None = None
        self._heart = Heart(url, self._node, self._desks)
        self._returning: set[asyncio.Task[Any]] = set()

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Create or migrate the schema, check the server, start the writer."""
        if self._readonly:
            try:
                await self._reads.new_seals(self._seals)
            except BaseException:
                await self._reads.close()
                raise
            return
        writer = Writer(self._url, self._node, self._desks, self._seals)
        try:
            await writer.start()
        except (psycopg.Error, OSError) as error:
            raise JournalError(f"The journal {schema.place(self._url)} cannot be opened: {schema.describe(error)}") from None
        self._writer = writer
        try:
            if new := await self._reads.new_seals(self._seals):
                await self._do(jobs.keep_seals(new), lambda _: None)
            await self._look_around()
        except BaseException:
            await self.close()
            raise
        self._listener = Listener(self._url, self._desks, lambda: writer.process)
        self._listener.start()
        self._heart.start()

    async def _look_around(self) -> None:
        """Warn of what makes a journal that several share less than it should be."""
        began = codec.now()
        clock, unguarded = await self._reads.surroundings()
        apart = ((began + codec.now()) / 2 - clock) / 1_000_000
        if abs(apart) > _APART_SECONDS:
            events.emit(events.ClockApart(round(apart, 1)))
        if unguarded:
            events.emit(events.ReplicaBehind())

    async def close(self) -> None:
        """Commit what is queued, give back what is leased, disconnect; who waits for a lease is told. Twice is harmless."""
        writer, self._writer = self._writer, None
        self._desks.close(JournalError("The journal is closed."))
        if self._listener is not None:
            await self._listener.stop()
        if self._returning:
            await asyncio.wait(self._returning)
        if writer is not None:
            await writer.stop()
        await self._heart.stop()
        await self._reads.close()

    @property
    def _writing(self) -> Writer:
        if self._readonly:
            raise JournalError("The journal is open for reading only.")
        if self._writer is None:
            raise JournalError("The journal is not open.")
        return self._writer

    async def _do(self, statement: jobs.Statement, read: Callable[[list[Row]], Any]) -> Any:
        return await self._writing.do(statement, read)

    # --- messages -----------------------------------------------------------------------------------------------------

    async def accept(self, message: NewMessage) -> Stored:
        """Commit a message, or find that it is a duplicate."""
        window = codec.window(message.known_for, self._window)
        stored: Stored = await self._do(jobs.accept(message, window, self._packer), lambda rows: Stored(*rows[0]))
        return stored

    async def forward(self, lease: Lease, forward: Forward) -> bool:
        """Write what a transformation made; False where its ``Known`` is out of date."""
        assert lease.message is not None, "only the message of a lease is forwarded"
        statement = jobs.forward(self._item(lease), lease.message, forward, self._packer, self._node)
        if statement is None:
            return False

        def read(rows: list[Row]) -> bool:
            if rows[0][0] != jobs.OUTDATED:
                self._end(lease, held=rows[0][0] == "done")
            return bool(rows[0][0] == "done")

        return bool(await self._do(statement, read))

    async def park(self, lease: Lease, code: str, why: str, findings: Sequence[str] = ()) -> None:
        """Park the message of a lease."""
        statement = jobs.park(self._item(lease), code, why, findings)
        await self._do(statement, lambda rows: self._end(lease, held=rows[0][0]))

    # --- deliveries ---------------------------------------------------------------------------------------------------

    async def settle(self, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None, took: float = 0.0) -> None:
        """Settle the delivery of a lease."""
        assert lease.delivery is not None, "only the delivery of a lease is settled"
        statement = jobs.settle(self._item(lease), outcome, due_at, took)
        await self._do(statement, lambda rows: self._end(lease, held=rows[0][0]))

    # --- leases -------------------------------------------------------------------------------------------------------

    async def lease(self, queue: Queue, owner: str) -> Lease:  # noqa: ARG002 - the node is what owns it among the nodes
        """Wait until an item of the queue is due and free, and take it. While the database is away this waits too."""
        self._writing.check()
        return await self._desks.wait(queue)

    def _read(self, queue: Queue, row: Row) -> Lease | None:
        """The lease of an item; None where it is not as it was written, and then it parks."""
        *rest, seq, fence = row
        try:
            if queue.destination is None:
                message = reads.received(rest, self._unpacker)
                return Lease(queue, message.lanes, fence, message=message)
            delivery = reads.delivery(rest, self._unpacker)
            return Lease(queue, delivery.lanes, fence, delivery=delivery)
        except JournalBroken as error:
            item = jobs.Item(queue, seq, fence)
            self._aside(jobs.park_corrupt(item, CORRUPT, str(error)))
            return None

    def holds(self, lease: Lease) -> bool:
        """Whether an item is this node's without any doubt, now."""
        return self._desks.holds(lease.fence)

    async def release(self, lease: Lease) -> None:
        """Give an item back unsettled. Where the database is away, that is done when it is back."""
        if (seq := self._desks.seq(lease.fence)) is None:
            return
        self._desks.forget(lease.fence)
        with contextlib.suppress(JournalError):
            await self._do(jobs.give_back(jobs.Item(lease.queue, seq, lease.fence)), lambda _: None)

    def _return(self, lease: Lease) -> None:
        seq = self._desks.seq(lease.fence)
        assert seq is not None
        self._desks.forget(lease.fence)
        self._aside(jobs.give_back(jobs.Item(lease.queue, seq, lease.fence)))

    def _aside(self, statement: jobs.Statement) -> None:
        """A write nobody waits for. Where it fails, the lease's time ends it."""

        async def write() -> None:
            with contextlib.suppress(JournalError):
                await self._do(statement, lambda _: None)

        task = asyncio.create_task(write())
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    def _item(self, lease: Lease) -> jobs.Item:
        if (seq := self._desks.seq(lease.fence)) is None:
            raise UnknownItem(_ENDED)
        return jobs.Item(lease.queue, seq, lease.fence)

    def _end(self, lease: Lease, *, held: bool) -> None:
        """The lease has ended, by this write or, where ``held`` is false, before it."""
        self._desks.forget(lease.fence)
        if not held:
            raise UnknownItem(_ENDED)

    # --- what is known, listings, content -----------------------------------------------------------------------------

    async def known(self, question: Question, destinations: Sequence[str]) -> Known:
        """Answer a question."""
        return await self._reads.known(question, destinations, self._node)

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        return await self._reads.search(selection)

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
        return await self._reads.show(message_id)

    async def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made, oldest first."""
        return await self._reads.attempts(message_id)

    async def content(self, message_id: str) -> Received:
        """The message's bytes as received, verified."""
        return await self._reads.received(message_id)

    async def body(self, delivery_id: str) -> Delivery:
        """The exact bytes of a delivery, verified."""
        return await self._reads.delivery(delivery_id)

    async def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""
        return await self._reads.counts()

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""
        return await self._reads.totals()

    async def stored(self) -> Mapping[str, int]:
        """Bytes of what each channel's messages and deliveries hold, compressed; rows, indexes and free room not counted."""
        return await self._reads.stored()

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return await self._reads.last_received()

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return await self._reads.unread()

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def reports(self, after: int = 0, limit: int = 200) -> list[Report]:
        """What senders on the exchange are to be told."""
        return await self._reads.reports(after, limit)

    async def reported(self, numbers: Sequence[int]) -> None:
        """These reports were sent."""
        await self._do(jobs.reported(numbers), lambda _: None)

    async def keep_receipts(self, by: str, receipts: Sequence[Receipt]) -> None:
        """Keep what a receiver says with its deliveries."""
        await self._do(jobs.keep_receipts(by, receipts), lambda _: None)

    async def overdue(self, before: datetime) -> Mapping[Queue, int]:
        """How many deliveries, taken before, have no receipt but that they were accepted."""
        return await self._reads.overdue(before)

    async def workers(self) -> tuple[int, int]:
        """This node's place among those that beat."""
        return await self._reads.workers(self._node)

    async def health(self) -> JournalHealth:
        """How the journal is."""
        place = schema.place(self._url)
        try:
            size = await self._reads.size()
        except JournalError as error:
            return JournalHealth("postgres", place, 0, 0, str(error))
        problem = self._writer.problem if self._writer is not None else "" if self._readonly else "The journal is not open."
        return JournalHealth("postgres", place, size, 0, problem, size)

    # --- operators ----------------------------------------------------------------------------------------------------

    async def replay(
        self, message_id: str, *, config: str = "", only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again, as a new one that cites the old; returns its id."""
        new = new_id()

        def read(rows: list[Row]) -> str:
            if rows[0][0] is None:
                raise UnknownItem(f"There is no message {message_id}.")
            channel, made = rows[0][0]
            self._writing.announce(Queue(channel))
            return str(made)

        statement = jobs.replay(message_id, new, config, only, then=then, resend=resend, once=once)
        return str(await self._do(statement, read))

    async def retry(self, delivery_id: str) -> str | None:
        """Make a parked or waiting delivery due now, or receive its message again where it is overtaken."""
        new = new_id()

        def read(rows: list[Row]) -> str | None:
            if rows[0][0] is None:
                raise UnknownItem(f"There is no delivery {delivery_id}.")
            channel, destination, state = rows[0][0]
            if state not in {"parked", "waiting", "overtaken"}:
                raise UnknownItem(f"The delivery {delivery_id} is {state}: it cannot be tried again.")
            self._writing.announce(Queue(channel, destination))
            if state != "overtaken":
                return None
            self._writing.announce(Queue(channel))
            return new

        made: str | None = await self._do(jobs.retry(delivery_id, new), read)
        return made

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message; with ``waiting`` also what waits."""

        def read(rows: list[Row]) -> None:
            if rows[0][0] is None:
                raise UnknownItem(f"There is no message {message_id}.")
            if not rows[0][0]:
                raise NothingToDiscard
            channel, *destinations = rows[0][0]
            for destination in destinations:
                self._writing.announce(Queue(channel, destination))

        await self._do(jobs.discard(message_id, why, to, code, waiting=waiting), read)

    async def prune(self, *, before: datetime | None = None, channel: str | None = None, most: int = 50) -> int:
        """Remove some of the oldest messages that are done; returns how many."""
        _ = self._writing
        if not (chosen := await self._reads.oldest(before, channel, most)):
            return 0
        removed: int = await self._do(jobs.prune(chosen), lambda rows: int(rows[0][0]))
        return removed

    async def shrink(self, limit: int = 0) -> bool:  # noqa: ARG002 - the database's room is its own
        """Nothing: the database uses free space again, and gives back what it likes."""
        return False

    async def keep_config(self, config: str, text: str, commit: str = "") -> None:
        """Keep a configuration snapshot by its digest, once."""
        await self._do(jobs.keep_config(config, text, commit, self._packer), lambda _: None)

    async def config(self, config: str) -> str:
        """A configuration snapshot by its digest."""
        return await self._reads.config(config)
