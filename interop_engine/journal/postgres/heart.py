"""Each node says that it lives, and the others end the leases of one that no longer does.

A lease must outlive the slowest request, minutes; a node that was killed must be missed in seconds. So the two are told apart: a
node writes the time every second, whatever its workers wait for, and one that did not for five is dead. Times are the
database's. Who was away himself (the database was restarted, or another took over) first waits that long for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

import psycopg

from interop_engine.core.errors import JournalError
from interop_engine.journal import codec
from interop_engine.journal.postgres import schema, statements

BEAT_SECONDS: Final = 1.0
DEAD_SECONDS: Final = 5.0


class Heart:
    """Beats on a connection of its own until ``stop``."""

    def __init__(self, url: str, node: str) -> None:
        self._url = url
        self._node = node
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
                    await self._beat(connection)
                    await connection.execute(statements.LEAVE, (self._node,))
            await self._pause()

    async def _beat(self, connection: schema.Connection) -> None:
        row = await (await connection.execute(statements.NOTIFY_CHANNEL)).fetchone()
        assert row is not None
        since = time.monotonic()
        while not self._stopping.is_set():
            await connection.execute(statements.BEAT, (self._node,))
            if time.monotonic() - since > DEAD_SECONDS:
                await self._bury(connection, row[0])
            await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), BEAT_SECONDS)

    async def _bury(self, connection: schema.Connection, channel: str) -> None:
        """End the leases of the dead, and tell every node of what is free by it."""
        if not (await (await connection.execute(statements.ANY_DEAD, (DEAD_SECONDS,))).fetchall()):
            return
        async with connection.transaction():
            await connection.execute(schema.TAKE_TURNS)
            freed = await (await connection.execute(statements.BURY, (DEAD_SECONDS,))).fetchall()
            for queue, destination in freed:
                await connection.execute(statements.NOTIFY, (channel, codec.text([queue, destination or None, 0])))
