"""The exchange without a broker: nodes that live in one process hand parcels to each other's journals.

There is no queue here. ``publish`` waits for the receiving channel, whose ``take`` returns after its journal's commit; so
``Delivered`` means what it means with a broker: the parcel is safe with the next node.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from interop_engine.core.events import emit
from interop_engine.core.model import Delivered, Outcome, Retry
from interop_engine.exchange.base import ExchangeHealth, Parcel, Take, bucket
from interop_engine.exchange.events import TakeFailed
from interop_engine.exchange.rules import check_subscription, unrouted, unsendable


class EmbeddedExchange:
    """A topic exchange inside the process."""

    def __init__(self) -> None:
        self._subscriptions: list[EmbeddedSubscription] = []
        self._known: set[tuple[str, str]] = (
            set()
        )  # (receiver, kind) that had a subscription: a channel that pauses is no reason to park
        self._begun = False

    async def open(self) -> None:
        """Nothing to do."""

    async def begin(self) -> None:
        """Open: who sent before the receivers are there would be told that there are none."""
        self._begun = True

    def share(self, place: int, workers: int) -> None:
        """Nothing to do: no other process receives here."""

    async def close(self) -> None:
        """Stop; takes that are under way end first."""
        self._begun = False
        for subscription in tuple(self._subscriptions):
            await subscription.close()

    async def publish(self, parcel: Parcel) -> Outcome:
        """Delivered after every subscriber's commit; see the contract for the rest."""
        if not self._begun:
            return Retry("the exchange is closed", "exchange-down", counts=False, sent=False)
        if (refusal := unsendable(parcel)) is not None:
            return refusal
        receivers = [found for found in self._subscriptions if found.wants(parcel)]
        if not receivers:
            if (parcel.receiver, parcel.kind) in self._known:
                return Retry(
                    f'the channel that receives as "{parcel.receiver}" is stopped', "receiver-stopped", counts=False, sent=False
                )
            return unrouted(parcel)
        for subscription in receivers:  # all must have it; who has it already sees a duplicate by its delivery id
            if not await subscription.give(parcel):
                return Retry(f'the channel that receives as "{parcel.receiver}" cannot take it now', "not-taken")
        return Delivered()

    async def subscribe(self, receiver: str, kinds: Sequence[str], take: Take) -> EmbeddedSubscription:
        """Give every parcel for ``receiver`` of these kinds to ``take``, those of one bucket one at a time and in order."""
        check_subscription(receiver, kinds)
        subscription = EmbeddedSubscription(self._subscriptions, receiver, frozenset(kinds), take)
        self._subscriptions.append(subscription)
        self._known.update((receiver, kind) for kind in kinds)
        return subscription

    def health(self) -> ExchangeHealth:
        """Always well once begun."""
        return ExchangeHealth(
            adapter="embedded",
            location="in this process",
            problem="" if self._begun else "closed",
            subscriptions=tuple(sorted({subscription.receiver for subscription in self._subscriptions})),
        )


class EmbeddedSubscription:
    """One channel's place on the exchange."""

    def __init__(self, registry: list[EmbeddedSubscription], receiver: str, kinds: frozenset[str], take: Take) -> None:
        self.receiver = receiver
        self._registry = registry
        self._kinds = kinds
        self._take = take
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)  # of a bucket: first come, first served

    def wants(self, parcel: Parcel) -> bool:
        """Whether the parcel is for this subscription."""
        return parcel.receiver == self.receiver and parcel.kind in self._kinds

    async def give(self, parcel: Parcel) -> bool:
        """Hand the parcel over; False where it was not taken."""
        async with self._turns[bucket(parcel.sender)]:
            if self not in self._registry:  # closed while waiting for its turn
                return False
            try:
                return await self._take(parcel)
            except Exception as error:  # noqa: BLE001 - whatever a channel does wrong, the parcel stays with its sender
                emit(TakeFailed(self.receiver, parcel.delivery_id, type(error).__name__))
                return False

    async def close(self) -> None:
        """Stop taking, after the takes that are under way."""
        if self in self._registry:
            self._registry.remove(self)
        for turn in tuple(self._turns.values()):
            async with turn:
                pass
