"""Listings and content. Everything an operator typed is a bound value; every content is verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Act, Delivery, Known, Question, Received, Report, Sent
from interop_engine.journal import codec, texts
from interop_engine.journal import seals as sealed_with
from interop_engine.journal.base import (
    Attempt,
    DeliveryRow,
    DeliveryState,
    MessageRow,
    MessageState,
    Queue,
    QueueCount,
    Selection,
)
from interop_engine.journal.postgres import statements
from interop_engine.journal.postgres.heart import DEAD_SECONDS
from interop_engine.journal.postgres.sessions import Session, Sessions
from interop_engine.journal.receipts import report, with_receipts

_OF_DELIVERIES = {
    "delivery-parked": "parked",
    "delivery-waiting": "waiting",
}
_HAS_OPEN = "EXISTS (SELECT 1 FROM deliveries d WHERE d.message = m.seq AND d.state = '{}')"
_ANSWER_SECONDS = 20.0
_WORKING = 3  # connections for what workers ask; a database has some hundred for all its nodes
_HEALTH_SECONDS = 3.0
_MESSAGE_STATES = frozenset(MessageState)


def received(row: Sequence[Any], unpacker: codec.Unpacker) -> Received:
    """A message of a row (``statements.MESSAGE``)."""
    id_, channel, media, at, peer, control_id, message_type, digest, lanes, headers, replay_of, only, through, resend, *body = row
    data = unpacker.body(*body)
    return Received(
        id_, channel, data, media, codec.moment(at), peer, control_id, message_type, digest, tuple(lanes),
        codec.mapping(headers), replay_of, only, through, resend,
    )  # fmt: skip


def delivery(row: Sequence[Any], unpacker: codec.Unpacker) -> Delivery:
    """A delivery of a row (``statements.DELIVERY``)."""
    id_, message, channel, destination, lanes, media, headers, attempts, created, *body = row
    data = unpacker.body(*body)
    return Delivery(
        id_, message, channel, destination, tuple(lanes), data, media, codec.mapping(headers), attempts, codec.moment(created)
    )


class Reads:
    """Reads by sessions of their own, so that no listing holds up the work, nor the question how the journal is."""

    def __init__(self, url: str) -> None:
        self._work = Sessions(url, _WORKING, seconds=_ANSWER_SECONDS)
        self._listing = Session(url, listings=True, seconds=_ANSWER_SECONDS)
        self._health = Session(url, listings=True, seconds=_HEALTH_SECONDS)
        self._unpacker = codec.Unpacker()
        self._epoch = ""

    async def close(self) -> None:
        """Disconnect."""
        for each in (self._work, self._listing, self._health):
            await each.close()

    async def new_seals(self, seals: Sequence[str]) -> tuple[str, ...]:
        """What the journal must keep before it is written with these keys; raises JournalError where they are not its own."""
        kept = [row[0] for row in await self._work.rows(statements.SEALS)]
        holds = bool((await self._work.rows(statements.HOLDS))[0][0])
        return sealed_with.new_seals(kept, seals, holds=holds)

    # --- what is known ------------------------------------------------------------------------------------------------

    async def known(self, question: Question, destinations: Sequence[str], epoch: str) -> Known:
        """Answer a question. The stamp holds the question and a digest of the answer: ``forward`` asks again."""
        if not (question.aliases or question.objects or question.whole):
            return Known()
        kept = texts.question(question, texts.name)
        things = list(dict.fromkeys((*kept.objects, *kept.whole)))
        asked = [list(kept.aliases), things, [texts.name(place) for place in destinations]]
        packs: dict[int, bytes] | None = None
        while packs is None:
            rows = await self._work.rows(statements.KNOWN, asked)
            aliases = {row[1]: row[2] for row in rows if row[0] == "alias"}
            merged = {row[1]: row[2] for row in rows if row[0] == "merge"}
            whole = {*kept.whole, *aliases.values(), *merged.values()}
            states = [row for row in rows if row[0] == "sent"]
            packs = await self._packs({row[6] for row in states if row[2] in whole})
        sent = {
            (of, thing): Sent(of, thing, digest, version, rank, _part(packs, pack, start, length) if thing in whole else None)
            for _, of, thing, digest, version, rank, pack, start, length in states
        }
        mark = next(row[1] for row in rows if row[0] == "mark")
        answer = Known(codec.text([epoch, mark, *asked]), sent, aliases, merged)
        return texts.known(answer, question, destinations, texts.name)

    async def _packs(self, numbers: set[int]) -> dict[int, bytes] | None:
        """Packs by their numbers; None where one was removed meanwhile, because its states were replaced."""
        if not numbers:
            return {}
        rows = await self._work.rows(statements.PACKS, [list(numbers)])
        packs = {number: self._unpacker.pack(data, size) for number, size, data in rows}
        return packs if packs.keys() == numbers else None

    # --- content ------------------------------------------------------------------------------------------------------

    async def received(self, message_id: str) -> Received:
        """A message by its id."""
        return received(await self._one(statements.MESSAGE, message_id, "message"), self._unpacker)

    async def delivery(self, delivery_id: str) -> Delivery:
        """A delivery by its id."""
        return delivery(await self._one(statements.DELIVERY, delivery_id, "delivery"), self._unpacker)

    async def _one(self, query: str, id_: str, what: str) -> Sequence[Any]:
        rows = await self._listing.rows(query, (id_ := texts.plain(id_),))
        if not rows:
            raise UnknownItem(f"There is no {what} {id_}.")
        return rows[0]

    # --- listings -----------------------------------------------------------------------------------------------------

    async def search(self, selection: Selection) -> list[MessageRow]:
        """Messages, newest first."""
        place = await self._one(statements.PLACE, selection.before, "message") if selection.before is not None else ()
        found: dict[int, Sequence[Any]] = {}
        others = selection
        if not (selection.search or selection.control_id):  # else few are left to look at
            for state in filter(_OF_DELIVERIES.__contains__, selection.states):
                newest, values = _newest_open(selection, _OF_DELIVERIES[state], place)
                rows = await self._listing.rows(statements.ROWS_OF_OPEN.format(newest), values)
                found.update((row[0], row) for row in rows)
            others = replace(selection, states=tuple(state for state in selection.states if state not in _OF_DELIVERIES))
        if others.states or not selection.states:
            found.update((row[0], row) for row in await self._newest(others, place))
        newest_first = sorted(found.values(), key=lambda row: (row[4], row[0]), reverse=True)
        return await self._message_rows(newest_first[: selection.limit])

    async def _newest(self, selection: Selection, place: Sequence[Any]) -> Sequence[Sequence[Any]]:
        conditions, values = _conditions(selection)
        if place:
            conditions.append("(m.received_at, m.seq) < (%s, %s)")
            values.extend(place)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"{statements.ROWS}{where} ORDER BY m.received_at DESC, m.seq DESC LIMIT %s"
        return await self._listing.rows(query, (*values, selection.limit))

    async def show(self, message_id: str) -> MessageRow:
        """One message, by its id or that of a delivery."""
        found = await self._listing.rows(statements.ROW_BY_DELIVERY, (texts.plain(message_id),))
        row = found[0] if found else await self._one(statements.ROW_BY_ID, message_id, "message")
        said = await self._listing.rows(statements.RECEIPTS_OF, (row[0],))
        shown = with_receipts((await self._message_rows([row]))[0], said)
        history = await self._listing.rows(statements.HISTORY, (row[0],))
        return replace(shown, history=tuple(Act(codec.moment(at), *what) for at, *what in history))

    async def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made."""
        await self._one(statements.PLACE, message_id, "message")
        found = await self._listing.rows(statements.ATTEMPTS, (texts.plain(message_id),))
        return [Attempt(delivery, number, codec.moment(at), *how) for delivery, number, at, *how in found]

    async def _message_rows(self, rows: Sequence[Sequence[Any]]) -> list[MessageRow]:
        wanted = [[row[0] for row in rows]]
        deliveries = await self._deliveries(wanted)
        keys: dict[int, list[tuple[str, str]]] = {}
        for message, kind, value in await self._listing.rows(statements.ROW_KEYS, wanted):
            keys.setdefault(message, []).append((kind, value))
        return [_message_row(row, deliveries.get(row[0], []), keys.get(row[0], [])) for row in rows]

    async def _deliveries(self, messages: Sequence[Sequence[int]]) -> dict[int, list[DeliveryRow]]:
        found: dict[int, list[DeliveryRow]] = {}
        for message, *row in await self._listing.rows(statements.ROW_DELIVERIES, messages):
            found.setdefault(message, []).append(_delivery_row(row))
        waiting = [message for message, rows in found.items() if any(row.state == DeliveryState.WAITING for row in rows)]
        behind = dict[str, str](await self._listing.rows(statements.BEHIND, (waiting,))) if waiting else {}
        return {message: [replace(row, behind=behind.get(row.id, "")) for row in rows] for message, rows in found.items()}

    async def workers(self, node: str) -> tuple[int, int]:
        """A node's place among those that beat, by their ids, and their number; it counts before its first beat too."""
        ((before, others),) = await self._health.rows(statements.WORKERS, (node, node, DEAD_SECONDS))
        return before, others + 1

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def reports(self, after: int, limit: int) -> list[Report]:
        """What senders on the exchange are to be told."""
        rows = await self._listing.rows(statements.REPORTS, (after, limit))
        if not rows:
            await self._listing.rows(statements.NO_MORE_REPORTS)
            return []
        deliveries = await self._deliveries([[row[0] for row in rows]])
        return [
            report(message, codec.moment(at), codec.mapping(headers), deliveries.get(seq, ()))
            for seq, *message, at, headers in rows
        ]

    async def overdue(self, before: datetime) -> Mapping[Queue, int]:
        """What receivers have not said the last word of."""
        found = await self._listing.rows(statements.OVERDUE, (codec.micros(before),))
        return {Queue(channel, destination): n for channel, destination, n in found}

    async def config(self, config: str) -> str:
        """A configuration snapshot."""
        return self._unpacker.pack((await self._one(statements.CONFIG, config, "configuration"))[0]).decode()

    async def oldest(self, before: datetime | None, channel: str | None, most: int) -> list[int]:
        """Row numbers of the oldest messages that are done."""
        at = codec.now() if before is None else codec.micros(before)
        return [row[0] for row in await self._listing.rows(statements.OLDEST, (at, channel, most))]

    # --- counts -------------------------------------------------------------------------------------------------------

    async def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""
        waiting = {_queue(*row): 0 for row in await self._listing.rows(statements.TALLIED_QUEUES)}
        parked = dict(waiting)
        for kind, channel, name, state, n in await self._listing.rows(statements.COUNTS):
            queue = _queue(kind, channel, name)
            if state in {MessageState.RECEIVED, DeliveryState.WAITING}:
                waiting[queue] = n
            elif state == MessageState.PARKED:
                parked[queue] = n
        queues = sorted(waiting, key=lambda queue: (queue.channel, queue.destination or ""))
        holding = {Queue(channel, name): n for channel, name, n in await self._listing.rows(statements.HOLDING)}
        return [
            QueueCount(queue, waiting[queue], parked[queue], await self._oldest(queue, waiting[queue]), holding.get(queue, 0))
            for queue in queues
        ]

    async def _oldest(self, queue: Queue, waiting: int) -> datetime | None:
        if not waiting:
            return None
        if queue.destination is None:
            rows = await self._listing.rows(statements.OLDEST_MESSAGE, (queue.channel,))
        else:
            rows = await self._listing.rows(statements.OLDEST_DELIVERY, (queue.channel, queue.destination))
        return codec.moment(rows[0][0]) if rows else None

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""
        totals: dict[str, dict[str, int]] = {}
        for kind, channel, _, state, n in await self._listing.rows(statements.COUNTS):
            if kind == "message":
                totals.setdefault(channel, {})[state] = n
        return totals

    async def stored(self) -> Mapping[str, int]:
        """Bytes of what each channel's messages and deliveries hold."""
        return dict(await self._listing.rows(statements.STORED))

    async def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return {channel: codec.moment(at) for channel, at in await self._listing.rows(statements.LAST_RECEIVED)}

    async def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return {(channel, path): n for channel, path, n in await self._listing.rows(statements.UNREAD)}

    async def surroundings(self) -> tuple[int, bool]:
        """The database's clock, and whether it has standbys of which none is waited for."""
        clock, unguarded = (await self._work.rows(statements.SURROUNDINGS))[0]
        return clock, unguarded

    async def size(self) -> int:
        """Bytes of all tables and indexes."""
        return int((await self._health.rows(statements.SIZE))[0][0])


