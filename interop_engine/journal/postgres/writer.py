"""Group commit, and the handing out of leases.

Whatever is queued (no timer) is sent as one pipeline, in one round trip: begin, wait for our turn among the nodes, one function
call for all jobs of a kind, take what is due for the workers who wait, announce to the other nodes what is left over, and commit.
Workers and senders are told after that. The calls are made before the first is sent: nobody waits for it in our turn.

All writing is in turns, by an advisory lock that ends with the transaction. So a row number tells the order of commits (what
came later can never show up before), duplicates and ``Known`` are decided among all nodes, and nothing can deadlock. It costs
less than it seems: the larger a node's group, the fewer turns it needs.

A job that fails takes its group back; the jobs run again, each in a savepoint, so that only the faulty one fails. A connection
that is lost, or over which no answer comes, fails its group with JournalError: whether it was committed is unknown, so the sender
tries again (and is a duplicate) or the worker does (and has no lease any more). Workers who wait for a lease go on waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq

from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError, JournalFull
from interop_engine.journal import codec
from interop_engine.journal.base import Queue
from interop_engine.journal.postgres import heart, schema, statements
from interop_engine.journal.postgres.calls import Call, Cursor, Job, Row, gathered
from interop_engine.journal.postgres.columns import Flags, Numbers, Texts
from interop_engine.journal.postgres.desks import Claimed, Desks
from interop_engine.journal.postgres.jobs import Statement
from interop_engine.journal.seals import new_seals

_LARGEST_GROUP = 256
_RECONNECT_SECONDS = 0.25
_FOLD_SECONDS = 10.0
_GROUP_SECONDS = 30.0  # for all of a group: the wait for our turn is a part of it
_ANSWER_SECONDS = 10.0  # for a few statements outside of a group

Cursors = list[tuple[list[Queue], Cursor]]
Rest = tuple[list[Queue], Cursors, Cursor]


class Writer:
    """Owns the writing connection until ``stop``."""

    def __init__(self, url: str, node: str, desks: Desks, seals: Sequence[str] = ()) -> None:
        """``seals``: of the keys it is written with."""
        self._url = url
        self._seals = seals
        self._node = node
        self._desks = desks
        self._connection: schema.Connection | None = None
        self._channel = ""
        self._queued: deque[Job] = deque()
        self._announced: dict[Queue, int] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._folded = time.monotonic()
        self.problem = ""  # why it cannot commit now, empty while it can
        self._broken: JournalBroken | None = None
        self.process = 0  # of the server, for us: whose announcements are our own
        desks.when_wanted = self._wake.set

    async def start(self) -> None:
        """Connect, migrate, and begin."""
        await self._connect()
        self._task = asyncio.create_task(self._run(), name="journal-writer")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Commit what is queued, give back what this node has leased, disconnect."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error), schema.within(self._connection, _ANSWER_SECONDS):
                await self._end_leases(self._connection, [])
            await self._connection.close()

    async def do(self, statement: Statement, read: Callable[[list[Row]], Any]) -> Any:
        """Queue a job, wait until it is durable, return what ``read`` makes of it. Cancelled while queued: it never runs."""
        self.check()
        if self._stopping:
            raise JournalError("The journal is closed.")
        job = Job(asyncio.get_running_loop().create_future(), statement, read)
        self._queued.append(job)
        self._wake.set()
        return await job.future

    def check(self) -> None:
        """Raise JournalBroken where nothing will be written any more."""
        if self._broken is not None:
            raise self._broken

    def announce(self, queue: Queue) -> None:
        """Something of the queue may be due: look ourselves, and tell the other nodes."""
        self._desks.touch(queue)
        self._announced[queue] = 0
        self._wake.set()

    # --- the task -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (jobs := self._next_group()) or self._announced or self._desks.wanted(codec.now()):
                if not await self._group(jobs):
                    break
            if self._stopping and not self._queued:
                return

    def _next_group(self) -> list[Job]:
        jobs: list[Job] = []
        while self._queued and len(jobs) < _LARGEST_GROUP:
            job = self._queued.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        return jobs

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Where the task failed itself, nothing will ever be written again: say so to all who wait, and who come."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        self.problem = f"The journal's writer has failed: {type(error).__name__}. This is a fault of the engine."
        self._broken = JournalBroken(self.problem)
        for job in self._queued:
            if not job.future.done():
                job.future.set_exception(self._broken)
        self._queued.clear()
        self._desks.close(self._broken)

    async def _group(self, jobs: list[Job]) -> bool:
        """Run one group and tell its callers; False where the database could not be reached."""
        claimed: list[Claimed] = []
        failure: JournalError | None = None
        try:
            connection = self._connection if self._connection is not None else await self._connect()
            with schema.within(connection, _GROUP_SECONDS):
                claimed = await self._commit(connection, jobs)
            self.problem = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, all who wait are told, and those who come later are served
            failure = self._translate(error)
            for job in jobs:
                job.error = failure
            await self._disconnect()
        self._tell(jobs)
        self._desks.hand_out(claimed)
        if failure is not None:
            await asyncio.sleep(0 if self._stopping else _RECONNECT_SECONDS)
            self._desks.look_everywhere()
            self._wake.set()
        return failure is None

    async def _commit(self, connection: schema.Connection, jobs: list[Job]) -> list[Claimed]:
        calls: list[Call] | None = None
        left = self._left(jobs)
        try:
            calls = gathered(jobs)
            rest = await self._together(connection, calls, left)
        except Exception as error:  # noqa: BLE001 - a value that cannot be sent raises what it likes
            await self._roll_back(connection, error, sent=calls is not None)
            rest = await self._apart(connection, jobs, left)
        else:
            for call in calls:
                await call.answer()
        self._announced.clear()  # nobody announces while a group is under way
        return await self._claimed(*rest)

    def _tell(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.future.done():
                continue
            if job.error is None:
                try:
                    job.future.set_result(job.read(job.rows))
                except Exception as error:  # noqa: BLE001 - it is the caller's
                    job.future.set_exception(error)
            else:
                job.future.set_exception(job.error)

    # --- a transaction ------------------------------------------------------------------------------------------------

    def _left(self, jobs: list[Job]) -> dict[Queue, int]:
        """The queues that have more to hand out by this group, and when it is due; our own workers look at them."""
        left = dict(self._announced)
        for statement in (job.statement for job in jobs):
            for queue in statement.touches:
                self._desks.touch(queue, statement.due)
                left[queue] = max(statement.due, left.get(queue, 0))
        return left

    async def _together(self, connection: schema.Connection, calls: list[Call], left: dict[Queue, int]) -> Rest:
        """All jobs in one pipeline, with the commit."""
        async with connection.pipeline():
            await connection.execute("BEGIN")
            await connection.execute(schema.TAKE_TURNS)
            for call in calls:
                await call.send(connection)
            if calls and time.monotonic() - self._folded > _FOLD_SECONDS:
                self._folded = time.monotonic()
                await connection.execute(statements.FOLD)
            rest = await self._rest(connection, left)
            await connection.execute("COMMIT")
        return rest

    async def _apart(self, connection: schema.Connection, jobs: list[Job], left: dict[Queue, int]) -> Rest:
        """Each job in a savepoint."""
        await connection.execute("BEGIN")
        await connection.execute(schema.TAKE_TURNS)
        for job in jobs:
            await connection.execute("SAVEPOINT job")
            try:
                (call,) = gathered([job])
                await call.send(connection)
                await call.answer()
            except Exception as error:
                if connection.closed:
                    raise
                job.error = self._refused(error)
                await connection.execute("ROLLBACK TO job")
            await connection.execute("RELEASE job")
        async with connection.pipeline():
            rest = await self._rest(connection, left)
            await connection.execute("COMMIT")
        return rest

    async def _rest(self, connection: schema.Connection, left: dict[Queue, int]) -> Rest:
        """Take what is due for our workers, and tell the other nodes what is left for them."""
        wanted = dict(self._desks.wanted(codec.now()))
        for queue in wanted:
            self._desks.looking(queue)
        taken: Cursors = []
        for query, of in (
            (statements.CLAIM_MESSAGES, [queue for queue in wanted if queue.destination is None]),
            (statements.CLAIM_DELIVERIES, [queue for queue in wanted if queue.destination is not None]),
        ):
            if of:
                values = (*_names(of), Numbers(map(wanted.get, of)), self._node, self._desks.lease_micros)
                taken.append((of, await connection.execute(query, values)))
        queues = list({**wanted, **left})
        looked = Flags(queue in wanted for queue in queues)
        dues = Numbers(map(left.get, queues))
        more = await connection.execute(statements.LEAVE_OVER, (*_names(queues), dues, looked, self._node, codec.now()))
        return queues, taken, more

    async def _claimed(self, queues: list[Queue], taken: Cursors, more: Cursor) -> list[Claimed]:
        """What was leased of each queue that was looked at, and when there is more."""
        rows: dict[Queue, list[Row]] = {}
        for of, cursor in taken:
            for *row, number, seq, fence in await cursor.fetchall():
                rows.setdefault(of[number - 1], []).append((*row, seq, fence))
        now = codec.now()
        found = [(queues[number - 1], wait) for number, wait in await more.fetchall()]
        return [Claimed(queue, rows.get(queue, []), wait and now + wait) for queue, wait in found]

    async def _roll_back(self, connection: schema.Connection, error: Exception, *, sent: bool) -> None:
        """Back to before the group; raises where the fault is not one job's, or it may be committed: the transaction is over."""
        over = connection.info.transaction_status == pq.TransactionStatus.IDLE
        if connection.closed or _is_final(error) or (sent and over):
            raise error
        if not over:
            await connection.execute("ROLLBACK")
        self._desks.look_everywhere()

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _connect(self) -> schema.Connection:
        connection = await schema.connect(self._url, name=self._node)
        try:
            await schema.migrate(connection)
            with schema.within(connection, _GROUP_SECONDS):
                await schema.limit_turns(connection)
                await self._check_seals(connection)
                row = await (await connection.execute(statements.NOTIFY_CHANNEL)).fetchone()
                assert row is not None
                self._channel = row[0]
                await heart.beat(connection, self._node, self._desks)  # before anything is leased, whatever becomes of us
                # What was leased by a commit whose answer was lost, nobody here knows of.
                await self._end_leases(connection, self._desks.fences())
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        self.process = connection.info.backend_pid
        self._desks.look_everywhere()
        return connection

    async def _check_seals(self, connection: schema.Connection) -> None:
        """Whether it is written with our keys still: another may have its place since (``rekeying``, which has all turns)."""
        async with connection.transaction():
            await connection.execute(schema.TAKE_TURNS)
            kept = await (await connection.execute(statements.SEALS)).fetchall()
        new_seals((row[0] for row in kept), self._seals, holds=False)

    async def _end_leases(self, connection: schema.Connection, known: list[int]) -> None:
        async with connection.transaction():
            await connection.execute(schema.TAKE_TURNS)
            for channel, destination in await (await connection.execute(statements.END_LEASES, (self._node, known))).fetchall():
                text = codec.text([channel, destination or None, 0])
                await connection.execute(statements.NOTIFY, (self._channel, text))

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    def _translate(self, error: Exception) -> JournalError:
        """What an error means for the callers; never final, since another server may be there in a moment."""
        if isinstance(error, JournalError):
            self.problem = str(error)
            return error
        self.problem = f"The journal's database cannot commit: {schema.describe(error)}"
        return JournalFull(self.problem) if isinstance(error, psycopg.errors.DiskFull) else JournalError(self.problem)

    def _refused(self, error: Exception) -> JournalError:
        if _is_final(error):
            raise error
        kind = ItemRefused if _is_of_the_item(error) else JournalError
        return kind(f"PostgreSQL refused it: {schema.describe(error)}")


def _names(queues: Sequence[Queue]) -> tuple[Texts, Texts]:
    return Texts(queue.channel for queue in queues), Texts(queue.destination or "" for queue in queues)


def _is_final(error: Exception) -> bool:
    """Whether an error is the server's state (class 53 resources, 57 intervention, 58 system, 25 read only), not one job's."""
    return _class(error) in {"53", "57", "58", "XX"} or isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


def _is_of_the_item(error: Exception) -> bool:
    """Whether an item will be refused whenever it is tried: its values (22), constraints (23), limits (54), or unsendable."""
    if not isinstance(error, psycopg.Error):
        return True
    unsendable = error.sqlstate is None and isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
    return unsendable or _class(error) in {"22", "23", "54"}


def _class(error: Exception) -> str:
    return (getattr(error, "sqlstate", None) or "")[:2]
