"""What is declared at the broker: one exchange, and a receiver's queues, which share out the 64 buckets.

A receiver with one queue is bound to each kind it takes with all buckets; one with several binds each to its own buckets, so
that what a facility sends always finds the same queue. Their number is part of their names: it can change only when the queues
of the old number are drained, else what is new would overtake what is old.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


async def ensure_exchange(channel: AbstractChannel, *, declare: bool) -> None:
    """The exchange is there. It has no alternate exchange: what nobody receives must come back to its sender."""
    if declare:
        await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    else:
        await channel.get_exchange(EXCHANGE, ensure=True)


async def ensure_queues(
    connection: AbstractConnection, channel: AbstractChannel, receiver: str, kinds: Iterable[str], count: int, *, declare: bool
) -> list[str]:
    """The names of a receiver's queues, which are there; declared and bound with ``declare``. Raises TopologyError.

    A kind that is no longer asked for stays bound until it is unbound by hand.
    """
    names = queue_names(receiver, count)
    if not declare:
        for name in names:
            await channel.get_queue(name, ensure=True)
        return names
    before = await _others(connection, receiver, count)
    exchange = await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)
    kinds = tuple(kinds)
    for number, name in enumerate(names):
        queue = await channel.declare_queue(name, durable=True, arguments=QUEUE_ARGUMENTS)
        for key in binding_keys(receiver, kinds, number, count):
            await queue.bind(exchange, routing_key=key)
    # Looked at again: from here on what arrives is in the new queues as well, and is known there by its delivery id.
    for name in before and await _others(connection, receiver, count):
        await channel.queue_delete(name)
    return names


async def _others(connection: AbstractConnection, receiver: str, count: int) -> list[str]:
    """Queues of the receiver of another number than ``count``. Raises TopologyError where they are in use."""
    found: list[str] = []
    for other in COUNTS:
        if other == count:
            continue
        for name in queue_names(receiver, other):
            queue = await _passive(connection, name)
            if queue is None:
                break  # all of a number are declared together
            result = queue.declaration_result
            if result.message_count or result.consumer_count:
                holds = f"{result.message_count} parcels" if result.message_count else "a consumer"
                raise TopologyError(
                    f"the queue {name} still has {holds}: how many queues {receiver} has can change once it is drained"
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
