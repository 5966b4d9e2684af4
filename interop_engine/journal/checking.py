"""Whether what a journal holds is as it was written: every content, and in an encrypted journal every row that certifies one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from interop_engine.core.errors import JournalBroken, UnknownItem
from interop_engine.core.model import digest
from interop_engine.journal.base import DeliveryRow, Journal, MessageRow, Selection

_PAGE = 200

Progress = Callable[[int, int], None]  # done, of


async def faults(journal: Journal, progress: Progress = lambda _done, _of: None) -> AsyncIterator[str]:
    """What is wrong with the messages and deliveries of an open journal, newest first. Nothing where all is well."""
    count = sum(sum(states.values()) for states in (await journal.totals()).values())
    done = 0
    before: str | None = None
    while page := await journal.search(Selection(limit=_PAGE, before=before)):
        for row in page:
            for fault in [await _message(journal, row), *[await _delivery(journal, each) for each in row.deliveries]]:
                if fault:
                    yield fault
        done += len(page)
        progress(min(done, count), count)
        await asyncio.sleep(0)  # where it can be interrupted: a file is read without waiting for anything
        before = page[-1].id


async def read_through(journal: Journal, progress: Progress) -> None:
    """Open a journal, read all of it as an engine will, and close it. Raises JournalBroken for what is not as it was written."""
    await journal.open()
    try:
        if found := [each async for each in faults(journal, progress)]:
            raise JournalBroken(f"{len(found)} rows of the journal are not as they were written, first {found[0]}.")
    finally:
        await journal.close()


async def _message(journal: Journal, row: MessageRow) -> str:
    try:
        got = await journal.content(row.id)
    except (JournalBroken, UnknownItem) as error:
        return f"message {row.id}: {_how(error)}"
    return "" if digest(got.data) == got.digest else f"message {row.id}: its content is another's, or its digest was changed"


async def _delivery(journal: Journal, row: DeliveryRow) -> str:
    try:
        got = await journal.body(row.id)
    except (JournalBroken, UnknownItem) as error:
        return f"delivery {row.id}: {_how(error)}"
    return "" if digest(got.body) == row.digest else f"delivery {row.id}: its content is another's, or its digest was changed"


def _how(error: Exception) -> str:
    return "it, or its content, is not as it was written" if isinstance(error, JournalBroken) else "its content is missing"
