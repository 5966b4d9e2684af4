"""The tables of a journal, copied into an empty file and resealed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import apsw
import msgspec

from interop_engine.core.errors import JournalBroken
from interop_engine.core.model import Delivery, digest
from interop_engine.journal import codec
from interop_engine.journal.resealing import NAMES, Resealing, search_kind
from interop_engine.journal.sqlite import schema, statements
from interop_engine.journal.sqlite.sentstate import carried, key_number, pack

_BATCH = 1_000  # rows in a transaction; of messages each with its content, and with what it made
_WITH_ANOTHER = frozenset(
    {"bodies", "deliveries", "sent_index", "sent_before", "seals"}
)  # tables that are not copied by themselves

Row = dict[str, Any]


class TableCopy:
    """A copy under way. Raises JournalBroken, with the id of the message, for a row that does not open."""

    def __init__(self, source: apsw.Connection, target: apsw.Connection, resealing: Resealing) -> None:
        self._source = source
        self._target = target
        self._resealing = resealing
        self._packer, self._unpacker = codec.Packer(), codec.Unpacker()
        self._tables = dict(schema.rows(source, statements.TABLES))
        self._columns = {
            name: [column for (column,) in schema.rows(source, statements.COLUMNS, (name,))] for name in self._tables
        }
        self.counts = {name: _count(source, name) for name in self._tables}
        self.counts["bodies"] = int(schema.rows(source, statements.USED_BODIES)[0][0])
        self._stored: dict[str, int] = {}  # bytes of the bodies that were written, by channel
        self._before = set(schema.rows(source, statements.ALL_BEFORE))
        self._covered = int(schema.rows(source, statements.COVERED)[0][0])

    @property
    def rows(self) -> int:
        """How many rows ``run`` will have told of."""
        return sum(self.counts[name] for name in self.counts.keys() - _WITH_ANOTHER)

    def run(self) -> Iterator[int]:
        """Copy everything, a transaction at a time: after each the number of rows, what belongs to a message not counted."""
        own: Mapping[str, Callable[[], Iterator[int]]] = {
            "messages": self._messages,
            "attempts": partial(self._changed, "attempts", statements.ALL_ATTEMPTS, self._attempt),
            "events": partial(self._changed, "events", statements.ALL_EVENTS, self._event),
            "packs": self._packs,
            "search_keys": partial(self._named, "search_keys", self._search_key),
            "stored": partial(self._named, "stored", self._stored_bytes),
            **{name: partial(self._named, name, partial(self._by_kinds, NAMES[name])) for name in NAMES},
        }
        for sql in self._tables.values():
            self._target.execute(sql)
        for name in sorted(self._tables, key=lambda each: each != "messages"):  # what is told of them comes after them
            if name not in _WITH_ANOTHER:
                yield from own[name]() if name in own else self._copied(name)

    def finish(self, seals: Sequence[str]) -> None:
        """Indexes and triggers, which would have acted on rows that were copied; and whether all rows are there."""
        with self._target:
            for (sql,) in schema.rows(self._source, statements.BUILT_ON_TABLES):
                self._target.execute(sql)
            self._target.execute(statements.DROP_SEQUENCES)
            self._target.executemany(statements.ADD_SEQUENCE, schema.rows(self._source, statements.SEQUENCES))
            self._target.executemany(statements.KEEP_SEAL, [(seal,) for seal in seals])
            self._target.pragma("user_version", self._source.pragma("user_version"))
        for name in self._tables.keys() - {"seals", "sent_index"}:
            if (found := _count(self._target, name)) != self.counts[name]:
                raise JournalBroken(f"The journal has {self.counts[name]} rows of {name}, and its copy {found}.")

    # --- messages, with their contents and deliveries -----------------------------------------------------------------

    def _messages(self) -> Iterator[int]:
        rows = self._source.execute(statements.ALL_MESSAGES)
        for batch in _batches(rows):
            with self._target:
                for row in batch:
                    self._message(self._row("messages", row))
            yield len(batch)

    def _message(self, row: Row) -> None:
        with _naming(f"message {row['id']}"):
            lanes, content = codec.strings(row["lanes"]), self._body(row["body"])
            made, findings = self._resealing.message_row(row, lanes, content, self._first(row))
        self._add_body(row["body"], made.channel, made.data)
        changed = {
            "peer": made.peer,
            "control_id": made.control_id,
            "message_type": made.message_type,
            "digest": made.digest,
            "reply": made.reply,
            "lanes": codec.listing(made.lanes),
            "duplicate_key": made.duplicate_key,
            "why": made.why,
            "headers": codec.headers(made.headers),
            "findings": findings,
        }
        self._add("messages", [row | changed])
        self._deliveries(row["seq"], made.id)

    def _first(self, row: Row) -> str:
        """Under which id a message was received, as far as the messages before it are kept."""
        first, before = str(row["id"]), row["replay_of"]
        while before is not None:
            first = before
            found = schema.rows(self._source, statements.REPLAY_OF, (first,))
            before = found[0][0] if found else None
        return first

    def _deliveries(self, seq: int, message: str) -> None:
        rows = [self._row("deliveries", each) for each in schema.rows(self._source, statements.MADE_OF, (seq,))]
        if not rows:
            return
        with _naming(f"deliveries of message {message}"):
            bodies = {body: self._body(body) for body in {row["body"] for row in rows}}
            kept = [
                Delivery(
                    row["id"],
                    message,
                    row["channel"],
                    row["destination"],
                    codec.strings(row["lanes"]),
                    bodies[row["body"]],
                    row["media"],
                    codec.mapping(row["headers"]),
                )
                for row in rows
            ]
            made = self._resealing.deliveries(kept, message)
            ended = [self._resealing.ended(row["state"], row["why"], message) for row in rows]
        written = {row["body"]: (row["channel"], each.body) for row, each in zip(rows, made, strict=True)}
        for body, (channel, data) in written.items():
            self._add_body(body, channel, data)
        changed = [
            {
                "lanes": codec.listing(each.lanes),
                "size": len(each.body),
                "digest": digest(each.body),
                "headers": codec.headers(each.headers),
                "why": why,
            }
            for each, why in zip(made, ended, strict=True)
        ]
        self._add("deliveries", [row | each for row, each in zip(rows, changed, strict=True)])

    def _body(self, number: int) -> bytes:
        found = schema.rows(self._source, statements.BODY, (number,))
        if not found:
            raise JournalBroken("Its content is missing.")
        return self._unpacker.body(*found[0])

    def _add_body(self, number: int, channel: str, data: bytes) -> None:
        body = self._packer.body(data)
        self._target.execute(statements.ADD_BODY, (number, *body))
        self._stored[channel] = self._stored.get(channel, 0) + len(body[-1])

    # --- what became of them ------------------------------------------------------------------------------------------

    def _changed(self, table: str, query: str, change: Callable[[Row, str | None], Row]) -> Iterator[int]:
        """Copy the rows of a query: a table's columns, and the id of the message that each belongs to."""
        for batch in _batches(self._source.execute(query)):
            with self._target:
                self._add(table, [change(self._row(table, row), row[-1]) for row in batch])
            yield len(batch)

    def _attempt(self, row: Row, message: str | None) -> Row:
        assert message is not None, "an attempt goes with its message"
        with _naming(f"attempts of message {message}"):
            return row | {"why": self._resealing.ended(row["outcome"], row["why"], message)}

    def _event(self, row: Row, message: str | None) -> Row:
        with _naming(f"events of message {message}"):
            return row | {"detail": self._resealing.event(row["what"], row["detail"], message)}

    # --- names --------------------------------------------------------------------------------------------------------

    def _named(self, table: str, change: Callable[[Row], Row]) -> Iterator[int]:
        """Copy a table that is kept in the order of its names: in the new order, as far as a batch goes."""
        for batch in _batches(self._all(table)):
            with _naming(f"names in {table}"):
                rows = [change(self._row(table, row)) for row in batch]
            with self._target:
                self._add(table, sorted(rows, key=lambda row: tuple(row.values())))
            yield len(batch)

    def _search_key(self, row: Row) -> Row:
        return row | {"value": self._resealing.name(search_kind(row["kind"]), row["value"])}

    def _stored_bytes(self, row: Row) -> Row:
        return row | {"bytes": self._stored.get(row["channel"], 0)}

    def _by_kinds(self, kinds: Mapping[str, str], row: Row) -> Row:
        return row | {column: self._resealing.name(kind, row[column]) for column, kind in kinds.items()}

    # --- what was sent ------------------------------------------------------------------------------------------------

    def _packs(self) -> Iterator[int]:
        for batch in _batches(self._source.execute(statements.ALL_PACKS)):
            places: dict[int, tuple[int, int | None]] = {}  # of a state: the newest pack that has it, and the one before
            with self._target:
                for row in batch:
                    self._pack(self._row("packs", row), places)
                indexed = sorted((key, *packs) for key, packs in places.items())
                self._target.executemany(statements.INDEX_SENT, indexed)
            yield len(batch)

    def _pack(self, row: Row, places: dict[int, tuple[int, int | None]]) -> None:
        number = row["id"]
        with _naming(f"states {number}"):
            data = self._unpacker.pack(row["data"], row["size"])
            kept = carried(data, row["states"])
            resealed = self._resealing.states(kept)
            made = pack(resealed)
            before = {
                (key_number(new[:2]), number)
                for (_, olds), (_, news) in zip(kept, resealed, strict=True)
                for old, new in zip(olds, news, strict=True)
                if (key_number(old[:2]), number) in self._before
            }
        self._target.executemany(statements.KEEP_BEFORE, sorted(before))
        self._add("packs", [row | {"states": made.start, "size": len(made.data), "data": self._packer.pack(made.data)}])
        if number <= self._covered:
            for key in map(key_number, made.states):
                places[key] = (number, places[key][0] if key in places else None)

    # --- any table ----------------------------------------------------------------------------------------------------

    def _copied(self, table: str) -> Iterator[int]:
        for batch in _batches(self._all(table)):
            with self._target:
                self._add(table, [self._row(table, row) for row in batch])
            yield len(batch)

    def _all(self, table: str) -> apsw.Cursor:
        columns = ", ".join(self._columns[table])
        return self._source.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - names of the journal's own schema

    def _row(self, table: str, values: Sequence[Any]) -> Row:
        return dict(zip(self._columns[table], values, strict=False))

    def _add(self, table: str, rows: Sequence[Row]) -> None:
        columns = self._columns[table]
        marks = ", ".join("?" * len(columns))
        query = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - as above
        self._target.executemany(query, [tuple(row[column] for column in columns) for row in rows])


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say what it is that does not open."""
    try:
        yield
    except (JournalBroken, msgspec.MsgspecError) as error:
        raise JournalBroken(f"{what}: {error}") from None


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    them = iter(rows)
    while batch := list(islice(them, _BATCH)):
        yield batch


def _count(connection: apsw.Connection, table: str) -> int:
    return int(schema.rows(connection, f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - a name of the journal's own schema
