"""The tables of a journal, copied into an empty one in another schema and resealed on the way.

Tables are copied with every column they have; only those that hold something sealed are known here (and see
``journal.resealing``). Row numbers stay, since rows cite one another by them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from interop_engine.core.errors import JournalBroken
from interop_engine.core.model import Delivery, Sent, digest
from interop_engine.journal import codec
from interop_engine.journal.postgres import schema, statements
from interop_engine.journal.resealing import NAMES, Resealing, search_kind

_BATCH = 500  # rows
_BYTES = 8_000_000  # of contents that are held before they are written
_WITH_ANOTHER: Final = frozenset({"bodies", "deliveries", "sent"})  # tables that are not copied by themselves
_OWN: Final = frozenset({"journal_schema", "seals"})  # what a new journal has of its own
_CITED: Final = ("messages", "deliveries")  # before the tables whose rows must have one of these

Row = dict[str, Any]


class TableCopy:
    """A copy under way. Raises JournalBroken, with the id of the message, for a row that does not open."""

    def __init__(self, source: schema.Connection, target: schema.Connection, resealing: Resealing) -> None:
        """``source`` is in a transaction that sees one moment. ``target``: its journal is empty."""
        self._source = source
        self._target = target
        self._resealing = resealing
        self._packer, self._unpacker = codec.Packer(), codec.Unpacker()
        self.counts: dict[str, int] = {}
        self._held: dict[str, list[Row]] = {"bodies": [], "messages": [], "deliveries": []}
        self._bytes = 0
        self._stored: dict[str, int] = {}  # bytes of the bodies that were written, by channel

    async def prepare(self) -> int:
        """See what there is; returns how many rows ``run`` will tell of."""
        for (table,) in await (await self._target.execute(statements.TABLES)).fetchall():
            if table not in _OWN:
                self.counts[table] = await _count(self._source, table)
        ((self.counts["bodies"],),) = await (await self._source.execute(statements.USED_BODIES)).fetchall()
        return sum(self.counts[table] for table in self.counts.keys() - _WITH_ANOTHER)

    async def run(self) -> AsyncIterator[int]:
        """Copy everything; after each step the number of rows, what belongs to a message not counted."""
        own: Mapping[str, Callable[[], AsyncIterator[int]]] = {
            "messages": self._messages,
            "packs": self._packs,
            "attempts": partial(self._changed, statements.ALL_ATTEMPTS, self._attempt),
            "events": partial(self._changed, statements.ALL_EVENTS, self._event),
            "search_keys": partial(self._changed, _all("search_keys"), self._search_key),
            "tally": self._tallies,
            "work": partial(self._changed, _all("work"), self._work),
            "work_lanes": partial(self._changed, _all("work_lanes"), partial(self._names, {"lane": "lane"})),
            **{
                name: partial(self._changed, _all(name), partial(self._names, NAMES[name])) for name in NAMES.keys() & self.counts
            },
        }
        for table in _CITED:
            await self._triggers(table, "DISABLE")
        for table in sorted(self.counts.keys() - _WITH_ANOTHER, key=lambda each: each != "messages"):
            async for done in own[table]() if table in own else self._changed(_all(table), lambda row: row):
                await self._flush(table)
                yield done
        for table in _CITED:
            await self._triggers(table, "ENABLE")

    async def finish(self, seals: Sequence[str]) -> None:
        """Numbers that were given once, the new keys, and whether all rows are there."""
        for (sequence,) in await (await self._target.execute(statements.SEQUENCES)).fetchall():
            ((last, called),) = await (
                await self._source.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(sequence)))
            ).fetchall()
            await self._target.execute("SELECT setval(%s::regclass, %s, %s)", (f'"{sequence}"', last, called))
        await self._target.execute(statements.KEEP_SEALS, (list(seals),))
        for table, count in self.counts.items():
            if (found := await _count(self._target, table)) != count:
                raise JournalBroken(f"The journal has {count} rows of {table}, and its copy {found}.")

    async def _triggers(self, table: str, what: str) -> None:
        """They would act on rows that are copied, and what they did is copied."""
        await self._target.execute(sql.SQL(f"ALTER TABLE {{}} {what} TRIGGER USER").format(sql.Identifier(table)))

    # --- messages, with their contents and deliveries -----------------------------------------------------------------

    async def _messages(self) -> AsyncIterator[int]:
        async for batch in self._batches(_all("messages", "seq")):
            for row in batch:
                await self._message(row)
                if self._bytes > _BYTES:
                    await self._flush("messages")
            yield len(batch)

    async def _message(self, row: Row) -> None:
        with _naming(f"message {row['id']}"):
            content, first = await self._body(row["body"]), await self._first(row)
            made, findings = self._resealing.message_row(row, row["lanes"], content, first)
        self._add_body(row["body"], made.channel, made.data)
        changed = {
            "peer": made.peer,
            "control_id": made.control_id,
            "message_type": made.message_type,
            "digest": made.digest,
            "reply": made.reply,
            "lanes": list(made.lanes),
            "duplicate_key": made.duplicate_key,
            "why": made.why,
            "headers": codec.headers(made.headers),
            "findings": findings,
        }
        self._held["messages"].append(row | changed)
        await self._deliveries(row["seq"], made.id)

    async def _first(self, row: Row) -> str:
        """Under which id a message was received, as far as the messages before it are kept."""
        first, before = str(row["id"]), row["replay_of"]
        while before is not None:
            first = before
            found = await self._rows(statements.REPLAY_OF, (first,))
            before = found[0]["replay_of"] if found else None
        return first

    async def _deliveries(self, seq: int, message: str) -> None:
        rows = await self._rows(statements.MADE_OF, (seq,))
        if not rows:
            return
        with _naming(f"deliveries of message {message}"):
            bodies = {body: await self._body(body) for body in {row["body"] for row in rows}}
            kept = [
                Delivery(
                    row["id"],
                    message,
                    row["channel"],
                    row["destination"],
                    tuple(row["lanes"]),
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
        self._held["deliveries"].extend(
            row
            | {
                "lanes": list(each.lanes),
                "size": len(each.body),
                "digest": digest(each.body),
                "headers": codec.headers(each.headers),
                "why": why,
            }
            for row, each, why in zip(rows, made, ended, strict=True)
        )

    async def _body(self, number: int) -> bytes:
        found = await self._rows(statements.BODY, (number,))
        if not found:
            raise JournalBroken("Its content is missing.")
        return self._unpacker.body(*found[0].values())

    def _add_body(self, number: int, channel: str, data: bytes) -> None:
        body = self._packer.body(data)
        self._held["bodies"].append(dict(zip(("id", "digest", "size", "zipped", "data"), (number, *body), strict=True)))
        self._bytes += len(body[-1])
        self._stored[channel] = self._stored.get(channel, 0) + len(body[-1])

    async def _flush(self, table: str) -> None:
        if table == "messages":
            for name, rows in self._held.items():
                await self._add(name, rows)
                rows.clear()
            self._bytes = 0

    # --- what became of them, and names -------------------------------------------------------------------------------

    async def _changed(self, query: sql.Composed | str, change: Callable[[Row], Row]) -> AsyncIterator[int]:
        """Copy the rows of a query, which begin with the name of their table."""
        async for batch in self._batches(query):
            table = batch[0]["of_table"]
            with _naming(f"names in {table}"):
                rows = [change({name: value for name, value in row.items() if name != "of_table"}) for row in batch]
            await self._add(table, rows)
            yield len(batch)

    def _attempt(self, row: Row) -> Row:
        message = row.pop("of_message")
        with _naming(f"attempts of message {message}"):
            return row | {"why": self._resealing.ended(row["outcome"], row["why"], message)}

    def _event(self, row: Row) -> Row:
        message = row.pop("of_message")
        with _naming(f"events of message {message}"):
            return row | {"detail": self._resealing.event(row["what"], row["detail"], message)}

    def _search_key(self, row: Row) -> Row:
        return row | {"value": self._resealing.name(search_kind(row["kind"]), row["value"])}

    async def _tallies(self) -> AsyncIterator[int]:
        """What is sealed is longer: how much each channel has is counted anew."""
        stored = [
            {"kind": "stored", "channel": channel, "name": "", "state": "", "n": n} for channel, n in sorted(self._stored.items())
        ]
        await self._add("tally", stored)
        copied = len(stored)
        async for done in self._changed(statements.ALL_TALLIES, self._tally):
            copied += done
            yield done
        self.counts["tally"] = copied

    def _tally(self, row: Row) -> Row:
        return row | {"name": self._resealing.name("ledger", row["name"])} if row["kind"] == "unread" else row

    def _work(self, row: Row) -> Row:
        return row | {"lanes": [self._resealing.name("lane", lane) for lane in row["lanes"]]}

    def _names(self, kinds: Mapping[str, str], row: Row) -> Row:
        return row | {column: self._resealing.name(kind, row[column]) for column, kind in kinds.items()}

    # --- what was sent ------------------------------------------------------------------------------------------------

    async def _packs(self) -> AsyncIterator[int]:
        async for batch in self._batches(_all("packs", "id")):
            for row in batch:
                await self._pack(row)
            yield len(batch)

    async def _pack(self, row: Row) -> None:
        """The states of one message: their contents were kept together, and are again."""
        rows = await self._rows(statements.SENT_IN, (row["id"],))
        with _naming(f"states {row['id']}"):
            data = self._unpacker.pack(row["data"], row["size"])
            kept = [
                Sent(
                    each["destination"],
                    each["object"],
                    each["digest"],
                    each["version"],
                    each["rank"],
                    data[each["start"] : each["start"] + each["length"]] or None,
                )
                for each in rows
            ]
            ((_, made),) = self._resealing.states([(0, kept)])
        places: dict[bytes, int] = {}
        size = 0
        for content in (each.content or b"" for each in made):
            if content not in places:
                places[content] = size
                size += len(content)
        changed = [
            {
                "object": each.object,
                "digest": each.digest,
                "start": places[each.content or b""],
                "length": len(each.content or b""),
            }
            for each in made
        ]
        pack = {"id": row["id"], "size": size, "data": self._packer.pack(b"".join(places))}
        await self._add("packs", [pack])
        await self._add("sent", [was | now for was, now in zip(rows, changed, strict=True)])

    # --- any table ----------------------------------------------------------------------------------------------------

    async def _rows(self, query: Any, values: Sequence[Any]) -> list[Row]:
        async with self._source.cursor(row_factory=dict_row) as cursor:
            return await (await cursor.execute(query, values)).fetchall()

    async def _batches(self, query: Any) -> AsyncIterator[list[Row]]:
        async with self._source.cursor("rekey", row_factory=dict_row) as cursor:
            await cursor.execute(query)
            while batch := await cursor.fetchmany(_BATCH):
                yield batch

    async def _add(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = [name for name in rows[0] if name != "of_table"]
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)))
        async with self._target.cursor() as cursor, cursor.copy(query) as copy:
            for row in rows:
                await copy.write_row([row[name] for name in columns])


def _all(table: str, order: str = "") -> sql.Composed:
    query = sql.SQL("SELECT {} AS of_table, t.* FROM {} t").format(sql.Literal(table), sql.Identifier(table))
    return query + sql.SQL(" ORDER BY {}").format(sql.Identifier(order)) if order else query


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say what it is that does not open."""
    try:
        yield
    except (JournalBroken, msgspec.MsgspecError) as error:
        raise JournalBroken(f"{what}: {error}") from None


async def _count(connection: schema.Connection, table: str) -> int:
    cursor = await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