def _part(packs: Mapping[int, bytes], pack: int, start: int, length: int) -> bytes | None:
    return packs[pack][start : start + length] or None


def _queue(kind: str, channel: str, name: str) -> Queue:
    return Queue(channel, name if kind == "delivery" else None)


def _newest_open(selection: Selection, state: str, place: Sequence[Any]) -> tuple[str, list[Any]]:
    """The condition on deliveries in ``state``, and its values: their indexes have the order in which messages came."""
    conditions = ["d.state IN ('waiting', 'parked') AND d.state = %s"]
    values: list[Any] = [state]
    for condition, value in (
        ("d.channel = %s", selection.channel),
        ("d.message_type = %s", selection.message_type),
        ("d.received_at >= %s", selection.since and codec.micros(selection.since)),
        ("d.received_at < %s", selection.until and codec.micros(selection.until)),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(texts.name(value) if isinstance(value, str) else value)
    if place:
        conditions.append("(d.received_at, d.message) < (%s, %s)")
    return " AND ".join(conditions), [*values, *place, selection.limit]


def _conditions(selection: Selection) -> tuple[list[str], list[Any]]:
    """Conditions and their values."""
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *bound: object) -> None:
        conditions.append(condition)
        values.extend(texts.name(each) if isinstance(each, str) else each for each in bound)

    for kind, value in selection.search:
        add("m.seq IN (SELECT message FROM search_keys WHERE kind = %s AND value = %s)", kind, value)
    if selection.channel is not None:
        add("m.channel = %s", selection.channel)
    if selection.states:
        parts = [_HAS_OPEN.format(_OF_DELIVERIES[state]) for state in selection.states if state in _OF_DELIVERIES]
        own = [state for state in selection.states if state in _MESSAGE_STATES]
        add(f"({' OR '.join([*parts, 'm.state = ANY (%s)'])})", own)
    if selection.since is not None:
        add("m.received_at >= %s", codec.micros(selection.since))
    if selection.until is not None:
        add("m.received_at < %s", codec.micros(selection.until))
    if selection.control_id is not None:
        add("m.control_id = %s", selection.control_id)
    if selection.message_type is not None:
        add("m.message_type = %s", selection.message_type)
    return conditions, values


def _message_row(row: Sequence[Any], deliveries: list[DeliveryRow], keys: list[tuple[str, str]]) -> MessageRow:
    (
        _, id_, channel, state, at, control_id, message_type, peer, size, code, why, replay_of, arrivals, findings,
        config, commit, only, through, resend,
    ) = row  # fmt: skip
    return MessageRow(
        id_, channel, MessageState(state), codec.moment(at), control_id, message_type, peer, size, code, why, replay_of,
        arrivals, config, commit, only, through, resend, tuple(deliveries), codec.strings(findings), tuple(keys),
    )  # fmt: skip


def _delivery_row(row: Sequence[Any]) -> DeliveryRow:
    id_, destination, state, attempts, code, why, due, settled, headers, digest, size = row
    holds = state == DeliveryState.PARKED and due is not None
    return DeliveryRow(
        id_, destination, DeliveryState(state), attempts, code, why, None if holds else codec.optional_moment(due),
        codec.optional_moment(settled), codec.mapping(headers), digest, size, holds,
    )  # fmt: skip
