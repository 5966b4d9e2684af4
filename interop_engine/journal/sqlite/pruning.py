"""Removes what is done and old, a few messages at a time, and gives the room they had back to the disk."""

from __future__ import annotations

from typing import Any

from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryState
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.transaction import Transaction

_STEP_PAGES = 256  # given back at once: 1 MiB


def prune(tx: Transaction, before: int | None, channel: str | None, most: int) -> int:
    """Remove the oldest messages that are done, received before ``before`` (microseconds); returns how many."""
    values: tuple[Any, ...] = (codec.now() if before is None else before,)
    if channel is None:
        messages = tx.rows(statements.PRUNABLE, *values, most)
    else:
        messages = tx.rows(statements.PRUNABLE_OF_CHANNEL, *values, channel, most)
    if not messages:
        return 0
    numbers = codec.text([row[0] for row in messages])
    deliveries = tx.rows(statements.DELIVERIES_OF, numbers)
    bodies = {row[3] for row in messages} | {row[4] for row in deliveries}
    discarded = [(row[0],) for row in deliveries if row[3] == DeliveryState.DISCARDED and row[5]]
    tx.executemany(statements.KEEP_OUT_OF_FORCE, discarded)
    tx.execute(statements.DROP_ATTEMPTS, (codec.text([row[0] for row in deliveries]),))
    tx.execute(statements.DROP_BODIES, (codec.text(list(bodies)),))
    keys = [(channel_, key, seq) for seq, channel_, _, _, key in messages if key is not None]
    tx.executemany(statements.DROP_DUPLICATES, keys)
    for statement in (statements.DROP_DELIVERIES, statements.DROP_KEYS, statements.DROP_EVENTS, statements.DROP_MESSAGES):
        tx.execute(statement, (numbers,))
    for _, of, state, _, _ in messages:
        tx.count_message(of, state, -1)
    for _, of, destination, state, _, _ in deliveries:
        tx.count_delivery(of, destination, state, -1)
    return len(messages)


def shrink(tx: Transaction, limit: int) -> bool:
    """Give a little free space back: what is above ``limit`` bytes (0: none is set), or above a quarter of the file.

    The rest is kept for what comes next: a file that shrinks and grows again every day only wears the disk out.
    """
    pages, free, size = schema.pages(tx.connection)
    surplus = min(free, max(free - pages // 4, pages - limit // size if limit else 0))
    if surplus <= 0:
        return False
    tx.rows(f"PRAGMA incremental_vacuum({min(surplus, _STEP_PAGES)})")
    return surplus > _STEP_PAGES
