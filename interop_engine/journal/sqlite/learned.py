"""What earlier messages taught: written with the message that teaches it, read for the messages that ask."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from interop_engine.core.model import Known, Learned, Question
from interop_engine.journal import codec
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.sentstate import SentReader
from interop_engine.journal.sqlite.transaction import Changes, Merges, Transaction


def keep(tx: Transaction, learned: Learned, message: int) -> None:
    """Write the aliases and merges one message teaches."""
    if learned.aliases:
        tx.executemany(statements.ADD_ALIAS, [(alias, thing, message) for alias, thing in learned.aliases.items()])
        tx.changes.touch(tuple(dict.fromkeys(alias.partition("\t")[0] for alias in learned.aliases)))
    if learned.merged:
        tx.keep_merged(learned.merged, message)


def answer(
    connection: apsw.Connection,
    changes: Changes,
    merges: Merges,
    sent: SentReader,
    question: Question,
    destinations: Sequence[str],
) -> Known:
    """Read the answer to a question, see ``core.model.Question``. A few statements, whatever the number of ids."""
    if not (question.aliases or question.objects or question.whole):
        return Known()
    moment = changes.moment
    connection.execute(statements.BEGIN_READING)  # one snapshot, and one look at the file's locks
    try:
        return _answer(connection, changes, moment, merges, sent, question, destinations)
    finally:
        connection.execute(statements.END_READING)


def names(connection: apsw.Connection, question: Question) -> Known:
    """The aliases and merges alone, which a reader beside the engine can tell. Without a stamp: nothing is forwarded by it."""
    aliases = _pairs(schema.rows(connection, statements.ALIASES, (codec.text(question.aliases),))) if question.aliases else {}
    objects = dict.fromkeys((*question.objects, *question.whole, *aliases.values()))
    return Known(aliases=aliases, merged=_merged(connection, None, list(objects)))


def _answer(
    connection: apsw.Connection,
    changes: Changes,
    moment: int,
    merges: Merges,
    sent: SentReader,
    question: Question,
    destinations: Sequence[str],
) -> Known:
    aliases: dict[str, str] = {}
    if question.aliases:
        aliases = _pairs(schema.rows(connection, statements.ALIASES, (codec.text(question.aliases),)))
    objects = dict.fromkeys((*question.objects, *question.whole, *aliases.values()))
    whole = {*question.whole, *aliases.values()}
    merged: dict[str, str] = {}
    if objects:
        merged = _merged(connection, merges, list(objects))
        objects.update(dict.fromkeys(merged.values()))
        whole.update(merged.values())
    states = sent.find([(name, thing) for name in destinations for thing in objects], whole)
    return Known(changes.stamp(moment, [*question.aliases, *objects]), states, aliases, merged)


def _merged(connection: apsw.Connection, merges: Merges | None, things: list[str]) -> dict[str, str]:
    """Every step from these objects to their survivors. Most objects were never merged: then it is one look."""
    merged: dict[str, str] = {}
    while things:
        found = merges.of(things) if merges is not None else None
        if found is None:
            found = _pairs(schema.rows(connection, statements.MERGES, (codec.text(things),)))
        merged.update(found)
        things = [into for into in found.values() if into not in merged]
    return merged


def _pairs(rows: list[tuple[str, str]]) -> dict[str, str]:
    return dict(rows)
