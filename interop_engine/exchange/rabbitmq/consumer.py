"""Consuming: all that a node receives, on a connection of its own."""

from __future__ import annotations

from collections.abc import Sequence

from aio_pika.abc import AbstractConnection

from interop_engine.exchange.base import RECEIPT, Take
from interop_engine.exchange.rabbitmq.inbox import Inbox, RabbitSubscription
from interop_engine.exchange.rabbitmq.link import Link
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.share import Share
from interop_engine.exchange.rabbitmq.topology import queues_of_channels, queues_of_receipts


class Consumer:
    """All inboxes of a node: of each name that it receives under, one for the channels and one for receipts."""

    def __init__(self, settings: Settings) -> None:
        self.share = Share()
        self._settings = settings
        self._link = Link(settings, "consume", self._prepare, self._lost)
        self._connection: AbstractConnection | None = None  # from when the inboxes are being opened on it
        self._inboxes: dict[tuple[str, bool], Inbox] = {}
        self._begun = False

    @property
    def problem(self) -> str:
        """Empty while consuming works, or where nobody consumes."""
        return self._link.problem if self.receivers else ""

    @property
    def receivers(self) -> tuple[str, ...]:
        """Who receives here."""
        return tuple(sorted({inbox.receiver for inbox in self._inboxes.values() if inbox.subscriptions}))

    @property
    def waiting(self) -> tuple[str, ...]:
        """What waits for a channel that is stopped, in words."""
        return tuple(words for inbox in self._inboxes.values() for words in inbox.waiting)

    async def begin(self, moment: float) -> None:
        """Feed all that subscribed; a broker that is not there is waited for at most ``moment`` seconds."""
        self._begun = True
        if self._inboxes:
            self._link.start()
            await self._link.wait_up(moment)

    async def subscribe(self, receiver: str, kinds: Sequence[str], take: Take, moment: float) -> RabbitSubscription:
        """Feed ``take``, once begun: from now on where the broker is there, and else from when it comes."""
        receipts = RECEIPT in kinds
        inbox = self._inboxes.get((receiver, receipts)) or self._new(receiver, receipts=receipts)
        subscription = RabbitSubscription(inbox, frozenset(kinds), take)
        if self._begun and self._connection is None:
            self._link.start()
            await self._link.wait_up(moment)
        if self._connection is not None:
            await inbox.joined(subscription, self._connection)
        else:
            inbox.add(subscription)
        return subscription

    def _new(self, receiver: str, *, receipts: bool) -> Inbox:
        queues = queues_of_receipts(receiver) if receipts else queues_of_channels(receiver, self._settings.queues)
        inbox = self._inboxes[receiver, receipts] = Inbox(queues, self.share, self._link, self._settings)
        return inbox

    async def close(self) -> None:
        """End for good, after the takes that are under way."""
        for inbox in tuple(self._inboxes.values()):
            await inbox.shut()
        await self._link.close()

    async def _prepare(self, connection: AbstractConnection) -> None:
        self._connection = connection
        for inbox in tuple(self._inboxes.values()):
            await inbox.open(connection)

    async def _lost(self) -> None:
        self._connection = None
        for inbox in tuple(self._inboxes.values()):
            await inbox.shut()
