"""The connections for reading: made when they are needed, and made again when they were lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from interop_engine.core.errors import JournalError
from interop_engine.journal.postgres import schema


class Session:
    """One connection, and one query at a time."""

    def __init__(self, url: str, *, listings: bool, seconds: float) -> None:
        """``seconds``: how long an answer may take."""
        self._url = url
        self._listings = listings
        self._seconds = seconds
        self._connection: schema.Connection | None = None
        self._lock = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether it is asked something now."""
        return self._lock.locked()

    async def rows(self, query: Any, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises JournalError where the database cannot be reached, or gives no answer."""
        async with self._lock:
            again = self._connection is not None  # its server was restarted since: try a new one, once
            while True:
                try:
                    return await self._rows(query, values)
                except (psycopg.Error, OSError) as error:
                    if isinstance(error, psycopg.OperationalError | OSError):
                        await self._drop()
                        if again and not isinstance(error, schema.NoAnswer):
                            again = False
                            continue
                    raise JournalError(f"The journal's database cannot be read: {schema.describe(error)}") from None

    async def _rows(self, query: Any, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = await schema.connect(self._url, listings=self._listings)
            with schema.within(self._connection, self._seconds):
                await schema.check_version(self._connection)
        with schema.within(self._connection, self._seconds):
            return await (await self._connection.execute(query, values)).fetchall()

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def close(self) -> None:
        """Disconnect."""
        async with self._lock:
            await self._drop()


class Sessions:
    """Several of them: what workers ask side by side need not wait for each other."""

    def __init__(self, url: str, count: int, *, seconds: float) -> None:
        """``seconds``: how long an answer may take."""
        self._sessions = [Session(url, listings=False, seconds=seconds) for _ in range(count)]

    async def rows(self, query: Any, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, by the first session that is free; see ``Session.rows``."""
        free = next((session for session in self._sessions if not session.busy), None)
        if free is None:
            free = self._sessions[0]
            self._sessions.append(self._sessions.pop(0))  # the next who finds none free waits for another
        return await free.rows(query, values)

    async def close(self) -> None:
        """Disconnect."""
        for session in self._sessions:
            await session.close()
