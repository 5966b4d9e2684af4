"""What the methods of the contract write. Each function is called by the writer, inside the group's transaction.

They return what memory must learn after the commit, and touch no memory but the transaction's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from interop_engine.core.errors import UnknownItem
from interop_engine.core.model import Delivered, Delivery, Outcome, Park, Received, Retry
from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryState, Forward, MessageState, NewMessage, Queue, Stored
from interop_engine.journal.sqlite import learned, statements
from interop_engine.journal.sqlite.transaction import Transaction

# Of the message that came first under a key: a resend of it is processed, and supersedes it.
_GIVEN_UP = frozenset({MessageState.REJECTED, MessageState.PARKED, MessageState.DISCARDED, MessageState.SUPERSEDED})

Place = tuple[Queue, int]  # an item: its queue and its seq


@dataclass(frozen=True, slots=True)
class Committed:
    """A message that was written. ``seq`` is 0 for a duplicate; ``left``: deliveries that left their queues by it."""

    stored: Stored
    seq: int = 0
    lanes: tuple[str, ...] = ()
    left: tuple[Place, ...] = ()
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A delivery that was written."""

    seq: int
    delivery: Delivery


# --- messages ---------------------------------------------------------------------------------------------------------


def accept(tx: Transaction, message: NewMessage, window: int) -> Committed:
    """Write a message, or find that it came before (within ``window`` microseconds)."""
    at = codec.micros(message.received_at)
    first, other_content = _first(tx, message, at - window)
    earlier = None
    if first is not None:
        earlier = tx.rows(statements.FIRST, first)[0]
        if not (earlier[3] or earlier[2] in _GIVEN_UP):
            tx.execute(statements.NOTE_ARRIVAL, (first,))
            tx.note_received(message.channel, at)
            return Committed(Stored(earlier[0], earlier[1], duplicate=True))
    seq = _insert(tx, message, at)
    left: tuple[Place, ...] = ()
    if first is not None and earlier is not None:
        left = supersede(tx, first, message.channel, earlier[2], message.id)
    if other_content:
        tx.event("other-content", seq)
    lanes = message.lanes if message.state == MessageState.RECEIVED else ()
    stored = Stored(message.id, message.reply, other_content=other_content)
    return Committed(stored, seq, lanes, left, message.channel)


def _first(tx: Transaction, message: NewMessage, oldest: int) -> tuple[int | None, bool]:
    """(the message that came first with this key and content, whether the key is known with other content)."""
    if message.duplicate_key is None:
        return None, False
    known = tx.rows(statements.SAME_KEY, message.channel, message.duplicate_key)
    known = [(digest, first) for digest, first, at in known if at >= oldest]
    for digest, first in known:
        if digest == message.digest:
            return first, False
    return None, bool(known)


def _insert(tx: Transaction, message: NewMessage, at: int) -> int:
    numbers = tx.numbers
    numbers.message += 1
    seq = numbers.message
    body, size, _ = _add_body(tx, message.channel, message.data)
    tx.execute(
        statements.ADD_MESSAGE,
        (
            seq,
            message.id,
            message.channel,
            str(message.state),
            at,
            message.control_id,
            message.message_type,
            message.peer,
            message.media,
            message.digest,
            body,
            size if message.size is None else message.size,
            message.reply,
            codec.listing(message.lanes),
            codec.headers(message.headers),
            message.code,
            message.why,
            message.config,
            message.duplicate_key,
            message.replay_of,
        ),
    )
    _add_keys(tx, seq, message.search)
    if message.duplicate_key is not None:
        tx.execute(statements.REMEMBER_KEY, (message.channel, message.duplicate_key, message.digest, seq, at))
    tx.count_message(message.channel, message.state)
    tx.note_received(message.channel, at)
    return seq


def _add_body(tx: Transaction, channel: str, data: bytes) -> tuple[int, int, str]:
    tx.numbers.body += 1
    digest, size, zipped, packed = tx.packer.body(data)
    tx.execute(statements.ADD_BODY, (tx.numbers.body, digest, size, zipped, packed))
    tx.count_stored(channel, len(packed))
    return tx.numbers.body, size, digest.hex()


def _add_keys(tx: Transaction, seq: int, search: Sequence[tuple[str, str]]) -> None:
    if search:
        tx.executemany(statements.ADD_KEY, [(kind, value, seq) for kind, value in search])


def supersede(tx: Transaction, seq: int, channel: str, state: str, by: str) -> tuple[Place, ...]:
    """A parked message, or one with parked deliveries, is superseded; a rejected or discarded one only cites its successor."""
    rows = tx.rows(statements.OPEN_DELIVERIES, seq)
    parked = [row for row in rows if row[3] == DeliveryState.PARKED]
    after = MessageState.SUPERSEDED if parked or state == MessageState.PARKED else MessageState(state)
    tx.execute(statements.SUPERSEDE, (str(after), by, seq))
    if after != state:
        tx.count_message(channel, state, -1)
        tx.count_message(channel, after)
    tx.event("superseded", seq, detail=by)
    return tuple(give_up(tx, row, "superseded", f"superseded by {by}") for row in parked)


def give_up(tx: Transaction, row: tuple[Any, ...], code: str, why: str) -> Place:
    """Discard an open delivery (a row of ``OPEN_DELIVERIES``)."""
    seq, channel, destination, state, *_ = row
    tx.execute(statements.GIVE_UP, (code, why, tx.at, seq))
    tx.count_delivery(channel, destination, state, -1)
    tx.count_delivery(channel, destination, DeliveryState.DISCARDED)
    tx.put_in_force(seq, counts=False)
    return Queue(channel, destination), seq


