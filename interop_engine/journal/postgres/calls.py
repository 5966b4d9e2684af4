"""What is queued for one group, and the calls that it is sent as: one for all jobs of a kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from interop_engine.journal.postgres import schema
from interop_engine.journal.postgres.jobs import Statement

_LARGEST: Final = 8_000_000  # bytes of content in one call, so that it takes neither side's memory

Row = tuple[Any, ...]
Cursor = psycopg.AsyncCursor[Row]


@dataclass(slots=True, eq=False)
class Job:
    """One write: a statement, and what its rows mean."""

    future: asyncio.Future[Any]
    statement: Statement
    read: Callable[[list[Row]], Any]
    rows: list[Row] = field(default_factory=list)
    error: Exception | None = None


@dataclass(slots=True)
class Call:
    """One statement, and the jobs it does."""

    query: Any
    values: Sequence[Any]
    jobs: list[Job]
    sent: Cursor | None = None

    async def send(self, connection: schema.Connection) -> None:
        """Send it."""
        self.sent = await connection.execute(self.query, self.values)

    async def answer(self) -> None:
        """Give each job its rows."""
        rows = await self.sent.fetchall() if self.sent is not None and self.sent.description else []
        if self.jobs[0].statement.gather is None:
            self.jobs[0].rows = rows
            return
        for number, *row in rows:
            self.jobs[number - 1].rows.append(tuple(row))


def gathered(jobs: Sequence[Job]) -> list[Call]:
    """One call for all jobs of a kind, in the order in which they came; more where they are large, or of one lease."""
    calls: list[list[Job]] = []
    last: dict[str, tuple[list[Job], set[int], int]] = {}
    for job in jobs:
        statement = job.statement
        same, fences, size = last.get(statement.query, ([], set(), 0))
        if not same or statement.gather is None or statement.fence in fences or size + statement.size > _LARGEST:
            same, fences, size = [], set(), 0
            calls.append(same)
        same.append(job)
        last[statement.query] = same, fences | ({statement.fence} if statement.fence else set()), size + statement.size
    return [_call([job.statement for job in same], same) for same in calls]


def _call(of: Sequence[Statement], jobs: list[Job]) -> Call:
    gather = of[0].gather
    return Call(of[0].query, of[0].values if gather is None else gather([each.values for each in of]), jobs)
