"""What operators do, and what the site leaves to be found later. Called by the writer, inside the group's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interop_engine.core.errors import NothingToDiscard, UnknownItem
from interop_engine.journal import codec
from interop_engine.journal.base import DeliveryState, MessageState, Queue, Stored
from interop_engine.journal.sqlite import statements
from interop_engine.journal.sqlite.changes import Committed, Place, give_up, supersede
from interop_engine.journal.sqlite.sentstate import SentReader
from interop_engine.journal.sqlite.transaction import Transaction

_OVERTAKEN = "Something newer of what it carries was sent since: its message was received again, as {}."


@dataclass(frozen=True, slots=True)
class Again:
    """What a replay is for, see ``Journal.replay``."""

    new: str
    config: str = ""
    only: str = ""
    then: bool = False
    resend: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """A delivery that is due again at ``place``, or the message that was received again in its place."""

    place: Place
    lanes: tuple[str, ...]
    replay: Committed | None = None


def replay(tx: Transaction, message_id: str, again: Again) -> Committed:
    """Receive a message again. Where it is for all destinations, it stands in the duplicate table where the old one stood."""
    row = tx.rows(statements.MESSAGE_STATE, message_id)
    if not row:
        raise UnknownItem(f"There is no message {message_id}.")
    old, channel, state, _, key, *_ = row[0]
    if again.once and (there := tx.rows(statements.REPLAYED, message_id, again.only, int(again.resend))):
        return Committed(Stored(there[0][0], b"", duplicate=True))
    left = _give_up_for(tx, old, again) if again.only else supersede(tx, old, channel, state, again.new)
    made = _receive_again(tx, row[0], again, left)
    if key is not None and not again.only:
        tx.execute(statements.REPOINT_KEY, (made.seq, channel, key, old))
    return made


def _receive_again(tx: Transaction, row: tuple[Any, ...], again: Again, left: tuple[Place, ...]) -> Committed:
    old, channel, _, lanes, *_ = row
    tx.numbers.message += 1
    tx.numbers.body += 1
    seq = tx.numbers.message
    tx.execute(statements.COPY_BODY, (tx.numbers.body, old))
    tx.count_stored(channel, tx.rows(statements.BODY_LENGTHS, codec.text([tx.numbers.body]))[0][1])
    values = (seq, again.new, tx.at, tx.numbers.body, again.config, again.only, int(again.then), int(again.resend), old)
    tx.execute(statements.SEND_AGAIN, values)
    tx.execute(statements.COPY_KEYS, (seq, old))
    tx.count_message(channel, MessageState.RECEIVED)
    tx.event("replayed", old, detail=f"{again.new} {again.only}".rstrip())
    return Committed(Stored(again.new, b""), seq, codec.strings(lanes), left, channel)


def _give_up_for(tx: Transaction, seq: int, again: Again) -> tuple[Place, ...]:
    """Discard what is parked of a message for one destination."""
    rows = tx.rows(statements.OPEN_DELIVERIES, seq)
    parked = [row for row in rows if row[3] == DeliveryState.PARKED and again.only in _names(row[2], row[4])]
    return tuple(give_up(tx, row, "superseded", f"superseded by {again.new}") for row in parked)


def _names(destination: str, headers: str) -> tuple[str, str]:
    """What a delivery's destination is called by ``Received.only``."""
    receiver = codec.mapping(headers).get("receiver", "")
    return destination, f"{destination}/{receiver}" if receiver else destination


def retry(tx: Transaction, delivery_id: str, new: str) -> Retried:
    """Make a parked or waiting delivery due now; an overtaken one is given up, and its message received again as ``new``."""
    row = tx.rows(statements.DELIVERY_STATE, delivery_id)
    if not row:
        raise UnknownItem(f"There is no delivery {delivery_id}.")
    seq, message, channel, destination, state, lanes, pack, headers, message_id, due = row[0]
    place = Queue(channel, destination), seq
    if state not in (DeliveryState.PARKED, DeliveryState.WAITING):
        raise UnknownItem(f"The delivery {delivery_id} is {state}: it cannot be tried again.")
    tx.event("retried", message, seq)
    passed = state == DeliveryState.PARKED and due is None  # nothing passed one that holds its lanes
    if passed and pack and _overtaken(tx, pack, seq):
        give_up(tx, (seq, channel, destination, state), "overtaken", _OVERTAKEN.format(new))
        old = tx.rows(statements.MESSAGE_STATE, message_id)[0]
        for_it = Again(new, only=_names(destination, headers)[1])
        return Retried(place, (), _receive_again(tx, old, for_it, (place,)))
    tx.execute(statements.MAKE_DUE, (tx.at, seq))
    if state == DeliveryState.PARKED:
        tx.count_delivery(channel, destination, state, -1)
        tx.count_delivery(channel, destination, DeliveryState.WAITING)
        tx.put_in_force(seq, counts=True)
    return Retried(place, codec.strings(lanes))


def _overtaken(tx: Transaction, pack: int, delivery: int) -> bool:
    """Whether a later delivery that counts brought one of the objects that this one carries."""
    reader = SentReader(tx.connection, codec.Unpacker(), tx.recent)
    keys = reader.keys(pack, delivery)
    return tx.brings(keys) or any(later > delivery for later in reader.newest_deliveries(keys))


@dataclass(frozen=True, slots=True)
class GivingUp:
    """What of a message is given up, and why, see ``Journal.discard``."""

    why: str
    to: str = ""
    code: str = ""
    waiting: bool = False

    def means(self, state: str, code: str) -> bool:
        """Whether what is in this state, for this reason, is meant."""
        return self.code in ("", code) and (state == DeliveryState.PARKED or (self.waiting and state == DeliveryState.WAITING))

    def reason(self, state: str, code: str, why: str) -> str:
        """The operator's words, and those of before."""
        before = f"{code} {why}".strip()
        return f"{self.why} ({state} before: {before})" if before else self.why


def discard(tx: Transaction, message_id: str, giving_up: GivingUp) -> tuple[Place, ...]:
    """Give up a parked message, or what is meant of its deliveries."""
    row = tx.rows(statements.MESSAGE_STATE, message_id)
    if not row:
        raise UnknownItem(f"There is no message {message_id}.")
    seq, channel, state, _, _, _, code, why = row[0]
    itself = not giving_up.to and state == MessageState.PARKED and giving_up.means(state, code)
    if itself:
        tx.execute(statements.DISCARD_MESSAGE, (giving_up.reason(state, code, why), seq))
        tx.count_message(channel, state, -1)
        tx.count_message(channel, MessageState.DISCARDED)
    left = tuple(
        _give_up_meant(tx, each, giving_up) for each in tx.rows(statements.OPEN_DELIVERIES, seq) if _is_meant(each, giving_up)
    )
    if not (itself or left):
        raise NothingToDiscard
    tx.event("discarded", seq, detail=giving_up.why)
    return left


def _is_meant(row: tuple[Any, ...], giving_up: GivingUp) -> bool:
    _, _, destination, state, headers, code, _ = row
    return giving_up.means(state, code) and giving_up.to in ("", *_names(destination, headers))


def _give_up_meant(tx: Transaction, row: tuple[Any, ...], giving_up: GivingUp) -> Place:
    return give_up(tx, row, "discarded", giving_up.reason(row[3], *row[5:]))


def keep_config(tx: Transaction, config: str, text: str, commit: str) -> None:
    """Keep a configuration snapshot, once; the last commit that it was taken up from as it is there is the one it is known by."""
    tx.execute(statements.KEEP_CONFIG, (config, tx.at, tx.packer.pack(text.encode()), commit))
