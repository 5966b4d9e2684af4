"""What earlier messages taught: written with the message that teaches it, read for the messages that ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw

from interop_engine.core.model import Known, Learned, Question, Sent
from interop_engine.journal.sqlite import codec, schema, statements
from interop_engine.journal.sqlite.transaction import Changes, Transaction


def keep(tx: Transaction, learned: Learned, message: int) -> None:
    """Write the aliases and merges one message teaches."""
    touch = tx.changes.touch
    if learned.aliases:
        tx.executemany(statements.ADD_ALIAS, [(alias, thing, message) for alias, thing in learned.aliases.items()])
        for alias in learned.aliases:
            touch(alias)
    if learned.merged:
        tx.executemany(statements.ADD_MERGE, [(retired, into, message) for retired, into in learned.merged.items()])
        for retired in learned.merged:
            touch(retired)


def keep_sent(tx: Transaction, carried: Sequence[tuple[int, Sequence[Sent]]]) -> None:
    """Write what the deliveries of one message bring: (delivery's seq, states). Equal contents are kept once."""
    if not carried:
        return
    places: dict[bytes, int] = {}
    size = 0
    tx.numbers.pack += 1
    pack = tx.numbers.pack
    rows = []
    for delivery, states in carried:
        for state in states:
            content = state.content or b""
            if (start := places.get(content)) is None:
                start = places[content] = size
                size += len(content)
            rows.append(
                (
                    state.object,
                    state.destination,
                    delivery,
                    state.digest,
                    state.version,
                    state.rank,
                    pack,
                    start,
                    len(content),
                )
            )
    tx.execute(statements.ADD_PACK, (pack, len(rows), tx.packer.pack(b"".join(places))))
    tx.executemany(statements.ADD_SENT, rows)
    objects = list({row[0] for row in rows})
    for thing in objects:
        tx.changes.touch(thing)
    destinations = list({row[1] for row in rows})
    for (old,) in tx.rows(statements.FORGET_SENT, codec.text(objects), codec.text(destinations)):
        tx.execute(statements.RELEASE_PACK, (old,))
        tx.execute(statements.FORGET_PACK, (old,))


def answer(
    connection: apsw.Connection, unpacker: codec.Unpacker, changes: Changes, question: Question, destinations: Sequence[str]
) -> Known:
    """Read the answer to a question, see ``core.model.Question``. Two or three statements, whatever the number of ids."""
    if not (question.aliases or question.objects or question.whole):
        return Known()
    moment = changes.moment
    aliases: dict[str, str] = {}
    if question.aliases:
        aliases = _pairs(schema.rows(connection, statements.ALIASES, (codec.text(question.aliases),)))
    objects = dict.fromkeys((*question.objects, *question.whole, *aliases.values()))
    whole = {*question.whole, *aliases.values()}
    merged: dict[str, str] = {}
    if objects:
        merged = _pairs(schema.rows(connection, statements.MERGES, (codec.text(list(objects)),)))
        objects.update(dict.fromkeys(merged.values()))
        whole.update(merged.values())
    sent = _read_sent(connection, unpacker, objects, whole, destinations) if objects and destinations else {}
    return Known(changes.stamp(moment, [*question.aliases, *objects]), sent, aliases, merged)


def _pairs(rows: list[tuple[str, str]]) -> dict[str, str]:
    return dict(rows)


def _read_sent(
    connection: apsw.Connection,
    unpacker: codec.Unpacker,
    objects: Iterable[str],
    whole: set[str],
    destinations: Sequence[str],
) -> dict[tuple[str, str], Sent]:
    rows = schema.rows(connection, statements.SENT, (codec.text(list(objects)), codec.text(destinations)))
    packs: dict[int, bytes] = {}
    if wanted := {row[5] for row in rows if row[0] in whole and row[7]}:
        found = schema.rows(connection, statements.PACKS, (codec.text(list(wanted)),))
        packs = {number: unpacker.pack(data) for number, data in found}
    sent: dict[tuple[str, str], Sent] = {}
    for thing, destination, digest, version, rank, pack, start, length in rows:  # oldest first: the newest stays
        content = packs[pack][start : start + length] if thing in whole and length else None
        sent[destination, thing] = Sent(destination, thing, digest, version, rank, content)
    return sent
