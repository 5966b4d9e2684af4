"""Group commit.

Whatever is queued (no timer) runs in one transaction and is committed together; its waiters are told once a group. The statements
run in the event loop, the commit and the checkpoints in one thread. The whole transaction in the thread would be worse: each of
its forty statements takes the interpreter's lock back from a busy event loop, which gives it up every 5 ms. The disk is what
is worth waiting for elsewhere. The connection is used by one of the two at a time: by the thread while ``_busy``.

A job that fails takes its group back: the jobs run again, each in a savepoint, so that only the faulty one fails. That is rare,
and a savepoint a job would cost every group. Jobs therefore touch nothing but the ``Transaction`` they are given; what memory
must learn of a job is done after the commit (``Job.after``).

A full disk fails the group with JournalFull, and later groups may succeed. Any other error of the disk is final: after a failed
fsync the kernel calls the page clean, and a commit that seems to succeed would be a lie. So is a file that is no longer at its
place: what is written to it goes with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from interop_engine.core.errors import ItemRefused, JournalBroken, JournalError, JournalFull
from interop_engine.journal.sqlite.transaction import Transaction

_LARGEST_GROUP = 64  # the event loop does nothing else while a group's statements run
_CHECKPOINT_PAGES = 4_000  # 16 MB
_IDLE_SECONDS = 2.0
_OF_THE_ITEM = (apsw.TooBigError, apsw.ConstraintError, apsw.MismatchError, apsw.RangeError)
_FINAL = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.ProtocolError)


@dataclass(slots=True, eq=False)
class Job:
    """One write. ``run`` may be called twice; ``after`` is called once it is committed."""

    future: asyncio.Future[Any]
    run: Callable[[Transaction], Any]
    after: Callable[[Any], None] | None
    needs_room: bool
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns the writing connection until ``stop``."""

    def __init__(self, path: Path, connection: apsw.Connection, transaction: Transaction, reserve: int) -> None:
        self._path = path
        self._connection = connection
        self._cursor = connection.cursor()
        self._transaction = transaction
        self._reserve = reserve
        self._file = _identity(path)
        self._queued: deque[Job] = deque()
        self._busy = False
        self._scheduled = False
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()  # an empty list: truncate the log
        self._thread = threading.Thread(target=self._run_thread, name="journal-disk", daemon=True)
        self._wal_pages = 0
        self._shortage = ""  # why nothing is accepted although it can commit
        self.changes = transaction.changes
        self.recent = transaction.recent
        self.merges = transaction.merges
        self.problem = ""  # why it cannot commit now, empty while it can
        self.broken = ""  # why it never will again
        self.when_broken: Callable[[], None] = lambda: None
        connection.set_wal_hook(self._note_wal)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Commit what is queued, end the thread, close the connection."""
        self._stopping = True
        while self._busy or self._scheduled or self._queued:
            self._idle.clear()
            await self._idle.wait()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)

    async def do(
        self, run: Callable[[Transaction], Any], after: Callable[[Any], None] | None = None, *, needs_room: bool = False
    ) -> Any:
        """Queue a job and wait until it is durable; returns what ``run`` returned. Cancelled while queued: it never runs."""
        if self.broken:
            raise JournalBroken(self.broken)
        if self._stopping:
            raise JournalError("The journal is closed.")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queued.append(Job(future, run, after, needs_room))
        if not (self._busy or self._scheduled):
            self._scheduled = True
            self._loop.call_soon(self._begin)
        return await future

    def give_up(self, why: str) -> None:
        """Write nothing more: the file is not what it should be."""
        self.broken = self.problem = why
        self.when_broken()

    def look_for_file(self) -> None:
        """Give up where the file was removed or replaced. Raises OSError where that cannot be told."""
        try:
            there = _identity(self._path) == self._file
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if not (there or self.broken):
            self.give_up(f"The journal's file {self._path.name} was removed or replaced: nothing more is written.")

    # --- in the event loop --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Run what is queued, and hand it to the thread to be committed."""
        self._scheduled = False
        while not self._busy:
            if not (group := self._next_group()):
                self._idle.set()
                self._watch_idle()
                return
            try:
                ready = self._run_group(group)
            except Exception as error:  # noqa: BLE001 - whatever it is, who waits must be told
                ready = self._refuse(group, error)
            if ready:
                self._busy = True
                self._work.put(group)
            else:
                self._tell(group)

    def _next_group(self) -> list[Job]:
        group: list[Job] = []
        while self._queued and len(group) < _LARGEST_GROUP:
            job = self._queued.popleft()
            if not job.future.cancelled():
                group.append(job)
        return group

    def _run_group(self, group: list[Job]) -> bool:
        """Run the group's statements. False: nothing is to be committed, and every job has its error."""
        self.look_for_file()
        if self.broken:
            self._fail(group, JournalBroken(self.broken))
            return False
        jobs = self._with_room(group)
        if not jobs:
            return False
        try:
            if not self._attempt(jobs, self._run_together):
                self._attempt(jobs, self._run_apart)
        except apsw.Error as error:
            self._fail(jobs, self._translate(error))
            return False
        return True

    def _committed(self, group: list[Job], error: JournalError | None, *, free: bool) -> None:
        """The thread has committed the group, or could not."""
        if error is None:
            self._transaction.committed()
            self.problem = self._shortage
        else:
            self._fail([job for job in group if job.error is None], error)
        self._tell(group)
        if free:
            self._free()

    def _free(self) -> None:
        """The thread is done with the connection."""
        self._busy = False
        self._begin()

    def _tell(self, group: list[Job]) -> None:
        for job in group:
            future = job.future
            if job.error is not None:
                if not future.done():
                    future.set_exception(job.error)
                continue
            if job.after is not None:
                job.after(job.result)
            if not future.done():
                future.set_result(job.result)
        if self.broken:
            self.when_broken()

    def _watch_idle(self) -> None:
        if self._wal_pages and self._idle_timer is None and not self._stopping:
            self._idle_timer = self._loop.call_later(_IDLE_SECONDS, self._truncate)

    def _truncate(self) -> None:
        self._idle_timer = None
        if not (self._busy or self._scheduled or self._stopping):
            self._busy = True
            self._work.put([])

    def _refuse(self, group: list[Job], error: Exception) -> bool:
        """Fail a group by what nobody expected; later ones may succeed."""
        what = error.strerror if isinstance(error, OSError) else type(error).__name__  # a message might hold a value
        self.problem = f"The journal cannot write: {what}."
        refused = JournalFull(self.problem)
        refused.__cause__ = error
        self._fail(group, refused)
        return False

    def _with_room(self, group: list[Job]) -> list[Job]:
        """Without the jobs that need room, where the reserve of the disk is reached."""
        if not self._reserve:
            return group
        status = os.statvfs(self._path.parent)
        if status.f_bavail * status.f_frsize >= self._reserve:
            self._shortage = ""
            return group
        self.problem = self._shortage = f"Less than {self._reserve >> 20} MiB of the disk are free: nothing more is accepted."
        self._fail([job for job in group if job.needs_room], JournalFull(self.problem))
        return [job for job in group if not job.needs_room]

    def _attempt(self, jobs: list[Job], run: Callable[[list[Job]], bool]) -> bool:
        """One transaction, ready to be committed; False where a job failed and nothing was kept."""
        self._transaction.begin()
        ready = False
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            if run(jobs):
                self._transaction.flush()
                ready = True
        finally:
            if not ready:
                self._roll_back()
        return ready

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def _translate(self, error: apsw.Error) -> JournalError:
        """What an error of SQLite means for the callers, and for the journal."""
        if isinstance(error, apsw.FullError):
            self.problem = "The disk is full."
            return JournalFull(self.problem)
        if isinstance(error, _FINAL):
            self._break(error)
            return JournalBroken(self.broken)
        self.problem = f"SQLite: {error}"  # locked by another process for longer than the busy timeout, out of memory
        return JournalFull(self.problem)

    def _run_together(self, jobs: list[Job]) -> bool:
        for job in jobs:
            try:
                job.result = job.run(self._transaction)
            except (apsw.FullError, *_FINAL):
                raise
            except Exception:  # noqa: BLE001 - whatever it is, it is that job's and is told to its caller below
                return False
        return True

    def _run_apart(self, jobs: list[Job]) -> bool:
        for job in jobs:
            kept = self._transaction.mark()
            self._cursor.execute("SAVEPOINT job")
            try:
                job.result = job.run(self._transaction)
            except (apsw.FullError, *_FINAL):
                raise
            except Exception as error:  # noqa: BLE001 - told to the caller
                job.error = _refused(error)
                self._cursor.execute("ROLLBACK TO job")
                self._transaction.back_to(kept)
            self._cursor.execute("RELEASE job")
        return True

    def _fail(self, jobs: list[Job], error: JournalError) -> None:
        for job in jobs:
            job.error = error

    def _break(self, error: apsw.Error) -> None:
        self.broken = self.problem = f"The journal cannot write any more, restart after repair: {type(error).__name__}: {error}"

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run_thread(self) -> None:
        while (group := self._work.get()) is not None:
            if not group:
                self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._loop.call_soon_threadsafe(self._free)
                continue
            error = self._commit()
            large = self._wal_pages >= _CHECKPOINT_PAGES or error is not None
            self._loop.call_soon_threadsafe(partial(self._committed, group, error, free=not large))
            if large:  # after a full disk too: the log may then begin anew in the room it has
                self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._loop.call_soon_threadsafe(self._free)
        with contextlib.suppress(apsw.Error):
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._connection.close()

    def _commit(self) -> JournalError | None:
        try:
            self._cursor.execute("COMMIT")
        except apsw.Error as error:
            with contextlib.suppress(apsw.Error):
                self._roll_back()
            return self._translate(error)
        return None

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.FullError):
            return  # readers hold it, or there is no room: the log grows meanwhile, and health says so
        except apsw.Error as error:
            self._break(error)
        finally:
            if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
                self._wal_pages = 0


def _refused(error: Exception) -> JournalError:
    """What it means for a job's caller: its item will be refused whenever it is tried, or not."""
    if isinstance(error, JournalError):
        return error
    if isinstance(error, apsw.Error):
        return (ItemRefused if isinstance(error, _OF_THE_ITEM) else JournalError)(f"SQLite refused it: {error}")
    kind = JournalError if isinstance(error, MemoryError) else ItemRefused
    return kind(f"SQLite refused it: {type(error).__name__}")  # what else it says may be a value


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is: the device it is on, and its number there."""
    status = path.stat()
    return status.st_dev, status.st_ino