def park(tx: Transaction, seq: int, channel: str, code: str, why: str, findings: Sequence[str]) -> None:
    """Park a message that could not be transformed."""
    _finish(tx, seq, channel, MessageState.PARKED, (code, why, codec.listing(findings)))
    tx.event("parked", seq, detail=code)


def _finish(tx: Transaction, seq: int, channel: str, state: MessageState, why: tuple[str, str, str]) -> None:
    """The message of a lease leaves its queue; ``why``: code, reason and findings. Another's lease may have ended it before."""
    tx.execute(statements.FINISH_MESSAGE, (str(state), *why, seq))
    if not tx.changed_rows():
        raise UnknownItem("The lease has ended: its item was handed out again or is settled.")
    tx.count_message(channel, MessageState.RECEIVED, -1)
    tx.count_message(channel, state)


def forward(tx: Transaction, seq: int, message: Received, made: Forward) -> list[Forwarded] | None:
    """Write what a transformation made; None where its ``Known`` is out of date, and then nothing is written."""
    if not tx.changes.fresh(made.stamp):
        return None
    state = MessageState.TRANSFORMED if made.deliveries else MessageState.FILTERED
    _finish(tx, seq, message.channel, state, (made.code, made.why, codec.listing(made.findings)))
    written = _add_deliveries(tx, seq, message, made)
    learned.keep(tx, made.learned, seq)
    if carried := [(each.seq, new.sent) for each, new in zip(written, made.deliveries, strict=True) if new.sent]:
        tx.keep_sent(carried)
    _add_keys(tx, seq, made.search)
    for path in made.ledger:
        tx.count_unread(message.channel, path)
    return written


def _add_deliveries(tx: Transaction, seq: int, message: Received, made: Forward) -> list[Forwarded]:
    bodies: dict[bytes, tuple[int, int, str]] = {}
    written = []
    created = codec.moment(tx.at)
    pack = tx.numbers.pack + 1  # where ``keep_sent`` will write what they bring
    for new in made.deliveries:
        if new.body not in bodies:
            bodies[new.body] = _add_body(tx, message.channel, new.body)
        body, size, digest = bodies[new.body]
        tx.numbers.delivery += 1
        number = tx.numbers.delivery
        tx.execute(
            statements.ADD_DELIVERY,
            (
                number,
                new.id,
                seq,
                message.channel,
                new.destination,
                codec.listing(new.lanes),
                body,
                size,
                digest,
                new.media,
                codec.headers(new.headers),
                tx.at,
                pack if new.sent else 0,
            ),
        )
        tx.count_delivery(message.channel, new.destination, DeliveryState.WAITING)
        headers = dict(new.headers)
        delivery = Delivery(
            new.id, message.id, message.channel, new.destination, new.lanes, new.body, new.media, headers, 0, created
        )
        written.append(Forwarded(number, delivery))
    return written


# --- deliveries -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended, see ``Journal.settle``."""

    outcome: Outcome
    due_at: datetime | None
    took: float


def settle(tx: Transaction, seq: int, delivery: Delivery, end: End) -> None:
    """Write how an attempt ended. A delivery that was given up meanwhile keeps its state; the attempt is kept too."""
    attempt = (seq, tx.at)
    took = round(end.took * 1_000_000)
    match end.outcome:
        case Delivered(detail):
            _settle(tx, seq, delivery, DeliveryState.DELIVERED, "", detail)
            tx.execute(statements.ADD_ATTEMPT, (*attempt, "delivered", "", detail, took))
        case Park(code, why):
            _settle(tx, seq, delivery, DeliveryState.PARKED, code, why, end.due_at)
            tx.execute(statements.ADD_ATTEMPT, (*attempt, "parked", code, why, took))
            tx.put_in_force(seq, counts=False)
        case Retry(why=why, code=code, counts=counts, sent=sent):
            assert end.due_at is not None, "a Retry needs due_at"
            tx.execute(statements.POSTPONE, (int(counts), codec.micros(end.due_at), code, why, seq))
            if sent:
                tx.execute(statements.ADD_ATTEMPT, (*attempt, "retry", code, why, took))


def _settle(
    tx: Transaction, seq: int, delivery: Delivery, state: DeliveryState, code: str, why: str, held: datetime | None = None
) -> None:
    tx.execute(statements.SETTLE, (str(state), codec.micros(held) if held is not None else None, tx.at, code, why, seq))
    if tx.changed_rows():
        tx.count_delivery(delivery.channel, delivery.destination, DeliveryState.WAITING, -1)
        tx.count_delivery(delivery.channel, delivery.destination, state)


def park_corrupt(tx: Transaction, queue: Queue, seq: int, code: str, why: str) -> None:
    """Park an item whose content is not as it was written."""
    if queue.destination is None:
        park(tx, seq, queue.channel, code, why, ())
        return
    tx.execute(statements.SETTLE, (str(DeliveryState.PARKED), None, tx.at, code, why, seq))
    tx.count_delivery(queue.channel, queue.destination, DeliveryState.WAITING, -1)
    tx.count_delivery(queue.channel, queue.destination, DeliveryState.PARKED)
    tx.put_in_force(seq, counts=False)
