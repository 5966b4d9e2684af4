"""Each node says that it lives, and the others end the turn and the leases of one that no longer does.

A lease must outlive the slowest request, minutes; a node that was killed must be missed in seconds. So the two are told apart: a
node writes the time every second, whatever its workers wait for, and one that did not for five is dead. Times are the
database's. Who was away himself (the database was restarted, another took over, this machine stood still) first waits that long
for the others. The heart beats in the event loop that does the work: a node whose loop stands sends nothing either.

A node that is frozen in the middle of its turn keeps the lock of all writers: its server process waits for it, which no limit of
the server covers. So each beat looks who has the turn and what he waits for, and ends a connection that has waited for its node
for three seconds while that node does not beat (or for twenty, whatever it does: its network may have swallowed the rest).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

import psycopg

from interop_engine.core.errors import JournalError
from interop_engine.journal import codec
from interop_engine.journal.postgres import schema, statements
from interop_engine.journal.postgres.desks import Desks

BEAT_SECONDS: Final = 1.0
DEAD_SECONDS: Final = 5.0
_AWAY_SECONDS = 2.5  # between two beats of our own: then the others may have been as slow
_FROZEN_SECONDS = 3.0  # that the server waits for a node which has the turn
_SILENT_SECONDS = 20.0  # the same, of one that beats
_ANSWER_SECONDS = 5.0


class Heart:
    """Beats on a connection of its own until ``stop``."""

    def __init__(self, url: str, node: str, desks: Desks) -> None:
        """``desks`` is told of each beat that the database has."""
        self._url = url
        self._node = node
        self._desks = desks
        self._turns = _Turns()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._task = asyncio.create_task(self._run(), name="journal-heart")

    async def stop(self) -> None:
        """Stop: the leases are given back already, and nobody need wait for this node."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(psycopg.Error, OSError, JournalError):
                async with await schema.connect(self._url) as connection:
                    await self._live(connection)
                    with schema.within(connection, _ANSWER_SECONDS):
                        await connection.execute(statements.LEAVE, (self._node,))
            await self._pause()

    async def _live(self, connection: schema.Connection) -> None:
        since = last = time.monotonic()
        while not self._stopping.is_set():
            began = time.monotonic()
            if began - last > _AWAY_SECONDS:
                since = began
            last = began
            with schema.within(connection, _ANSWER_SECONDS):
                await beat(connection, self._node, self._desks)
                await self._turns.look(connection)
                if began - since > DEAD_SECONDS:
                    await self._bury(connection)
            await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), BEAT_SECONDS)

    async def _bury(self, connection: schema.Connection) -> None:
        """End the leases of the dead, and tell every node of what is free by it."""
        if not (await (await connection.execute(statements.ANY_DEAD, (DEAD_SECONDS,))).fetchall()):
            return
        with contextlib.suppress(psycopg.errors.LockNotAvailable):  # the next beat tries again, and beating goes on meanwhile
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                await connection.execute(schema.TAKE_TURNS)
                freed = await (await connection.execute(statements.BURY, (DEAD_SECONDS,))).fetchall()
                for queue, destination in freed:
                    text = codec.text([queue, destination or None, 0])
                    await connection.execute(statements.NOTIFY_ALL, (text,))


class _Turns:
    """Who has the turn of all writers, and since when his server process waits for him."""

    def __init__(self) -> None:
        self._seen: tuple[Any, ...] | None = None
        self._since = 0.0

    async def look(self, connection: schema.Connection) -> None:
        """End the connection of a node that stands in the middle of its turn."""
        found = await (await connection.execute(statements.TURN)).fetchone()
        now = time.monotonic()
        if found is None or found[:-1] != self._seen:
            self._seen, self._since = found and found[:-1], now
            return
        patience = _FROZEN_SECONDS if found[-1] else _SILENT_SECONDS
        if now - self._since >= patience:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):  # of a node with a role of its own
                await connection.execute(statements.END_CONNECTION, (found[0],))


async def beat(connection: schema.Connection, node: str, desks: Desks) -> None:
    """Say once that a node lives."""
    began = time.monotonic()
    row = await (await connection.execute(statements.BEAT, (node,))).fetchone()
    assert row is not None
    desks.heard(began, buried=row[0])
