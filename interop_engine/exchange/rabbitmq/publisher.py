"""Publishing: an attempt ends in a confirm, or in a reason."""

from __future__ import annotations

import asyncio
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.channel import Channel as UnderlayChannel
from pamqp.commands import Basic

from interop_engine.core.events import emit
from interop_engine.core.model import Delivered, Outcome, Retry
from interop_engine.exchange.base import Parcel
from interop_engine.exchange.events import ExchangeAlarm, ExchangeAlarmEnded
from interop_engine.exchange.rabbitmq import alarm, wire
from interop_engine.exchange.rabbitmq.link import BROKER_ERRORS, Link, OnlyOurCancellation, words
from interop_engine.exchange.rabbitmq.nacks import Nacks
from interop_engine.exchange.rabbitmq.refusals import Refusals
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.topology import EXCHANGE, ensure_exchange
from interop_engine.exchange.rules import unrouted, unsendable


class Publisher:
    """Publishes on a connection of its own: an alarm at the broker stops reading it, and must not stop consuming."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout = settings.confirm_within
        self._link = Link(settings, "publish", self._prepare, self._lost)
        self._channel: UnderlayChannel | None = None
        self._kept: AbstractChannel | None = None  # only held: a channel that nobody holds is closed
        self._refusals = Refusals(settings.max_message)
        self._nacks = Nacks()
        self._alarm = ""  # the broker's own word for it
        self._stalled = False
        self._deadlines: set[asyncio.Timeout] = set()

    @property
    def problem(self) -> str:
        """Empty while publishing works."""
        if self._link.problem or not (self._alarm or self._stalled):
            return self._link.problem
        return _alarm(self._alarm) if self._alarm else "the broker does not confirm"

    async def open(self, moment: float) -> None:
        """Start to connect; wait for it at most ``moment`` seconds."""
        self._link.start()
        await self._link.wait_up(moment)

    async def close(self) -> None:
        """End for good."""
        await self._link.close()

    async def publish(self, parcel: Parcel) -> Outcome:
        """One attempt."""
        if (refusal := unsendable(parcel)) is not None:
            return refusal
        if self._alarm:  # what is written now stays in memory until it ends
            return self._alarmed(sent=False)
        if (channel := self._channel) is None:
            return self._down(sent=False)
        body, properties = wire.pack(parcel, self._settings.address.user)
        if (refusal := self._refusals.known(parcel, len(body))) is not None:
            return refusal
        outcome = await self._attempt(channel, parcel, body, properties)
        if isinstance(outcome, Delivered):
            self._stalled = False
            self._nacks.taken(parcel.routing_key)
        return outcome

    async def _attempt(self, channel: UnderlayChannel, parcel: Parcel, body: bytes, properties: Basic.Properties) -> Outcome:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                with OnlyOurCancellation():
                    await channel.basic_publish(
                        body,
                        exchange=EXCHANGE,
                        routing_key=parcel.routing_key,
                        properties=properties,
                        mandatory=True,
                        # To wait for the socket as well would send one parcel at a time. A broker that does not read is
                        # waited for: else each attempt would leave its body in memory.
                        wait=self._stalled,
                    )
        except DeliveryError as error:
            return unrouted(parcel) if isinstance(error, PublishError) else self._nacked(parcel)
        except TimeoutError:  # it may have arrived: the next attempt carries the same delivery id
            if channel is not self._channel:
                return self._down()
            if self._alarm:
                return self._alarmed()
            self._stalled = True
            return Retry(f"no confirm within {self._timeout:g} s", "unconfirmed", counts=False)
        except BROKER_ERRORS as error:
            return self._refusals.learn(error, parcel, len(body)) or self._down(error)
        finally:
            self._deadlines.discard(deadline)
        return Delivered()

    def _down(self, error: BaseException | None = None, *, sent: bool = True) -> Retry:
        # That the exchange is not there: a node that declares nothing did not look before.
        why = words(error) if isinstance(error, ChannelNotFoundEntity) else self._link.problem
        return Retry(f"no broker: {why or 'the channel was lost'}", "exchange-down", counts=False, sent=sent)

    def _nacked(self, parcel: Parcel) -> Retry:
        if self._nacks.refused(parcel.routing_key):
            self._link.drop(f'the broker does not take what is for "{parcel.receiver}"')
        return Retry("the broker did not take it: the receiver's queue is full, or has no leader", "nacked", counts=False)

    def _alarmed(self, *, sent: bool = True) -> Retry:
        return Retry(_alarm(self._alarm), "exchange-alarm", counts=False, sent=sent)

    async def _prepare(self, connection: AbstractConnection) -> None:
        self._refusals.connected(connection)
        self._nacks.connected()
        self._stalled = False
        self._alarm = ""
        alarm.listen(connection, self._told)
        # on_return_raises: an unroutable message is confirmed after it came back, and must not count as delivered.
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(self._channel_closed)
        await ensure_exchange(channel, declare=self._settings.declare)
        # Published on the channel below: aio-pika's message and exchange cost as much as the protocol itself.
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, UnderlayChannel)
        self._kept, self._channel = channel, underlay

    async def _lost(self) -> None:
        self._channel = None
        self._alarm = ""
        self._interrupt()  # the library may wait for ever on a connection that died

    def _interrupt(self) -> None:
        """End the attempts under way; what they sent may still arrive."""
        now = asyncio.get_running_loop().time()
        for deadline in tuple(self._deadlines):
            if not deadline.expired():
                deadline.reschedule(now)

    def _told(self, reason: str) -> None:
        """The broker says why it reads no publisher, or with an empty text that it does."""
        location = self._settings.address.location
        if reason:
            emit(ExchangeAlarm(location, reason))
            self._alarm = reason
            self._interrupt()
        elif self._alarm:
            self._alarm, self._stalled = "", False
            emit(ExchangeAlarmEnded(location))

    def _channel_closed(self, _: Any, error: BaseException | None = None) -> None:
        # The connection goes too: what the library had already taken for this channel would be sent after its end, and the broker
        # closes the connection for that. Refusals are remembered, so that this is rare.
        self._channel = None
        self._link.drop("the broker closed the channel" if error is not None else "the connection was lost")


def _alarm(reason: str) -> str:
    return f"the broker has an alarm and takes nothing: {reason}"
