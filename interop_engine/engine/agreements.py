"""The edge of a facility: what no agreement covers, or what holds a closed code, parks here instead of leaving.

It is looked at as a delivery is about to leave, and not when it is made: an agreement that has ended meanwhile counts, and a
retry of what was withheld goes through once there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interop_engine.connectors.base import ConnectorHealth, Destination
    from interop_engine.core.model import Delivery, Outcome
    from interop_engine.exchange.agreements import Agreements


class AgreedDestination:
    """An exchange destination that sends only what agreements allow."""

    def __init__(self, destination: Destination, agreements: Agreements, facility: str) -> None:
        self._destination = destination
        self.gate = destination.gate
        self._agreements = agreements
        self._facility = facility

    async def open(self) -> None:
        """Get ready."""
        await self._destination.open()

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Deliver once, or park what must not leave."""
        headers = delivery.headers
        sender, receiver, kind = headers.get("sender") or self._facility, headers.get("receiver", ""), headers.get("kind", "")
        withheld = self._agreements.withhold(sender, receiver, kind, delivery.body, delivery.media)
        return withheld or await self._destination.deliver(delivery)

    async def close(self) -> None:
        """Close."""
        await self._destination.close()

    def health(self) -> ConnectorHealth:
        """As the destination is."""
        return self._destination.health()
