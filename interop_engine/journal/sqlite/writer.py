"""The one thread that writes.

It takes whatever is queued (no timer), runs all of it in one transaction, commits, and tells the event loop once a group. A job
that fails takes the group back: the jobs run again, each in a savepoint, so that only the faulty one fails. That is rare,
and a savepoint a job would cost every group. Jobs therefore touch nothing but the ``Transaction`` they are given; what memory
must learn of a job is done in the event loop after the commit (``Job.after``).

A full disk fails the group with JournalFull, and later groups may succeed. Any other error of the disk is final: after a failed
fsync the kernel calls the page clean, and a commit that seems to succeed would be a lie.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from interop_engine.core.errors import JournalBroken, JournalError, JournalFull
from interop_engine.journal.sqlite.transaction import Transaction

_LARGEST_GROUP = 256
_CHECKPOINT_PAGES = 4_000  # 16 MB
_IDLE_SECONDS = 2.0
_FINAL = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.ProtocolError)


@dataclass(slots=True, eq=False)
class Job:
    """One write. ``run`` is called in the thread, maybe twice; ``after`` in the event loop once it is committed."""

    future: asyncio.Future[Any]
    run: Callable[[Transaction], Any]
    after: Callable[[Any], None] | None
    needs_room: bool
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns the writing connection from ``start`` to ``stop``."""

    def __init__(self, path: Path, connection: apsw.Connection, transaction: Transaction, reserve: int) -> None:
        self._path = path
        self._connection = connection
        self._cursor = connection.cursor()
        self._transaction = transaction
        self._reserve = reserve
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._wal_pages = 0
        self._stopping = False
        self._shortage = ""  # why nothing is accepted although it can commit
        self.changes = transaction.changes
        self.recent = transaction.recent
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
        self._jobs.put(None)
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
        self._jobs.put(Job(future, run, after, needs_room))
        return await future

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                if group:
                    self._commit(group)
                    self._loop.call_soon_threadsafe(self._tell, group)
                    if self._wal_pages >= _CHECKPOINT_PAGES:
                        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            with contextlib.suppress(apsw.Error):
                self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._connection.close()

    def _next_group(self) -> list[Job] | None:
        """What is queued, waiting for at least one job; None at the end. Truncates the WAL when nothing comes."""
        jobs = self._jobs
        try:
            job = jobs.get(timeout=_IDLE_SECONDS if self._wal_pages else None)
        except queue.Empty:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return []
        group: list[Job] = []
        while job is not None:
            if not job.future.cancelled():
                group.append(job)
            if len(group) >= _LARGEST_GROUP:
                return group
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                return group
        if group:
            jobs.put(None)
            return group
        return None

    def _commit(self, group: list[Job]) -> None:
        """Run the group in one transaction; every job ends with a result or an error."""
        if self.broken:
            self._fail(group, JournalBroken(self.broken))
            return
        jobs = self._with_room(group)
        if not jobs:
            return
        try:
            if not self._attempt(jobs, self._run_together):
                self._attempt(jobs, self._run_apart)
            self.problem = self._shortage
        except apsw.FullError:
            self.problem = "The disk is full."
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)  # so that the write-ahead log may begin anew in the room it has
            self._fail(jobs, JournalFull(self.problem))
        except _FINAL as error:
            self._break(error)
            self._fail(jobs, JournalBroken(self.broken))
        except apsw.Error as error:  # locked by another process for longer than the busy timeout, out of memory
            self.problem = f"SQLite: {error}"
            self._fail(jobs, JournalFull(self.problem))

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
        """One transaction; False where a job failed and nothing was kept."""
        self._transaction.begin()
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            if run(jobs):
                self._transaction.flush()
                self._cursor.execute("COMMIT")
                self._transaction.committed()
                return True
        finally:
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")
        return False

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
                job.error = JournalError(f"SQLite refused it: {error}") if isinstance(error, apsw.Error) else error
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

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return
        except (apsw.FullError, *_FINAL) as error:
            if not isinstance(error, apsw.FullError):
                self._break(error)
            return
        finally:
            if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
                self._wal_pages = 0

    # --- in the event loop --------------------------------------------------------------------------------------------

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
