"""A journal's file anew with other keys: all of it in a second file, which takes the first one's place once it is whole.

Nothing is changed in place: pages that are free, or written over in part, would still show what stood in them. The second file
holds nothing but what is sealed, from its first page on. Tables are copied with every column they have; only those that hold
something sealed are known here (and see ``journal.resealing``). Row numbers stay, since rows cite one another by them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import apsw

from interop_engine.core.errors import JournalBroken, JournalError, JournalFull
from interop_engine.journal import checking
from interop_engine.journal.checking import Progress
from interop_engine.journal.keys import Keys
from interop_engine.journal.resealing import Resealing
from interop_engine.journal.sealed import SealedJournal
from interop_engine.journal.seals import new_seals
from interop_engine.journal.sqlite import copies, schema
from interop_engine.journal.sqlite.journal import SqliteJournal
from interop_engine.journal.sqlite.tablecopy import TableCopy

_SEALED_SIZE = 2  # times what the same is in plain, at most
_PAGE_CACHE_KIB = 262_144  # rows are in order of names, and so of none, where their names are sealed


async def rekey(place: Path, old: Keys | None, new: Keys, progress: Progress = lambda _done, _of: None) -> Path:
    """Encrypt a journal in plain (``old`` is None), or change its keys; returns where the journal before it was put.

    Until the last step it stays as it was. Raises JournalError where another process has it open or these are not its keys,
    JournalBroken for a row that does not open, JournalFull where there is no room for a second journal.
    """
    guard = _taken(place)
    part = place.with_name(place.name + ".rekey")
    try:
        part.unlink(missing_ok=True)  # of a try that was killed
        with _translated():
            with _alone(place, old) as source:
                _check_room(source, place, sealed=old is not None)
                rows = await _write(source, part, old, new, progress)
            await _check(part, new, lambda done, of: progress(rows + done, rows + of))
        copies.make_durable(part)
        await asyncio.sleep(0)  # the last moment to interrupt it
        aside = copies.swap(part, place)
        assert aside is not None, "the journal is still there"
        return aside
    finally:
        part.unlink(missing_ok=True)
        guard.give_back()


def _taken(place: Path) -> schema.Guard:
    if not place.exists():
        raise JournalError(f"There is no journal at {place} yet.")
    guard = schema.Guard(place)
    guard.take()
    return guard


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.FullError:
        raise JournalFull("The disk has become full: nothing was changed.") from None
    except apsw.Error as error:
        raise JournalBroken(f"The journal cannot be copied: {error}") from None


@contextmanager
def _alone(place: Path, keys: Keys | None) -> Iterator[apsw.Connection]:
    """The journal of now, as one file without a log, which nobody else has open; of the newest schema, as any engine makes it."""
    connection = schema.connect_writer(place)
    try:
        schema.new_seals(connection, keys.seals() if keys else ())
        if not copies.leave_log(connection):
            raise JournalError(f"{place} is being read by another process: end that first.")
        yield connection
    finally:
        connection.close()


def _check_room(source: apsw.Connection, place: Path, *, sealed: bool) -> None:
    count, free, size = schema.pages(source)
    needed = (count - free) * size * (1 if sealed else _SEALED_SIZE)
    there = shutil.disk_usage(place.parent).free
    if there < needed:
        raise JournalFull(f"A second journal beside {place} may need {needed:,} bytes; {there:,} are free.")


async def _write(source: apsw.Connection, part: Path, old: Keys | None, new: Keys, progress: Progress) -> int:
    """Write the second file; returns how many rows are in it."""
    target = _connect(part)
    try:
        copy = TableCopy(source, target, Resealing(old, new))
        rows, messages = copy.rows, copy.counts["messages"]
        done = 0
        for copied in copy.run():
            done += copied
            progress(done, rows + messages)
            await asyncio.sleep(0)  # where it can be interrupted
        copy.finish(new_seals((), new.seals(), holds=False))
        schema.check_integrity(target)
        return rows
    finally:
        target.close()


def _connect(part: Path) -> apsw.Connection:
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(part))
    connection.pragma("auto_vacuum", "INCREMENTAL")
    connection.pragma("journal_mode", "MEMORY")  # it is of no use until it is whole, and made durable then
    connection.pragma("synchronous", "OFF")
    connection.pragma("cache_size", -_PAGE_CACHE_KIB)
    return connection


async def _check(part: Path, keys: Keys, progress: Progress) -> None:
    """Read all of it as an engine will."""
    nothing = timedelta()
    file = SqliteJournal(part, readonly=True, window=nothing, lease_time=nothing, seals=keys.seals())
    journal = SealedJournal(file, keys)
    await checking.read_through(journal, progress)
