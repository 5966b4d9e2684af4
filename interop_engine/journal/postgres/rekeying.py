"""A journal in a database anew with other keys: all of it in a second schema, which takes the first one's place once it is whole.

As of a file (``sqlite.rekeying``), nothing is changed in place: rows that were written over would still be in the tables' free
room. The journal before is put aside in a schema of its own, for the site to drop. Nodes are stopped: from the first step to the
last the turn of all writers is held; who is connected still is cut off at the end, and finds that its keys are not the journal's.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from interop_engine.core.errors import JournalError, JournalFull
from interop_engine.journal import checking
from interop_engine.journal.checking import Progress
from interop_engine.journal.keys import Keys
from interop_engine.journal.postgres import schema, statements
from interop_engine.journal.postgres.heart import DEAD_SECONDS
from interop_engine.journal.postgres.journal import PostgresJournal
from interop_engine.journal.postgres.tablecopy import TableCopy
from interop_engine.journal.resealing import Resealing
from interop_engine.journal.sealed import SealedJournal
from interop_engine.journal.seals import new_seals

_CREATE = sql.SQL("CREATE SCHEMA {}")
_DROP = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")


async def rekey(url: str, old: Keys | None, new: Keys, progress: Progress = lambda _done, _of: None) -> str:
    """Encrypt a journal in plain (``old`` is None), or change its keys; returns the schema where the journal before it was put.

    Until the last step it stays as it was. Raises JournalError where a node works on it or these are not its keys, JournalBroken
    for a row that does not open, JournalFull where the server has no room for a second journal.
    """
    with _translated():
        async with _alone(url, old) as source:
            place = str(await _value(source, "SELECT current_schema()"))
            part = f"{place}_rekey"
            try:
                await source.execute(_DROP.format(sql.Identifier(part)))  # of a try that was killed
                await source.execute(_CREATE.format(sql.Identifier(part)))
                rows = await _write(source, _inside(url, part), Resealing(old, new), new, progress)
                await _check(_inside(url, part), new, lambda done, of: progress(rows + done, rows + of))
                return await _swap(source, part, place)
            finally:
                await _drop(source, part)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull:
        raise JournalFull("The database's disk has become full: nothing was changed.") from None
    except (psycopg.Error, OSError) as error:
        raise JournalError(f"The journal cannot be written anew, and stays as it was: {schema.describe(error)}") from None


@asynccontextmanager
async def _alone(url: str, keys: Keys | None) -> AsyncIterator[schema.Connection]:
    """The journal of now, which no node works on, and none begins to."""
    async with await schema.connect(url, listings=True) as connection:
        await connection.execute("SET idle_in_transaction_session_timeout = 0")  # we read, and write elsewhere meanwhile
        if not await _value(connection, "SELECT to_regclass('journal_schema') IS NOT NULL"):
            raise JournalError(f"There is no journal at {schema.place(url)} yet.")
        await connection.execute(statements.TAKE_ALL_TURNS)
        await schema.migrate(connection)
        if await _value(connection, statements.ALIVE, (DEAD_SECONDS,)):
            raise JournalError(f"A node works on the journal at {schema.place(url)}: stop all nodes, and wait five seconds.")
        kept = [row[0] for row in await (await connection.execute(statements.SEALS)).fetchall()]
        new_seals(kept, keys.seals() if keys else (), holds=bool(await _value(connection, statements.HOLDS)))
        yield connection


def _inside(url: str, name: str) -> str:
    """The same database, in another schema."""
    before = str(conninfo_to_dict(url).get("options") or "")
    quoted = '"' + name.replace('"', '""') + '"'
    path = quoted.replace("\\", "\\\\").replace(" ", "\\ ")
    return make_conninfo(url, options=f"{before} -csearch_path={path}".strip())


async def _write(source: schema.Connection, url: str, resealing: Resealing, new: Keys, progress: Progress) -> int:
    """Write the second journal; returns how many rows are in it."""
    async with await schema.connect(url) as target:
        await schema.migrate(target)
        await target.execute(
            "SET synchronous_commit = off"
        )  # it is of no use until it is whole; what comes after makes it durable
        async with source.transaction():
            await source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            copy = TableCopy(source, target, resealing)
            rows, done = await copy.prepare(), 0
            async for copied in copy.run():
                done += copied
                progress(done, rows + copy.counts["messages"])
            await copy.finish(new_seals((), new.seals(), holds=False))
        return rows


async def _check(url: str, keys: Keys, progress: Progress) -> None:
    """Read all of it as an engine will."""
    nothing = timedelta()
    journal = SealedJournal(PostgresJournal(url, readonly=True, window=nothing, lease_time=nothing, seals=keys.seals()), keys)
    await checking.read_through(journal, progress)


async def _swap(connection: schema.Connection, part: str, place: str) -> str:
    """Give the second journal the first one's place, in one transaction, and nobody else a connection that knew the first."""
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '10s'")
        aside = str(await _value(connection, statements.FREE_SCHEMA, (place,)))
        await connection.execute(_CREATE.format(sql.Identifier(aside)))
        await connection.execute(statements.END_OTHERS)
        for table in await _column(connection, statements.TABLES_OF, part):
            for before, after in ((place, aside), (part, place)):
                await _move(connection, sql.SQL("TABLE {}").format(sql.Identifier(before, table)), after)
        await _move(connection, sql.SQL("SEQUENCE {}").format(sql.Identifier(place, "fences")), aside)
        await _move(connection, sql.SQL("SEQUENCE {}").format(sql.Identifier(part, "fences")), place)
        await connection.execute("SET LOCAL search_path TO ''")  # so that functions are named in full
        for before, after in ((place, aside), (part, place)):
            for function in await _column(connection, statements.FUNCTIONS_OF, before, part):
                await _move(connection, sql.SQL("FUNCTION {}").format(sql.SQL(function)), after)
    return aside


async def _move(connection: schema.Connection, what: sql.Composed, where: str) -> None:
    await connection.execute(sql.SQL("ALTER {} SET SCHEMA {}").format(what, sql.Identifier(where)))


async def _drop(connection: schema.Connection, name: str) -> None:
    with contextlib.suppress(psycopg.Error):  # what stopped us is told, and the next try drops it
        await connection.execute(_DROP.format(sql.Identifier(name)))


async def _value(connection: schema.Connection, query: Any, values: tuple[Any, ...] = ()) -> Any:
    row = await (await connection.execute(query, values)).fetchone()
    assert row is not None
    return row[0]


async def _column(connection: schema.Connection, query: Any, *values: str) -> list[str]:
    return [row[0] for row in await (await connection.execute(query, values)).fetchall()]
