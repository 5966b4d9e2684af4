"""The engine as it must not be. Negative controls of the tests that kill and freeze it.

    python -m tests.support.careless early run SITE

``early``: it answers from memory and commits a tenth of a second later, as engines do that trade the promise for speed.
``slow``: between the lease of a delivery and its sending a second passes, so that whatever stops it is sure to fall between them.
Nothing is wrong with that. ``unfenced``: the same, and it sends without asking whether the delivery is still its own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from interop_engine.cli import main
from interop_engine.journal.base import Lease, NewMessage, Queue, Stored
from interop_engine.journal.postgres import PostgresJournal
from interop_engine.journal.sqlite import SqliteJournal

_COMMITTED_AFTER = 0.1  # seconds
_SENT_AFTER = 1.0  # seconds
_later: set[asyncio.Task[Stored]] = set()


def early(adapter: Any) -> None:
    """Say that a message is committed, and see to it later."""
    careful = adapter.accept

    async def accept(journal: Any, message: NewMessage) -> Stored:
        task = asyncio.create_task(commit(journal, message))
        _later.add(task)
        task.add_done_callback(_later.discard)
        return Stored(message.id, message.reply)

    async def commit(journal: Any, message: NewMessage) -> Stored:
        await asyncio.sleep(_COMMITTED_AFTER)
        stored: Stored = await careful(journal, message)
        return stored

    adapter.accept = accept


def slow(adapter: Any) -> None:
    """Let time pass between a delivery's lease and its sending."""
    quick = adapter.lease

    async def lease(journal: Any, queue: Queue, owner: str) -> Lease:
        found: Lease = await quick(journal, queue, owner)
        if queue.destination is not None:
            await asyncio.sleep(_SENT_AFTER)
        return found

    adapter.lease = lease


def unfenced(adapter: Any) -> None:
    """Take every lease for one's own."""
    slow(adapter)
    adapter.holds = lambda *_: True


if __name__ == "__main__":
    way = {"early": early, "slow": slow, "unfenced": unfenced}[sys.argv.pop(1)]
    for each in (SqliteJournal, PostgresJournal):
        way(each)
    main()
