"""The engine as it must not be: it acknowledges before the commit. Negative control of the tests that kill it.

    python -m tests.support.careless run SITE

Messages are answered from memory and committed a tenth of a second later, as engines do that trade the promise for speed.
"""

from __future__ import annotations

import asyncio

from interop_engine.cli import main
from interop_engine.journal.base import NewMessage, Stored
from interop_engine.journal.sqlite import SqliteJournal

_PAUSE = 0.1  # seconds
_careful = SqliteJournal.accept
_later: set[asyncio.Task[Stored]] = set()


async def _accept(journal: SqliteJournal, message: NewMessage) -> Stored:
    """Say that it is committed, and see to it later."""
    task = asyncio.create_task(_commit(journal, message))
    _later.add(task)
    task.add_done_callback(_later.discard)
    return Stored(message.id, message.reply)


async def _commit(journal: SqliteJournal, message: NewMessage) -> Stored:
    await asyncio.sleep(_PAUSE)
    return await _careful(journal, message)


if __name__ == "__main__":
    SqliteJournal.accept = _accept  # type: ignore[method-assign]
    main()
