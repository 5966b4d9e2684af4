"""Removes what is done and old, a few messages at a time, and gives the room they had back to the disk."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryState
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.transaction import Transaction

_LOOKED_AT = 500  # messages at once: a millisecond or two
_STEP_PAGES = 256  # given back at once: 1 MiB


class Finder:
    """Finds what is done, oldest first, and goes on where it stopped: what is not done may be much, and the oldest of all."""

    def __init__(self) -> None:
        self._places: dict[str | None, tuple[int, int]] = {}  # received_at and seq of the last message looked at, by channel

    def find(self, connection: apsw.Connection, before: int | None, channel: str | None, most: int) -> tuple[list[int], bool]:
        """(some messages that are done and were received before ``before``, whether there are more to look at)."""
        query = statements.OLD if channel is None else statements.OLD_OF_CHANNEL
        place = self._places.pop(channel, (-1, -1))
        old = (codec.now() if before is None else before, *([] if channel is None else [channel]), _LOOKED_AT)
        found: list[int] = []
        looked_at = schema.rows(connection, query, (*place, *old))
        for seq, at, done in looked_at:
            self._places[channel] = (at, seq)
            if done:
                found.append(seq)
            if len(found) == most:
                return found, True
        if len(looked_at) < _LOOKED_AT:
            self._places.pop(channel, None)
            return found, False
        return found, True


def prune(tx: Transaction, found: Sequence[int]) -> int:
    """Remove those of these messages that are done still; returns how many."""
    messages = tx.rows(statements.PRUNABLE, codec.text(found))
    if not messages:
        return 0
    numbers = codec.text([row[0] for row in messages])
    deliveries = tx.rows(statements.DELIVERIES_OF, numbers)
    bodies = {body: of for _, of, _, body, _ in messages} | {body: of for _, of, _, _, body, _ in deliveries}
    for body, size in tx.rows(statements.BODY_LENGTHS, codec.text(list(bodies))):
        tx.count_stored(bodies[body], -size)
    discarded = [(row[0], row[5]) for row in deliveries if row[3] == DeliveryState.DISCARDED and row[5]]
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
