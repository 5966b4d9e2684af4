"""Group commit, and the handing out of leases.

Whatever is queued (no timer) is sent as one pipeline: begin, wait for our turn among the nodes, one function call a job, then for
each queue whose workers wait, take what is due for them. A second round trip announces to the other nodes what is left over, and
commits. Workers and senders are told after that.

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
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError, JournalFull
from interop_engine.journal import codec
from interop_engine.journal.base import Queue
from interop_engine.journal.postgres import heart, schema, statements
from interop_engine.journal.postgres.desks import Claimed, Desks

_LARGEST_GROUP = 256
_RECONNECT_SECONDS = 0.25
_FOLD_SECONDS = 10.0
_GROUP_SECONDS = 30.0  # for all of a group: the wait for our turn is a part of it
_ANSWER_SECONDS = 10.0  # for a few statements outside of a group

Row = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Job:
    """One write: a statement, what its rows mean, and the queues that may have more to hand out by it."""

    future: asyncio.Future[Any]
    query: LiteralString
    values: Sequence[Any]
    read: Callable[[list[Row]], Any]
    touches: tuple[Queue, ...]
    due: int  # when what it put into these queues is due, 0 for now
    rows: list[Row] = field(default_factory=list)
    error: Exception | None = None


class Writer:
    """Owns the writing connection until ``stop``."""

    def __init__(self, url: str, node: str, desks: Desks) -> None:
        self._url = url
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

    async def do(
        self,
        query: LiteralString,
        values: Sequence[Any],
        read: Callable[[list[Row]], Any],
        *,
        touches: tuple[Queue, ...] = (),
        due: int = 0,
    ) -> Any:
        """Queue a job, wait until it is durable, return what ``read`` makes of it. Cancelled while queued: it never runs."""
        self.check()
        if self._stopping:
            raise JournalError("The journal is closed.")
        job = Job(asyncio.get_running_loop().create_future(), query, values, read, touches, due)
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
        try:
            return await self._together(connection, jobs)
        except Exception as error:  # noqa: BLE001 - a value that cannot be sent raises what it likes
            await self._roll_back(connection, error)
            return await self._apart(connection, jobs)

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

    async def _together(self, connection: schema.Connection, jobs: list[Job]) -> list[Claimed]:
        """All jobs in one pipeline."""
        self._touch(jobs)
        wanted = self._desks.wanted(codec.now())
        async with connection.pipeline():
            await connection.execute("BEGIN")
            await connection.execute(schema.TAKE_TURNS)
            sent = [await connection.execute(job.query, job.values) for job in jobs]
            claims = [await self._claim(connection, queue, count) for queue, count in wanted]
            if time.monotonic() - self._folded > _FOLD_SECONDS and jobs:
                self._folded = time.monotonic()
                await connection.execute(statements.FOLD)
        for job, cursor in zip(jobs, sent, strict=True):
            job.rows = await _all(cursor)
        return await self._finish(connection, jobs, wanted, claims)

    async def _apart(self, connection: schema.Connection, jobs: list[Job]) -> list[Claimed]:
        """Each job in a savepoint."""
        await connection.execute("BEGIN")
        await connection.execute(schema.TAKE_TURNS)
        for job in jobs:
            await connection.execute("SAVEPOINT job")
            try:
                job.rows = await _all(await connection.execute(job.query, job.values))
            except Exception as error:
                if connection.closed:
                    raise
                job.error = self._refused(error)
                await connection.execute("ROLLBACK TO job")
            await connection.execute("RELEASE job")
        wanted = self._desks.wanted(codec.now())
        claims = [await self._claim(connection, queue, count) for queue, count in wanted]
        return await self._finish(connection, jobs, wanted, claims)

    async def _claim(self, connection: schema.Connection, queue: Queue, count: int) -> tuple[Any, Any]:
        query = statements.CLAIM_MESSAGES if queue.destination is None else statements.CLAIM_DELIVERIES
        self._desks.looking(queue)
        destination = queue.destination or ""
        taken = await connection.execute(query, (queue.channel, destination, count, self._node, self._desks.lease_micros))
        return taken, await connection.execute(statements.NEXT_DUE, (queue.channel, destination))

    async def _finish(
        self, connection: schema.Connection, jobs: list[Job], wanted: list[tuple[Queue, int]], claims: list[tuple[Any, Any]]
    ) -> list[Claimed]:
        """Tell the other nodes what is left for them, and commit."""
        left, self._announced = self._announced, {}
        for job in jobs:
            left.update((queue, max(job.due, left.get(queue, 0))) for queue in job.touches)
        now = codec.now()
        claimed: list[Claimed] = []
        for (queue, _), (taken, next_due) in zip(wanted, claims, strict=True):
            wait = (await next_due.fetchone())[0]
            due = wait and now + wait
            claimed.append(Claimed(queue, await taken.fetchall(), due))
            if due is None or (due > now and not left.get(queue)):
                left.pop(queue, None)  # our own workers have taken it all
            elif queue in left:
                left[queue] = due
        async with connection.pipeline():
            for queue, due in left.items():
                text = codec.text([queue.channel, queue.destination, due])
                await connection.execute(statements.NOTIFY, (self._channel, text))
            await connection.execute("COMMIT")
        return claimed

    def _touch(self, jobs: list[Job]) -> None:
        for job in jobs:
            for queue in job.touches:
                self._desks.touch(queue, job.due)

    async def _roll_back(self, connection: schema.Connection, error: Exception) -> None:
        """Back to before the group; raises where the fault is not one job's."""
        if connection.closed or _is_final(error):
            raise error
        await connection.execute("ROLLBACK")
        self._desks.look_everywhere()

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _connect(self) -> schema.Connection:
        connection = await schema.connect(self._url, name=self._node)
        try:
            await schema.migrate(connection)
            with schema.within(connection, _GROUP_SECONDS):
                await schema.limit_turns(connection)
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


async def _all(cursor: psycopg.AsyncCursor[Row]) -> list[Row]:
    return await cursor.fetchall() if cursor.description else []


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
