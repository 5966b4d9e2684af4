"""Receipts: those this node owes the senders on the exchange, and those it was given. See the triggers in the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from interop_engine.core.model import Receipt, Report
from interop_engine.journal import codec, texts
from interop_engine.journal.base import Queue
from interop_engine.journal.receipts import ACCEPTED, encoded, report
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.reads import Reads
from interop_engine.journal.sqlite.transaction import Transaction


def due(reads: Reads, after: int, limit: int) -> list[Report]:
    """What senders are to be told."""
    rows = schema.rows(reads.connection, statements.REPORTS, (after, limit))
    deliveries = reads.deliveries([row[0] for row in rows])
    return [
        report(message, codec.moment(at), codec.mapping(headers), deliveries.get(seq, ())) for seq, *message, at, headers in rows
    ]


def sent(tx: Transaction, numbers: Sequence[int]) -> None:
    """They were told."""
    tx.execute(statements.DROP_REPORTS, (codec.text(numbers),))


def keep(tx: Transaction, by: str, receipts: Sequence[Receipt]) -> None:
    """Keep what a receiver says of what was sent to it."""
    for each in map(texts.receipt, receipts):
        for (seq,) in tx.rows(statements.ADDRESSED, each.delivery, texts.plain(by)):
            values = (each.number, each.message, each.state, each.code, codec.micros(each.taken_at), encoded(each.steps))
            tx.execute(statements.KEEP_RECEIPT, (seq, each.channel, *values))
            if each.state != ACCEPTED:
                tx.execute(statements.AWAIT_NO_MORE, (seq,))


def overdue(reads: Reads, before: int) -> Mapping[Queue, int]:
    """What receivers have not said the last word of."""
    found = schema.rows(reads.connection, statements.OVERDUE, (before,))
    return {Queue(channel, destination): n for channel, destination, n in found}
