"""The contract, on SQLite. Called from one event loop; see the package's docstring for the rooms it is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import apsw

from interop_engine.core.errors import JournalBroken, JournalError
from interop_engine.core.model import Delivery, Known, Outcome, Question, Receipt, Received, Report, new_id
from interop_engine.journal import codec, texts
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
from interop_engine.journal.sqlite import changes, learned, operators, pruning, schema, statements, sweeping
from interop_engine.journal.sqlite import receipts as told
from interop_engine.journal.sqlite.leases import Leases
from interop_engine.journal.sqlite.reads import Reads
from interop_engine.journal.sqlite.sentstate import SentReader
from interop_engine.journal.sqlite.transaction import Transaction
from interop_engine.journal.sqlite.writer import Writer

_LARGE_WAL = 256 << 20
_LARGE_FILE = 256 << 20  # checking it takes longer than an engine may take to be back: it is done beside the work


class SqliteJournal:
    """A journal in one file. ``reserve``: bytes of the disk that accepting leaves free, so that the rest can be settled."""

    def __init__(
        self,
        path: Path,
        *,
        readonly: bool = False,
        reserve: int = 0,
        window: timedelta,
        lease_time: timedelta,
        seals: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._readonly = readonly
        self._seals = seals
        self._reserve = reserve
        self._window = window // timedelta(microseconds=1)
        self._guard = schema.Guard(path)
        self._done = pruning.Finder()
        self._leases = Leases(lease_time.total_seconds())
        self._opened: _Opened | None = None
        self._checking: apsw.Connection | None = None
        self._check: asyncio.Task[None] | None = None

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Create or migrate the file, check it, start the writer. No lease outlives a process: all unsettled is due."""
        if self._readonly:
            reader = await asyncio.to_thread(schema.connect_reader, self._path)
            try:
                schema.new_seals(reader, self._seals)
            except BaseException:
                reader.close()
                raise
            self._opened = _Opened(Reads(reader), None)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._guard.take()
        try:
            connection, transaction, reader = await asyncio.to_thread(self._prepare)
        except apsw.Error as error:
            self._guard.give_back()
            raise JournalBroken(f"The journal {self._path.name} cannot be opened: {error}") from None
        except BaseException:
            self._guard.give_back()
            raise
        writer = Writer(self._path, connection, transaction, self._reserve)
        writer.when_broken = self._break
        writer.start()
        self._opened = _Opened(Reads(reader), writer)
        if _size(self._path) > _LARGE_FILE:
            self._checking = schema.connect_reader(self._path)
            self._check = asyncio.create_task(self._check_beside(self._checking, writer))

    async def _check_beside(self, connection: apsw.Connection, writer: Writer) -> None:
        """Check a large file while it is in use; where it fails nothing more is written."""
        try:
            await asyncio.to_thread(schema.check_integrity, connection)
        except JournalBroken as error:
            writer.give_up(str(error))
        except apsw.InterruptError:
            return  # closing

    def _prepare(self) -> tuple[apsw.Connection, Transaction, apsw.Connection]:
        schema.check_library()
        connection = schema.connect_writer(self._path)
        try:
            if _size(self._path) <= _LARGE_FILE:
                schema.check_integrity(connection)
            for seal in schema.new_seals(connection, self._seals):
                connection.execute(statements.KEEP_SEAL, (seal,))
            return connection, Transaction(connection), schema.connect_reader(self._path)
        except BaseException:
            connection.close()
            raise

    async def close(self) -> None:
        """Commit what is queued and close; who waits for a lease is told. Twice is harmless."""
        if (opened := self._opened) is None:
            return
        self._opened = None
        if self._check is not None and self._checking is not None:
            self._checking.interrupt()
            await self._check
            self._checking.close()
        self._leases.fail(JournalError("The journal is closed."))
        opened.reads.connection.close()  # first: the last connection to close removes the write-ahead log
        if opened.writer is not None:
            await opened.writer.stop()
        self._guard.give_back()

    def _break(self) -> None:
        self._leases.fail(JournalBroken(self._writer.broken))

    @property
    def _reads(self) -> Reads:
        if self._opened is None:
            raise JournalError("The journal is not open.")
        return self._opened.reads

    @property
    def _writer(self) -> Writer:
        if self._opened is None:
            raise JournalError("The journal is not open.")
        if self._opened.writer is None:
            raise JournalError("The journal is open for reading only.")
        return self._opened.writer

    # --- messages -----------------------------------------------------------------------------------------------------

    async def accept(self, message: NewMessage) -> Stored:
        """Commit a message, or find that it is a duplicate."""
        message = texts.message(message, texts.sound)
        after = partial(self._after_accept, message)
        run = partial(changes.accept, message=message, window=codec.window(message.known_for, self._window))
        committed: changes.Committed = await self._writer.do(run, after, needs_room=True)
        return committed.stored

    def _after_accept(self, message: NewMessage, committed: changes.Committed) -> None:
        self._leases.leave(committed.left)
        if committed.seq and message.state == "received":
            self._leases.add_message(committed.seq, message)

    async def forward(self, lease: Lease, forward: Forward) -> bool:
        """Write what a transformation made; False where its ``Known`` is out of date."""
        item = self._leases.item(lease)
        assert lease.message is not None, "only the message of a lease is forwarded"
        run = partial(changes.forward, seq=item.seq, message=lease.message, made=texts.forward(forward, texts.sound))
        return await self._writer.do(run, partial(self._after_forward, lease.fence)) is not None

    def _after_forward(self, fence: int, written: list[changes.Forwarded] | None) -> None:
        if written is None:
            return
        self._leases.finish(fence)
        for each in written:
            self._leases.add_delivery(each.seq, each.delivery)

    async def park(self, lease: Lease, code: str, why: str, findings: Sequence[str] = ()) -> None:
        """Park the message of a lease."""
        item = self._leases.item(lease)
        why, findings = texts.plain(why), [texts.plain(each) for each in findings]
        run = partial(changes.park, seq=item.seq, channel=lease.queue.channel, code=texts.plain(code), why=why, findings=findings)
        await self._writer.do(run, lambda _: self._leases.finish(lease.fence))

    # --- deliveries ---------------------------------------------------------------------------------------------------

    async def settle(self, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None, took: float = 0.0) -> None:
        """Settle the delivery of a lease."""
        item = self._leases.item(lease)
        assert lease.delivery is not None, "only the delivery of a lease is settled"
        end = changes.End(texts.outcome(outcome), due_at, took)
        run = partial(changes.settle, seq=item.seq, delivery=lease.delivery, end=end)
        due = codec.micros(due_at) if due_at is not None else None
        after = partial(self._after_settle, lease.fence, due)
        await self._writer.do(run, after)

    def _after_settle(self, fence: int, due: int | None, _: None) -> None:
        if due is None:
            self._leases.finish(fence)
        else:
            self._leases.give_back(fence, due)

    # --- leases -------------------------------------------------------------------------------------------------------

    async def lease(self, queue: Queue, owner: str) -> Lease:
        """Wait until an item of the queue is due and free, and take it."""
        return await self._leases.take(queue, owner, self._reads, self._writer)

    def holds(self, lease: Lease) -> bool:  # noqa: ARG002 - no other node shares the file
        """Whether nobody else can have the item: always, but where its time is over, which ``settle`` says."""
        return True

    async def release(self, lease: Lease) -> None:
        """Give an item back unsettled."""
        self._leases.give_back(lease.fence, None)

    # --- what is known, listings, content -----------------------------------------------------------------------------

    async def known(self, question: Question, destinations: Sequence[str]) -> Known:
        """Answer a question; beside a running engine only of names and merges, for no destination."""
        asked, places = texts.question(question, texts.sound), [texts.name(place) for place in destinations]
        if self._readonly and not destinations:
            answer = learned.names(self._reads.connection, asked)
        else:
            reads, writer = self._reads, self._writer
            sent = SentReader(reads.connection, reads.unpacker, writer.recent)
            answer = learned.answer(reads.connection, writer.changes, writer.merges, sent, asked, places)
        return texts.known(answer, question, destinations, texts.sound)

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        return self._reads.search(selection)

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
        return self._reads.show(message_id)

    async def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made, oldest first."""
        return self._reads.attempts(message_id)

    async def content(self, message_id: str) -> Received:
        """The message's bytes as received, verified."""
        return self._reads.received(message_id)

    async def body(self, delivery_id: str) -> Delivery:
        """The exact bytes of a delivery, verified."""
        return self._reads.delivery(delivery_id)

    async def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""
        return self._reads.counts()

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""
        return self._reads.totals()

    async def stored(self) -> Mapping[str, int]:
        """Bytes of what each channel's messages and deliveries hold."""
        return self._reads.stored()

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return self._reads.last_received()

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return self._reads.unread()

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def reports(self, after: int = 0, limit: int = 200) -> list[Report]:
        """What senders on the exchange are to be told."""
        return told.due(self._reads, after, limit)

    async def reported(self, numbers: Sequence[int]) -> None:
        """These reports were sent."""
        await self._writer.do(partial(told.sent, numbers=numbers))

    async def keep_receipts(self, by: str, receipts: Sequence[Receipt]) -> None:
        """Keep what a receiver says with its deliveries."""
        await self._writer.do(partial(told.keep, by=by, receipts=receipts))

    async def overdue(self, before: datetime) -> Mapping[Queue, int]:
        """How many deliveries, taken before, have no receipt but that they were accepted."""
        return told.overdue(self._reads, codec.micros(before))

    async def workers(self) -> tuple[int, int]:
        """A file has one node."""
        return 0, 1

    async def health(self) -> JournalHealth:
        """How the journal is."""
        wal = _size(self._path.with_name(self._path.name + "-wal"))
        if self._opened is None:
            return JournalHealth("sqlite", str(self._path.resolve()), _size(self._path), wal, "The journal is not open.")
        if (writer := self._opened.writer) is not None:
            with contextlib.suppress(OSError):  # the next write says so
                writer.look_for_file()
        problem = writer.problem if writer is not None else ""
        if not problem and wal > _LARGE_WAL:
            problem = f"The write-ahead log has grown to {wal >> 20} MiB: something keeps it from being checkpointed."
        pages, free, size = schema.pages(self._opened.reads.connection)
        return JournalHealth("sqlite", str(self._path.resolve()), _size(self._path), wal, problem, (pages - free) * size)

    # --- operators ----------------------------------------------------------------------------------------------------

    async def replay(
        self, message_id: str, *, config: str = "", only: str = "", then: bool = False, resend: bool = False, once: bool = False
    ) -> str:
        """Receive a message again, as a new one that cites the old; returns its id."""
        again = operators.Again(new_id(), texts.plain(config), texts.plain(only), then, resend, once)
        run = partial(operators.replay, message_id=texts.plain(message_id), again=again)
        committed: changes.Committed = await self._writer.do(run, self._after_replay, needs_room=True)
        return committed.stored.id

    def _after_replay(self, committed: changes.Committed) -> None:
        self._leases.leave(committed.left)
        if not committed.stored.duplicate:
            self._leases.add(Queue(committed.channel), committed.seq, committed.lanes)

    async def retry(self, delivery_id: str) -> str | None:
        """Make a parked or waiting delivery due now, or receive its message again where it is overtaken."""
        run = partial(operators.retry, delivery_id=texts.plain(delivery_id), new=new_id())
        done: operators.Retried = await self._writer.do(run, self._after_retry)
        return done.replay.stored.id if done.replay is not None else None

    def _after_retry(self, done: operators.Retried) -> None:
        if done.replay is not None:
            self._after_replay(done.replay)
            return
        self._leases.add(*done.place, done.lanes)

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        """Give up what is parked of a message; with ``waiting`` also what waits."""
        giving_up = operators.GivingUp(texts.plain(why), texts.plain(to), texts.plain(code), waiting)
        run = partial(operators.discard, message_id=texts.plain(message_id), giving_up=giving_up)
        await self._writer.do(run, self._leases.leave)

    async def prune(self, *, before: datetime | None = None, channel: str | None = None, most: int = 50) -> int:
        """Remove some of the oldest messages that are done; returns how many."""
        at = None if before is None else codec.micros(before)
        removed, more = 0, True
        while more and not removed:
            found, more = self._done.find(self._reads.connection, at, channel, most)
            if found:
                removed = await self._writer.do(partial(pruning.prune, found=found))
            else:
                await asyncio.sleep(0)  # the event loop has other work
        await self._sweep(most if before is None else removed)
        return removed

    async def _sweep(self, messages: int) -> None:
        """Look for what can go of what receivers were sent, for so many messages removed."""
        for _ in range(0, messages * sweeping.PACKS_A_MESSAGE, sweeping.STEP_PACKS):
            if not await self._writer.do(sweeping.sweep):
                return

    async def shrink(self, limit: int = 0) -> bool:
        """Give a little of the free space back to the disk."""
        more: bool = await self._writer.do(partial(pruning.shrink, limit=limit))
        return more

    async def keep_config(self, config: str, text: str, commit: str = "") -> None:
        """Keep a configuration snapshot by its digest, once."""
        await self._writer.do(partial(operators.keep_config, config=config, text=text, commit=commit))

    async def config(self, config: str) -> str:
        """A configuration snapshot by its digest."""
        return self._reads.config(config)


@dataclass(frozen=True, slots=True)
class _Opened:
    reads: Reads
    writer: Writer | None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
