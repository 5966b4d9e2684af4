"""What each method of the contract sends: a statement, its values, and the queues that may have more to hand out by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from interop_engine.core.model import Delivered, Learned, Outcome, Park, Receipt, Received, Retry
from interop_engine.journal import codec, texts
from interop_engine.journal.base import DeliveryState, Forward, MessageState, NewMessage, Queue
from interop_engine.journal.postgres import statements
from interop_engine.journal.postgres.columns import Blobs, Column, Flags, Numbers, Texts, literal
from interop_engine.journal.receipts import encoded
from interop_engine.journal.texts import name, plain

_stamp = msgspec.json.Decoder(tuple[str, str, list[str], list[str], list[str]]).decode
OUTDATED: Final = "changed"


@dataclass(frozen=True, slots=True)
class Statement:
    """One write. ``due``: when what it puts into ``touches`` is due, microseconds, 0 for now.

    ``gather``: of one that may be sent with others of its query, what makes the query's values of those of all; each row that
    comes back begins with the number of its statement, from 1. ``fence``: not with another of the same. ``size``: its bytes.
    """

    query: Any
    values: Sequence[Any]
    touches: tuple[Queue, ...] = ()
    due: int = 0
    gather: Callable[[Sequence[Sequence[Any]]], Sequence[Any]] | None = None
    fence: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A leased item: its queue, row number and fence."""

    queue: Queue
    seq: int
    fence: int


def accept(message: NewMessage, window: int, packer: codec.Packer) -> Statement:
    """Write a message, or find that it came before (within ``window`` microseconds)."""
    message = texts.message(message, name)
    at = codec.micros(message.received_at)
    digest, size, zipped, data = packer.body(message.data)
    kinds, values = _pairs(message.search)
    row = (
        message.id, message.channel, str(message.state), at, message.control_id, message.message_type, message.peer,
        message.media, message.digest, size if message.size is None else message.size, message.reply,
        literal(message.lanes), codec.headers(message.headers), message.code, message.why, message.config,
        message.duplicate_key, message.replay_of, digest, zipped, data, kinds, values, at - window, codec.now(),
    )  # fmt: skip
    touches = (Queue(message.channel),) if message.state == MessageState.RECEIVED else ()
    return Statement(statements.ACCEPT, row, touches, gather=_accepted, size=len(data))


