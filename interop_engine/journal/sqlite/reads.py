"""Listings and content, on a connection of their own: in WAL mode a reader neither waits for the writer nor holds it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import apsw

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Act, Delivery, Received
from interop_engine.journal import codec, texts
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
from interop_engine.journal.receipts import with_receipts
from interop_engine.journal.sqlite import schema, searching, statements

# So many wait that they are found sooner among the newest messages than one by one: alone, and with another condition,
# which may hold for none of the newest.
_MANY, _MANY_WITH_MORE = 1_000, 10_000


class Reads:
    """Reads the file; verifies every content it gives."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.unpacker = codec.Unpacker()

    # --- content ------------------------------------------------------------------------------------------------------

    def received(self, message_id: str) -> Received:
        """A message by its id."""
        return self._received(self._one(statements.RECEIVED_BY_ID, message_id, "message"))

    def delivery(self, delivery_id: str) -> Delivery:
        """A delivery by its id."""
        return self._delivery(self._one(statements.DELIVERY_BY_ID, delivery_id, "delivery"))

    def due_message(self, seq: int) -> Received | None:
        """A message to be leased; None where it is not due any more."""
        rows = schema.rows(self.connection, statements.RECEIVED_BY_SEQ, (seq,))
        return self._received(rows[0]) if rows and rows[0][14] == MessageState.RECEIVED else None

    def due_delivery(self, seq: int) -> Delivery | None:
        """A delivery to be leased; None where it is not waiting any more."""
        rows = schema.rows(self.connection, statements.DELIVERY_BY_SEQ, (seq,))
        return self._delivery(rows[0]) if rows and rows[0][9] == DeliveryState.WAITING else None

    def _received(self, row: tuple[Any, ...]) -> Received:
        (
            id_,
            channel,
            media,
            at,
            peer,
            control_id,
            message_type,
            digest,
            lanes,
            headers,
            replay_of,
            only,
            through,
            resend,
            _,
            *body,
        ) = row
        data = self.unpacker.body(*body)
        return Received(
            id_,
            channel,
            data,
            media,
            codec.moment(at),
            peer,
            control_id,
            message_type,
            digest,
            codec.strings(lanes),
            codec.mapping(headers),
            replay_of,
            only,
            through,
            bool(resend),
        )

    def _delivery(self, row: tuple[Any, ...]) -> Delivery:
        id_, message, channel, destination, lanes, media, headers, attempts, created, _, *body = row
        data = self.unpacker.body(*body)
        return Delivery(
            id_,
            message,
            channel,
            destination,
            codec.strings(lanes),
            data,
            media,
            codec.mapping(headers),
            attempts,
            codec.moment(created),
        )

    def _one(self, query: str, id_: str, what: str) -> tuple[Any, ...]:
        rows = schema.rows(self.connection, query, (id_ := texts.plain(id_),))
        if not rows:
            raise UnknownItem(f"There is no {what} {id_}.")
        return rows[0]

    # --- what is due --------------------------------------------------------------------------------------------------

    def due(self, queue: Queue, after: int, limit: int) -> list[tuple[int, tuple[str, ...], int | None]]:
        """Unsettled items of a queue in order of arrival: seq, lanes, due_at."""
        if queue.destination is None:
            rows = schema.rows(self.connection, statements.DUE_MESSAGES, (queue.channel, after, limit))
        else:
            values = (queue.channel, queue.destination, after, limit)
            rows = schema.rows(self.connection, statements.DUE_DELIVERIES, values)
        return [(seq, codec.strings(lanes), due) for seq, lanes, due in rows]

    # --- listings -----------------------------------------------------------------------------------------------------

    def search(self, selection: Selection) -> list[MessageRow]:
        """Messages, newest first."""
        place = None
        if selection.before is not None:
            place = self._one(statements.PLACE, selection.before, "message")
        most = _MANY if searching.is_plain(selection) else _MANY_WITH_MORE
        many = [state for state, n in self._backlog(selection.channel).items() if n > most]
        found: dict[int, tuple[Any, ...]] = {}
        for query, values in searching.queries(selection, place, many):
            found.update((row[0], row) for row in schema.rows(self.connection, query, values))
        newest = sorted(found.values(), key=lambda row: (row[4], row[0]), reverse=True)
        return self._rows(newest[: selection.limit])

    def _backlog(self, channel: str | None) -> dict[str, int]:
        """How many messages are received, of a channel or all."""
        messages = schema.rows(self.connection, statements.MESSAGE_COUNTS)
        return {MessageState.RECEIVED: sum(n for of, state, n in messages if state == "received" and channel in (None, of))}

    def show(self, message_id: str) -> MessageRow:
        """One message, by its id or that of a delivery."""
        found = schema.rows(self.connection, statements.ROW_BY_DELIVERY, (texts.plain(message_id),))
        row = found[0] if found else self._one(statements.ROW_BY_ID, message_id, "message")
        shown = with_receipts(self._rows([row])[0], schema.rows(self.connection, statements.RECEIPTS_OF, (row[0],)))
        history = schema.rows(self.connection, statements.HISTORY, (row[0],))
        return replace(shown, history=tuple(Act(codec.moment(at), *what) for at, *what in history))

    def attempts(self, message_id: str) -> list[Attempt]:
        """Every attempt to deliver what a message made."""
        self._one(statements.PLACE, message_id, "message")
        found = schema.rows(self.connection, statements.ATTEMPTS, (message_id,))
        return [Attempt(delivery, number, codec.moment(at), *how) for delivery, number, at, *how in found]

    def _rows(self, rows: list[tuple[Any, ...]]) -> list[MessageRow]:
        wanted = [row[0] for row in rows]
        deliveries = self.deliveries(wanted)
        keys: dict[int, list[tuple[str, str]]] = {}
        for message, kind, value in schema.rows(self.connection, statements.ROW_KEYS, (codec.text(wanted),)):
            keys.setdefault(message, []).append((kind, value))
        return [_message_row(row, deliveries.get(row[0], []), keys.get(row[0], [])) for row in rows]

    def deliveries(self, messages: Sequence[int]) -> dict[int, list[DeliveryRow]]:
        """The deliveries of these messages."""
        found: dict[int, list[DeliveryRow]] = {}
        for message, *row in schema.rows(self.connection, statements.ROW_DELIVERIES, (codec.text(messages),)):
            found.setdefault(message, []).append(_delivery_row(row))
        waiting = [message for message, rows in found.items() if any(row.state == DeliveryState.WAITING for row in rows)]
        behind = dict(schema.rows(self.connection, statements.BEHIND, (codec.text(waiting),))) if waiting else {}
        return {message: [replace(row, behind=behind.get(row.id, "")) for row in rows] for message, rows in found.items()}

    def config(self, config: str) -> str:
        """A configuration snapshot."""
        row = self._one(statements.CONFIG, config, "configuration")
        return self.unpacker.pack(row[0]).decode()

    # --- counts -------------------------------------------------------------------------------------------------------

    def counts(self) -> list[QueueCount]:
        """What waits and what is parked, by queue."""
        waiting: dict[Queue, int] = {}
        parked: dict[Queue, int] = {}
        for channel, state, n in schema.rows(self.connection, statements.MESSAGE_COUNTS):
            queue = Queue(channel)
            waiting[queue] = waiting.get(queue, 0) + (n if state == MessageState.RECEIVED else 0)
            parked[queue] = parked.get(queue, 0) + (n if state == MessageState.PARKED else 0)
        for channel, destination, state, n in schema.rows(self.connection, statements.DELIVERY_COUNTS):
            queue = Queue(channel, destination)
            waiting[queue] = waiting.get(queue, 0) + (n if state == DeliveryState.WAITING else 0)
            parked[queue] = parked.get(queue, 0) + (n if state == DeliveryState.PARKED else 0)
        queues = sorted(waiting, key=lambda queue: (queue.channel, queue.destination or ""))
        holding = {Queue(*where): n for *where, n in schema.rows(self.connection, statements.HOLDING)}
        return [
            QueueCount(queue, waiting[queue], parked[queue], self._oldest(queue, waiting[queue]), holding.get(queue, 0))
            for queue in queues
        ]

    def _oldest(self, queue: Queue, waiting: int) -> datetime | None:
        if not waiting:
            return None
        if queue.destination is None:
            rows = schema.rows(self.connection, statements.OLDEST_MESSAGE, (queue.channel,))
        else:
            rows = schema.rows(self.connection, statements.OLDEST_DELIVERY, (queue.channel, queue.destination))
        return codec.moment(rows[0][0]) if rows else None

    def totals(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by channel and state."""
        totals: dict[str, dict[str, int]] = {}
        for channel, state, n in schema.rows(self.connection, statements.MESSAGE_COUNTS):
            totals.setdefault(channel, {})[state] = n
        return totals

    def stored(self) -> Mapping[str, int]:
        """Bytes that each channel has in bodies."""
        return dict[str, int](schema.rows(self.connection, statements.STORED))

    def last_received(self) -> Mapping[str, datetime]:
        """When each channel last received a message."""
        return {channel: codec.moment(at) for channel, at in schema.rows(self.connection, statements.LAST_RECEIVED)}

    def unread(self) -> Mapping[tuple[str, str], int]:
        """The loss ledger."""
        return {(channel, path): n for channel, path, n in schema.rows(self.connection, statements.UNREAD)}


def _message_row(row: tuple[Any, ...], deliveries: list[DeliveryRow], keys: list[tuple[str, str]]) -> MessageRow:
    (
        _, id_, channel, state, at, control_id, message_type, peer, size, code, why, replay_of, arrivals, findings,
        config, commit, only, through, resend,
    ) = row  # fmt: skip
    return MessageRow(
        id_,
        channel,
        MessageState(state),
        codec.moment(at),
        control_id,
        message_type,
        peer,
        size,
        code,
        why,
        replay_of,
        arrivals,
        config,
        commit,
        only,
        through,
        bool(resend),
        tuple(deliveries),
        codec.strings(findings),
        tuple(keys),
    )


def _delivery_row(row: list[Any]) -> DeliveryRow:
    id_, destination, state, attempts, code, why, due, settled, headers, digest, size = row
    holds = state == DeliveryState.PARKED and due is not None
    return DeliveryRow(
        id_,
        destination,
        DeliveryState(state),
        attempts,
        code,
        why,
        None if holds else codec.optional_moment(due),
        codec.optional_moment(settled),
        codec.mapping(headers),
        digest,
        size,
        holds,
    )
