"""The exchange over RabbitMQ (3.10 to 4.x).

address    the URL: what is refused, what may be shown
settings   what one exchange is told
topology   what is declared
definitions  the same as data, with users and their rights, for the broker to import
changes    what is left of it after an import of others, and the commands that take it away
wire       a parcel as a message, and back
link       a connection that comes back by itself
publisher  confirms, returns
refusals   what the broker takes from nobody, or not from us
alarm      when the broker reads no publisher
consumer   what a node receives, on one connection
inbox      the queues of a receiver, and the channels they feed
reader     one queue: order, acknowledgements
share      which worker reads which queue, where several do the same
"""

from __future__ import annotations

from collections.abc import Sequence

from interop_engine.core.model import Outcome
from interop_engine.exchange.base import ExchangeHealth, Parcel, Take
from interop_engine.exchange.rabbitmq.consumer import Consumer
from interop_engine.exchange.rabbitmq.inbox import RabbitSubscription
from interop_engine.exchange.rabbitmq.publisher import Publisher
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.share import Place
from interop_engine.exchange.rules import check_subscription

_MOMENT = 3.0  # seconds that a start waits for a broker; a broker that comes later is connected to later


class RabbitExchange:
    """Publishing and consuming, on two connections."""

    def __init__(self, settings: Settings) -> None:
        self._location = settings.address.location
        self._publisher = Publisher(settings)
        self._consumer = Consumer(settings)

    async def open(self) -> None:
        """Connect, or go on trying in the background."""
        await self._publisher.open(_MOMENT)

    async def begin(self) -> None:
        """Connect for consuming, and read what was subscribed to."""
        await self._consumer.begin(_MOMENT)

    def share(self, place: int, workers: int) -> None:
        """Read its own queues; see the contract."""
        self._consumer.share.move(Place(place, workers))

    async def close(self) -> None:
        """Stop consuming, after the takes that are under way; then close both connections."""
        await self._consumer.close()
        await self._publisher.close()

    async def publish(self, parcel: Parcel) -> Outcome:
        """One attempt; see the contract."""
        return await self._publisher.publish(parcel)

    async def subscribe(self, receiver: str, kinds: Sequence[str], take: Take) -> RabbitSubscription:
        """Give every parcel for ``receiver`` of these kinds to ``take``; see the contract."""
        check_subscription(receiver, kinds)
        return await self._consumer.subscribe(receiver, kinds, take, _MOMENT)

    def health(self) -> ExchangeHealth:
        """The first problem of either connection."""
        return ExchangeHealth(
            adapter="rabbitmq",
            location=self._location,
            problem=self._publisher.problem or self._consumer.problem,
            subscriptions=self._consumer.receivers,
            waiting=self._consumer.waiting,
        )
