"""What the other nodes announce. Nothing depends on it but the speed with which an idle node finds work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import psycopg
from psycopg import sql

from interop_engine.core.errors import JournalError
from interop_engine.journal.base import Queue
from interop_engine.journal.postgres import schema, statements
from interop_engine.journal.postgres.desks import Desks

_RECONNECT_SECONDS = 1.0
_decode = msgspec.json.Decoder(tuple[str, str | None, int]).decode


class Listener:
    """Listens on a connection of its own until ``stop``."""

    def __init__(self, url: str, desks: Desks, own: Callable[[], int]) -> None:
        """``own``: the process id of the server for our writer, whose announcements are no news."""
        self._url = url
        self._desks = desks
        self._own = own
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run(), name="journal-listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(psycopg.Error, OSError, JournalError):
                async with await schema.connect(self._url) as connection:
                    await self._listen(connection)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self, connection: schema.Connection) -> None:
        row = await (await connection.execute(statements.NOTIFY_CHANNEL)).fetchone()
        assert row is not None
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(row[0])))
        self._desks.look_everywhere()  # what was announced before, nobody told us
        async for notice in connection.notifies():
            if notice.pid != self._own():
                channel, destination, due = _decode(notice.payload)
                self._desks.touch(Queue(channel, destination), due)
