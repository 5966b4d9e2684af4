"""The exchange as a source and as a destination: how a channel of one node hands messages to a channel of another."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from interop_engine.connectors.base import ConnectorHealth, Sending, Surroundings
from interop_engine.connectors.breaker import Breaker
from interop_engine.connectors.gate import Gate
from interop_engine.connectors.options import Options
from interop_engine.core.model import Accept, Accepted, Arrival, Delivery, Outcome, Park, Refused, Retry
from interop_engine.core.retry import Backoff
from interop_engine.exchange.base import RECEIPT, Parcel, Subscription
from interop_engine.exchange.rules import FAULT

LANE = "lane"  # header: the delivery's lanes as the sender had them, one a line
VIA = "via"  # header of what was passed on: the facilities before its sender, as each said, blanks between; first its origin
_UNCONFIRMED = 5  # deliveries in a row without a confirm, after which the broker is left alone
_PAUSE = Backoff(0.2, 1.0)  # seconds between looks at a broker that is away: nothing is sent for them
_ADDRESS = frozenset({"receiver", "kind", "sender"})
_SAID = frozenset({LANE, VIA, "event", "control-digest", "digest", "mapping", "config"})  # what a parcel may say of itself


def _not_reserved(kind: str) -> str:
    if kind == RECEIPT:
        raise ValueError(f'the kind "{RECEIPT}" is kept for what nodes tell each other of deliveries: choose another word')
    return kind


Kind = Annotated[str, AfterValidator(_not_reserved)]


class ExchangeSourceOptions(Options):
    """Receive what other nodes send to a name."""

    as_: str = Field(alias="as", description="The name this channel receives under.", examples=["hub"])
    kinds: tuple[Kind, ...] = Field(min_length=1, description="The kinds it receives.", examples=[["lab", "imaging", "patient"]])


class ExchangeDestinationOptions(Sending):
    """Send to another node by its name. The engine resolves ``to`` and ``kind`` for each message."""

    to: str = Field(description="The receiver: =NAME, or an expression over the message.", examples=["=hub", "ORC-21.10"])
    kind: Kind = Field(description="What is sent; a receiver subscribes to kinds.", examples=["lab"])

    @property
    def receiver(self) -> str:
        """The receiver, where it is named; empty where each message says it."""
        return self.to[1:] if self.to.startswith("=") else ""


class ExchangeSource:
    """Turns parcels into arrivals; acknowledges a parcel after the journal has it."""

    def __init__(self, options: ExchangeSourceOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._exchange = surroundings.exchange
        self._subscription: Subscription | None = None

    async def start(self, accept: Accept) -> None:
        """Subscribe."""

        async def take(parcel: Parcel) -> bool:
            # Refused is journaled as rejected: the parcel is settled here, and shown.
            return isinstance(await accept(_arrival(parcel)), Accepted | Refused)

        if self._subscription is None:
            self._subscription = await self._exchange.subscribe(self._options.as_, self._options.kinds, take)

    async def stop(self) -> None:
        """Unsubscribe, after the parcel that is under way."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    def health(self) -> ConnectorHealth:
        """As the exchange is."""
        exchange = self._exchange.health()
        return ConnectorHealth(
            place=f"{exchange.location} as {self._options.as_}",
            connections=int(self._subscription is not None and not exchange.problem),
            problem=exchange.problem,
            details={"kinds": ", ".join(self._options.kinds), "adapter": exchange.adapter},
        )


class ExchangeDestination:
    """Publishes deliveries to the receiver that the engine wrote into their headers."""

    def __init__(self, options: ExchangeDestinationOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._surroundings = surroundings
        self._breaker = Breaker(_UNCONFIRMED, _PAUSE)
        self.gate = Gate(self._breaker, surroundings.channel, surroundings.name)

    async def open(self) -> None:
        """Nothing to do: the runtime opens the exchange."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Publish once; Delivered after the confirm."""
        receiver, kind = delivery.headers.get("receiver", ""), delivery.headers.get("kind", "")
        if not receiver or not kind:
            return Park("bad-address", "the delivery names no receiver or no kind")
        headers = {name: value for name, value in delivery.headers.items() if name not in _ADDRESS and value}
        headers.setdefault(LANE, "\n".join(delivery.lanes))
        parcel = Parcel(
            delivery_id=delivery.id,
            sender=delivery.headers.get("sender") or self._surroundings.facility,
            receiver=receiver,
            kind=kind,
            body=delivery.body,
            media=delivery.media,
            headers=headers,
        )
        return await self.gate.attempt(partial(self._publish, parcel))

    async def _publish(self, parcel: Parcel) -> Outcome:
        outcome = await self._surroundings.exchange.publish(parcel)
        match outcome:
            case Retry(code="exchange-down"):
                self._breaker.trip(outcome.why)
            case Retry(code="unconfirmed" | "nacked"):
                self._breaker.failure(outcome.why)
            case _:
                self._breaker.success()
        return outcome

    async def close(self) -> None:
        """Nothing to do: the runtime closes the exchange."""

    def health(self) -> ConnectorHealth:
        """As the exchange is."""
        exchange = self._surroundings.exchange.health()
        return ConnectorHealth(
            place=f"{exchange.location} to {self._options.to}",
            problem=exchange.problem or self.gate.problem,
            details={"kind": self._options.kind, "adapter": exchange.adapter},
        )


def _arrival(parcel: Parcel) -> Arrival:
    """The parcel as the journal takes it: ``delivery-id`` is the key by which a redelivery is known as a duplicate."""
    headers = {name: value for name, value in parcel.headers.items() if name in _SAID}
    headers.update({"sender": parcel.sender, "receiver": parcel.receiver, "kind": parcel.kind, "delivery-id": parcel.delivery_id})
    return Arrival(
        data=parcel.body,
        media="fhir" if parcel.media == RECEIPT else parcel.media,  # only where it is faulty
        received_at=datetime.now(UTC),
        peer=parcel.sender,
        headers=headers,
        fault=parcel.headers.get(FAULT, ""),
    )
