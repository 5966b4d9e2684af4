"""The contract, on SQLite. Called from one event loop; see the package's docstring for the rooms it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import apsw

from interop_engine.core.errors import JournalBroken, JournalError, UnknownItem
from interop_engine.core.model import Delivery, Known, Outcome, Question, Received, new_id
from interop_engine.journal import codec
from interop_engine.journal.base import (
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
from interop_engine.journal.sqlite import changes, learned, schema
from interop_engine.journal.sqlite.lanes import Item, Line
from interop_engine.journal.sqlite.reads import Reads
from interop_engine.journal.sqlite.sentstate import SentReader
from interop_engine.journal.sqlite.transaction import Transaction
from interop_engine.journal.sqlite.warm import Warm
from interop_engine.journal.sqlite.writer import Writer

_LARGE_WAL = 256 << 20
_LARGE_FILE = 256 << 20  # checking it takes longer than an engine may take to be back: it is done beside the work
_CORRUPT = "journal-corrupt"


@dataclass(slots=True, eq=False)
class _Held:
    """A lease in force."""

    line: Line
    item: Item
    until: float  # of the event loop's clock
    owner: str


class SqliteJournal:
    """A journal in one file. ``reserve``: bytes of the disk that accepting leaves free, so that the rest can be settled."""

    def __init__(self, path: Path, *, readonly: bool = False, reserve: int = 0, window: timedelta, lease_time: timedelta) -> None:
        self._path = path
        self._readonly = readonly
        self._reserve = reserve
        self._window = window // timedelta(microseconds=1)
        self._lease_seconds = lease_time.total_seconds()
        self._guard = schema.Guard(path)
        self._lines: dict[Queue, Line] = {}
        self._held: dict[int, _Held] = {}
        self._fence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._warm_messages: Warm[Received] = Warm()
        self._warm_deliveries: Warm[Delivery] = Warm()
        self._opened: _Opened | None = None
        self._checking: apsw.Connection | None = None
        self._check: asyncio.Task[None] | None = None

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Create or migrate the file, check it, start the writer. No lease outlives a process: all unsettled is due."""
        if self._readonly:
            self._opened = _Opened(Reads(await asyncio.to_thread(schema.connect_reader, self._path)), None)
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
        if _size(self._path) <= _LARGE_FILE:
            schema.check_integrity(connection)
        return connection, Transaction(connection), schema.connect_reader(self._path)

    async def close(self) -> None:
        """Commit what is queued and close; who waits for a lease is told. Twice is harmless."""
        if (opened := self._opened) is None:
            return
        self._opened = None
        if self._check is not None and self._checking is not None:
            self._checking.interrupt()
            await self._check
            self._checking.close()
        if self._timer is not None:
            self._timer.cancel()
        for line in self._lines.values():
            line.fail(JournalError("The journal is closed."))
        opened.reads.connection.close()  # first: the last connection to close removes the write-ahead log
        if opened.writer is not None:
            await opened.writer.stop()
        self._guard.give_back()

    def _break(self) -> None:
        for line in self._lines.values():
            line.fail(JournalBroken(self._writer.broken))

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
        after = partial(self._after_accept, message)
        run = partial(changes.accept, message=message, window=self._window)
        committed: changes.Committed = await self._writer.do(run, after, needs_room=True)
        return committed.stored

    def _after_accept(self, message: NewMessage, committed: changes.Committed) -> None:
        self._leave(committed.left)
        if not committed.seq or message.state != "received":
            return
        if (line := self._lines.get(Queue(message.channel))) is not None:
            self._warm_messages.put(committed.seq, len(message.data), _received(message))
            line.add(committed.seq, committed.lanes)

    async def forward(self, lease: Lease, forward: Forward) -> bool:
        """Write what a transformation made; False where its ``Known`` is out of date."""
        held = self._lease(lease)
        assert lease.message is not None, "only the message of a lease is forwarded"
        run = partial(changes.forward, seq=held.item.seq, message=lease.message, made=forward)
        return await self._writer.do(run, partial(self._after_forward, lease.fence)) is not None

    def _after_forward(self, fence: int, written: list[changes.Forwarded] | None) -> None:
        if written is None:
            return
        self._finish(fence)
        for each in written:
            delivery = each.delivery
            if (line := self._lines.get(Queue(delivery.channel, delivery.destination))) is not None:
                self._warm_deliveries.put(each.seq, len(delivery.body), delivery)
                line.add(each.seq, delivery.lanes)

    async def park(self, lease: Lease, code: str, why: str, findings: Sequence[str] = ()) -> None:
        """Park the message of a lease."""
        held = self._lease(lease)
        run = partial(changes.park, seq=held.item.seq, channel=lease.queue.channel, code=code, why=why, findings=tuple(findings))
        await self._writer.do(run, lambda _: self._finish(lease.fence))

    # --- deliveries ---------------------------------------------------------------------------------------------------

    async def settle(self, lease: Lease, outcome: Outcome, *, due_at: datetime | None = None) -> None:
        """Settle the delivery of a lease."""
        held = self._lease(lease)
        assert lease.delivery is not None, "only the delivery of a lease is settled"
        run = partial(changes.settle, seq=held.item.seq, delivery=lease.delivery, outcome=outcome, due_at=due_at)
        due = codec.micros(due_at) if due_at is not None else None
        after = partial(self._after_settle, lease.fence, due)
        await self._writer.do(run, after)

    def _after_settle(self, fence: int, due: int | None, _: None) -> None:
        if due is None:
            self._finish(fence)
        else:
            self._give_back(fence, due)

    # --- leases -------------------------------------------------------------------------------------------------------

    async def lease(self, queue: Queue, owner: str) -> Lease:
        """Wait until an item of the queue is due and free, and take it."""
        if (line := self._lines.get(queue)) is None:
            line = self._lines[queue] = Line(queue, partial(self._reads.due, queue))
        while True:
            if broken := self._writer.broken:
                raise JournalBroken(broken)
            self._fence += 1
            if (item := line.take(self._fence)) is None:
                await line.wait()
                continue
            if (lease := await self._hand_out(line, item)) is not None:
                now = asyncio.get_running_loop().time()
                self._held[lease.fence] = _Held(line, item, now + self._lease_seconds, owner)
                self._watch(self._lease_seconds)
                return lease

    async def _hand_out(self, line: Line, item: Item) -> Lease | None:
        """The lease of an item; None where it is not due any more, or is not as it was written (then it parks)."""
        queue = line.queue
        try:
            if queue.destination is None:
                message = self._warm_messages.take(item.seq) or self._reads.due_message(item.seq)
                if message is not None:
                    return Lease(queue, item.lanes, item.fence, message=message)
            else:
                delivery = self._warm_deliveries.take(item.seq) or self._reads.due_delivery(item.seq)
                if delivery is not None:
                    return Lease(queue, item.lanes, item.fence, delivery=delivery)
        except JournalBroken as error:
            park = partial(changes.park_corrupt, queue=queue, seq=item.seq, code=_CORRUPT, why=str(error))
            try:
                await self._writer.do(park)
            except BaseException:
                line.give_back(item, None)  # the next who leases finds it so again
                raise
        line.finish(item)
        return None

    async def release(self, lease: Lease) -> None:
        """Give an item back unsettled."""
        self._give_back(lease.fence, None)

    def _lease(self, lease: Lease) -> _Held:
        if (held := self._held.get(lease.fence)) is None:
            raise UnknownItem("The lease has ended: its item was handed out again or is settled.")
        return held

    def _finish(self, fence: int) -> None:
        if (held := self._held.pop(fence, None)) is not None:
            held.line.finish(held.item)

    def _give_back(self, fence: int, due: int | None) -> None:
        if (held := self._held.pop(fence, None)) is not None:
            held.line.give_back(held.item, due)

    def _leave(self, places: tuple[changes.Place, ...]) -> None:
        for queue, seq in places:
            if (line := self._lines.get(queue)) is not None:
                line.remove(seq)

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
            self._give_back(fence, None)

    # --- what is known, listings, content -----------------------------------------------------------------------------

    async def known(self, question: Question, destinations: Sequence[str]) -> Known:
        """Answer a question."""
        reads, writer = self._reads, self._writer
        sent = SentReader(reads.connection, reads.unpacker, writer.recent)
        return learned.answer(reads.connection, writer.changes, writer.merges, sent, question, destinations)

    async def search(self, selection: Selection) -> list[MessageRow]:
        """List messages, newest first."""
        return self._reads.search(selection)

    async def show(self, message_id: str) -> MessageRow:
        """One message with its deliveries."""
        return self._reads.show(message_id)

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

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return self._reads.last_received()

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return self._reads.unread()

    async def health(self) -> JournalHealth:
        """How the journal is."""
        wal = _size(self._path.with_name(self._path.name + "-wal"))
        if self._opened is None:
            return JournalHealth("sqlite", str(self._path), _size(self._path), wal, "The journal is not open.")
        problem = self._opened.writer.problem if self._opened.writer is not None else ""
        if not problem and wal > _LARGE_WAL:
            problem = f"The write-ahead log has grown to {wal >> 20} MiB: something keeps it from being checkpointed."
        return JournalHealth("sqlite", str(self._path), _size(self._path), wal, problem)

    # --- operators ----------------------------------------------------------------------------------------------------

    async def replay(self, message_id: str, *, config: str = "") -> str:
        """Receive a message again, as a new one that cites the old; returns its id."""
        run = partial(changes.replay, message_id=message_id, new=new_id(), config=config)
        committed: changes.Committed = await self._writer.do(run, self._after_replay, needs_room=True)
        return committed.stored.id

    def _after_replay(self, committed: changes.Committed) -> None:
        self._leave(committed.left)
        if (line := self._lines.get(Queue(committed.channel))) is not None:
            line.add(committed.seq, committed.lanes)

    async def retry(self, delivery_id: str) -> None:
        """Make a parked or waiting delivery due now."""
        await self._writer.do(partial(changes.retry, delivery_id=delivery_id), self._after_retry)

    def _after_retry(self, place: tuple[Queue, int, tuple[str, ...]]) -> None:
        queue, seq, lanes = place
        if (line := self._lines.get(queue)) is not None:
            line.add(seq, lanes)

    async def discard(self, message_id: str, why: str) -> None:
        """Give up a parked message, or the parked and waiting deliveries of a message."""
        await self._writer.do(partial(changes.discard, message_id=message_id, why=why), self._leave)

    async def keep_config(self, config: str, text: str) -> None:
        """Keep a configuration snapshot by its digest, once."""
        await self._writer.do(partial(changes.keep_config, config=config, text=text))


@dataclass(frozen=True, slots=True)
class _Opened:
    reads: Reads
    writer: Writer | None


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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
