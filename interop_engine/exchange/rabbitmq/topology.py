"""What is declared at the broker: one exchange, and of each receiver the queues of its channels and the one of its receipts.

A receiver's queues share out the 64 buckets. One queue is bound to each kind with all buckets; one of several to its own buckets,
so that what a facility sends always finds the same queue. Their number is part of their names: it can change only when the
queues of the old number are drained, else what is new would overtake what is old. Receipts have a queue apart, so that they
never wait behind a channel that is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable

from interop_engine.exchange.base import BUCKETS

EXCHANGE: Final = "interop"
COUNTS: Final = (1, 2, 4, 8, 16, 32, 64)
"""How many queues a receiver may have: the buckets are shared out evenly."""

# Quorum: a confirm means fsync, on a single node too. Single active consumer: a second worker stands by and order is kept.
# The limit is stated, and out of reach, because RabbitMQ 4 drops what was given back 20 times, where we wait instead.
QUEUE_ARGUMENTS: Final[FieldTable] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": 1_000_000_000,
}


class TopologyError(RuntimeError):
    """The broker has something else than what is needed; its text may be shown."""


def queue_names(receiver: str, count: int) -> list[str]:
    """``interop.hub``, or ``interop.hub.0of16`` and so on."""
    name = f"{EXCHANGE}.{receiver}"
    return [name] if count == 1 else [f"{name}.{number}of{count}" for number in range(count)]


def binding_keys(receiver: str, kinds: Iterable[str], number: int, count: int) -> Iterator[str]:
    """The keys that the queue of that number is bound with."""
    buckets: Iterable[object] = range(number, BUCKETS, count) if count > 1 else "*"
    return (f"{kind}.*.{receiver}.{bucket}" for kind in kinds for bucket in buckets)


def receipts_queue(receiver: str) -> str:
    """``interop.hub.receipts``."""
    return f"{EXCHANGE}.{receiver}.receipts"


@dataclass(frozen=True, slots=True)
class Queues:
    """Those of a receiver that are read together. ``others``: of other numbers, which must be gone before these are used."""

    receiver: str
    names: tuple[str, ...]
    others: tuple[tuple[str, ...], ...] = ()


def queues_of_channels(receiver: str, count: int) -> Queues:
    """What its channels are fed from."""
    others = tuple(tuple(queue_names(receiver, other)) for other in COUNTS if other != count)
    return Queues(receiver, tuple(queue_names(receiver, count)), others)


def queues_of_receipts(receiver: str) -> Queues:
    """Where it is told what became of what it sent."""
    return Queues(receiver, (receipts_queue(receiver),))


async def ensure_exchange(channel: AbstractChannel, *, declare: bool) -> None:
    """Declare the exchange. It has no alternate exchange: what nobody receives must come back to its sender.

    Without ``declare`` nothing is asked: RabbitMQ 4.3 wants the right to configure even for that, and a node has none.
    """
    if declare:
        await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)


async def declare_queues(connection: AbstractConnection, channel: AbstractChannel, queues: Queues, kinds: Iterable[str]) -> None:
    """Declare a receiver's queues, bind them to these kinds, and remove those of another number. Raises TopologyError.

    A kind that is no longer asked for stays bound until it is unbound by hand.
    """
    before = await _in_the_way(connection, queues)
    await ensure_exchange(channel, declare=True)
    for name in queues.names:
        await channel.declare_queue(name, durable=True, arguments=QUEUE_ARGUMENTS)
    await bind_queues(channel, queues, kinds)
    # Looked at again: from here on what arrives is in the new queues as well, and is known there by its delivery id.
    for name in before and await _in_the_way(connection, queues):
        await channel.queue_delete(name)


async def bind_queues(channel: AbstractChannel, queues: Queues, kinds: Iterable[str]) -> None:
    """Bind a receiver's queues to these kinds."""
    underlay = await channel.get_underlay_channel()
    kinds = tuple(kinds)
    for number, name in enumerate(queues.names):
        for key in binding_keys(queues.receiver, kinds, number, len(queues.names)):
            # Of hundreds, none waits for an answer of its own: a refusal closes the channel, and the next question fails.
            await underlay.queue_bind(name, EXCHANGE, key, nowait=True)
    await ensure_exchange(channel, declare=True)  # such a question: all are bound now


async def _in_the_way(connection: AbstractConnection, queues: Queues) -> list[str]:
    """Queues of the receiver of another number. Raises TopologyError where they are in use."""
    found: list[str] = []
    for names in queues.others:
        for name in names:
            queue = await _passive(connection, name)
            if queue is None:
                break  # all of a number are declared together
            result = queue.declaration_result
            if result.message_count or result.consumer_count:
                holds = f"{result.message_count} parcels" if result.message_count else "a consumer"
                raise TopologyError(
                    f"the queue {name} still has {holds}: how many queues {queues.receiver} has can change once it is drained"
                )
            found.append(name)
    return found


async def _passive(connection: AbstractConnection, name: str) -> AbstractQueue | None:
    """The queue, or None where there is none; on a channel of its own, which the broker closes then."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        queue = await channel.get_queue(name, ensure=True)
    except ChannelNotFoundEntity:
        return None
    await channel.close()
    return queue