def _accepted(rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    return _columns(rows, "TTTNTTTTTNBTTTTTTTBNBTTNN")


def park(item: Item, code: str, why: str, findings: Sequence[str]) -> Statement:
    """Park the message of a lease."""
    values = (item.queue.channel, item.seq, item.fence, plain(code), plain(why), codec.listing(_plain(findings)), codec.now())
    return Statement(statements.PARK, values, (item.queue,))


def forward(item: Item, message: Received, made: Forward, packer: codec.Packer, epoch: str) -> Statement | None:
    """Write what a transformation made; None where its ``Known`` is of another process, and so out of date."""
    mark: str | None = None
    asked: tuple[list[str], ...] = ([], [], [])
    if made.stamp:
        of, mark, *asked_again = _stamp(made.stamp)
        if of != epoch:
            return None
        asked = tuple(asked_again)
    made = texts.forward(made, name)
    state = MessageState.TRANSFORMED if made.deliveries else MessageState.FILTERED
    bodies = list(dict.fromkeys(new.body for new in made.deliveries))
    packed = [packer.body(body) for body in bodies]
    numbers = {body: number for number, body in enumerate(bodies, 1)}
    deliveries = [
        (new.id, new.destination, literal(new.lanes), numbers[new.body], new.media, codec.headers(new.headers))
        for new in made.deliveries
    ]
    row = (
        message.channel, item.seq, item.fence, mark, *map(literal, asked), str(state), made.code, made.why,
        codec.listing(made.findings), *_states(made, packer), *_learned(made.learned), *_pairs(made.search),
        literal(made.ledger), codec.now(),
    )  # fmt: skip
    queues = dict.fromkeys(Queue(message.channel, new.destination) for new in made.deliveries)
    size = sum(len(body[3]) for body in packed)
    return Statement(
        statements.FORWARD, (row, packed, deliveries), (item.queue, *queues), gather=_forwarded, fence=item.fence, size=size
    )


def _forwarded(made: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Values for each message, and all bodies and all deliveries, which say of which message they are."""
    rows: list[tuple[Any, ...]] = []
    bodies: list[tuple[Any, ...]] = []
    deliveries: list[tuple[Any, ...]] = []
    for number, (row, own_bodies, own_deliveries) in enumerate(made, 1):
        before = len(bodies)
        rows.append((*row, len(deliveries)))
        bodies.extend((number, *body) for body in own_bodies)
        deliveries.extend((number, *rest, before + body, media, headers) for *rest, body, media, headers in own_deliveries)
    return [*_columns(rows, "TNNTTTTTTTTTNBTTTTTTTNN"), *_columns(bodies, "NBNNB"), *_columns(deliveries, "NTTTNTT")]


def _states(made: Forward, packer: codec.Packer) -> tuple[str, int, bytes | None]:
    """(states as JSON, size and bytes of the pack with their contents). Equal contents are kept once, and of a state the last."""
    places: dict[bytes, int] = {}
    size = 0
    states: dict[tuple[str, str, int], dict[str, Any]] = {}
    for number, new in enumerate(made.deliveries, 1):
        for each in new.sent:
            content = each.content or b""
            if content not in places:
                places[content] = size
                size += len(content)
            thing = each.object
            states[each.destination, thing, number] = {
                "destination": each.destination,
                "object": thing,
                "delivery": number,
                "digest": each.digest,
                "version": each.version,
                "rank": each.rank,
                "start": places[content],
                "length": len(content),
            }
    return codec.text(list(states.values())), size, packer.pack(b"".join(places)) if states else None


def _learned(learned: Learned) -> tuple[str, ...]:
    return (*_pairs(learned.aliases.items()), *_pairs(learned.merged.items()))


def settle(item: Item, outcome: Outcome, due_at: datetime | None, took: float = 0.0) -> Statement:
    """Write how an attempt ended."""
    due: int | None = None
    counts, sent = 1, True
    match texts.outcome(outcome):
        case Delivered(detail):
            state, code, why = DeliveryState.DELIVERED, "", detail
        case Park(code, why):
            state, due = DeliveryState.PARKED, None if due_at is None else codec.micros(due_at)
        case Retry(why=why, code=code, counts=counted, sent=sent):
            assert due_at is not None, "a Retry needs due_at"
            state, due, counts = DeliveryState.WAITING, codec.micros(due_at), int(counted)
    values = (*_place(item), str(state), code, why, due, counts, sent, codec.now(), round(took * 1_000_000))
    return Statement(statements.SETTLE, values, (item.queue,), due or 0, gather=_settled, fence=item.fence)


def _settled(rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    return _columns(rows, "TTNNTTTNNFNN")


def park_corrupt(item: Item, code: str, why: str) -> Statement:
    """Park an item whose content is not as it was written."""
    return park(item, code, why, ()) if item.queue.destination is None else settle(item, Park(code, why), None)


def give_back(item: Item) -> Statement:
    """End a lease; its item is due at once."""
    return Statement(statements.GIVE_BACK, _place(item), (item.queue,))


def replay(message_id: str, new: str, config: str, only: str, *, then: bool, resend: bool, once: bool) -> Statement:
    """Receive a message again."""
    return Statement(statements.REPLAY, (plain(message_id), new, plain(config), plain(only), then, resend, once, codec.now()))


def retry(delivery_id: str, new: str) -> Statement:
    """Make a parked or waiting delivery due now, or receive its message again as ``new`` where it is overtaken."""
    return Statement(statements.RETRY, (plain(delivery_id), new, codec.now()))


def discard(message_id: str, why: str, to: str, code: str, *, waiting: bool) -> Statement:
    """Give up what is parked of a message; with ``waiting`` also what waits."""
    states = ["parked", "waiting"] if waiting else ["parked"]
    return Statement(statements.DISCARD, (plain(message_id), plain(why), plain(to), plain(code), states, codec.now()))


def reported(numbers: Sequence[int]) -> Statement:
    """These reports were sent."""
    return Statement(statements.DROP_REPORTS, (list(numbers),))


def keep_receipts(by: str, receipts: Sequence[Receipt]) -> Statement:
    """Keep what a receiver says with its deliveries."""
    rows = [
        (
            each.delivery, each.channel, each.number, each.message, each.state, each.code, codec.micros(each.taken_at),
            encoded(each.steps),
        )
        for each in map(texts.receipt, receipts)
    ]  # fmt: skip
    return Statement(statements.KEEP_RECEIPTS, (*_columns(rows, "TTNTTTNT"), plain(by)))


def prune(chosen: Sequence[int]) -> Statement:
    """Remove those of these messages that may still go."""
    return Statement(statements.PRUNE, (list(chosen),))


def keep_seals(seals: Sequence[str]) -> Statement:
    """Keep which keys the journal is written with."""
    return Statement(statements.KEEP_SEALS, (list(seals),))


def keep_config(config: str, text: str, commit: str, packer: codec.Packer) -> Statement:
    """Keep a configuration snapshot, once."""
    return Statement(statements.KEEP_CONFIG, (config, codec.now(), packer.pack(text.encode()), commit))


def _place(item: Item) -> tuple[str, str, int, int]:
    return item.queue.channel, item.queue.destination or "", item.seq, item.fence


def _plain(lines: Sequence[str]) -> list[str]:
    return [plain(line) for line in lines]


def _pairs(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    firsts: list[str] = []
    seconds: list[str] = []
    for first, second in pairs:
        firsts.append(first)
        seconds.append(second)
    return literal(firsts), literal(seconds)


_KINDS: Final[dict[str, type[Column]]] = {"T": Texts, "N": Numbers, "B": Blobs, "F": Flags}


def _columns(rows: Sequence[Sequence[Any]], kinds: str) -> list[Column]:
    """The values of rows by columns, each of the kind of this letter."""
    if not rows:
        return [_KINDS[kind](()) for kind in kinds]
    return [_KINDS[kind](column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]
