"""What is declared at the broker: one exchange, one queue a receiver.

The queue is bound to each kind it takes with all senders and all of their 64 buckets. A receiver that needs several queues
binds each to some of the buckets instead; the routing keys stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue
from pamqp.common import Arguments

EXCHANGE = "interop"

# Quorum: a confirm means fsync, on a single node too. Single active consumer: a second worker stands by and order is kept.
# The limit is stated, and out of reach, because RabbitMQ 4 drops what was given back 20 times, where we wait instead.
QUEUE_ARGUMENTS: Arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 1_000_000_000}


async def declare_exchange(channel: AbstractChannel) -> AbstractExchange:
    """The exchange. It has no alternate exchange: what nobody receives must come back to its sender."""
    return await channel.declare_exchange(EXCHANGE, ExchangeType.TOPIC, durable=True)


async def declare_queue(channel: AbstractChannel, receiver: str, kinds: Iterable[str]) -> AbstractQueue:
    """A receiver's queue with its bindings. A kind that is no longer asked for stays bound until it is unbound by hand."""
    exchange = await declare_exchange(channel)
    queue = await channel.declare_queue(queue_name(receiver), durable=True, arguments=QUEUE_ARGUMENTS)
    for kind in kinds:
        await queue.bind(exchange, routing_key=f"{kind}.*.{receiver}.*")
    return queue


def queue_name(receiver: str) -> str:
    """``interop.hub``."""
    return f"{EXCHANGE}.{receiver}"
