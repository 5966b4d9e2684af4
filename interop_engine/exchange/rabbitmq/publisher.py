"""Publishing: an attempt ends in a confirm, or in a reason."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq.channel import Channel as UnderlayChannel
from aiormq.exceptions import ChannelAccessRefused
from pamqp.commands import Basic

from interop_engine.core.model import Delivered, Outcome, Park, Retry
from interop_engine.exchange.base import Parcel
from interop_engine.exchange.rabbitmq import wire
from interop_engine.exchange.rabbitmq.link import BROKER_ERRORS, Link, OnlyOurCancellation
from interop_engine.exchange.rabbitmq.settings import Settings
from interop_engine.exchange.rabbitmq.topology import EXCHANGE, ensure_exchange
from interop_engine.exchange.rules import unrouted, unsendable

_LIMIT_3 = 128 * 1024 * 1024  # bytes: RabbitMQ 3.8 to 3.13
_LIMIT_4 = 16 * 1024 * 1024  # bytes: RabbitMQ 4
_TOO_LARGE = re.compile(r"message size (\d+)")  # what the broker says as it closes the channel


class Publisher:
    """Publishes on a connection of its own: an alarm at the broker stops reading it, and must not stop consuming."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout = settings.confirm_within
        self._link = Link(settings, "publish", self._prepare, self._lost)
        self._channel: UnderlayChannel | None = None
        self._kept: AbstractChannel | None = None  # only held: a channel that nobody holds is closed
        self._limit = _LIMIT_4
        self._stalled = False
        self._deadlines: set[asyncio.Timeout] = set()

    @property
    def problem(self) -> str:
        """Empty while publishing works."""
        return self._link.problem or ("the broker does not confirm (an alarm of memory or disk?)" if self._stalled else "")

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
        if (channel := self._channel) is None:
            return self._down()
        body, properties = wire.pack(parcel, self._settings.address.user)
        if len(body) > self._limit:
            return _too_large(len(body))
        outcome = await self._attempt(channel, parcel, body, properties)
        if isinstance(outcome, Delivered):
            self._stalled = False
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
            return unrouted(parcel) if isinstance(error, PublishError) else Retry("the broker did not take it", "nacked")
        except TimeoutError:  # it may have arrived: the next attempt carries the same delivery id
            if channel is not self._channel:
                return self._down()
            self._stalled = True
            return Retry(f"no confirm within {self._timeout:g} s", "unconfirmed")
        except BROKER_ERRORS as error:
            if _names_size(error, len(body)):
                return _too_large(len(body))
            return _not_permitted(parcel) if _names_topic(error, parcel.routing_key) else self._down()
        finally:
            self._deadlines.discard(deadline)
        return Delivered()

    def _down(self) -> Retry:
        return Retry(f"no broker: {self._link.problem or 'the connection was lost'}", "exchange-down", counts=False)

    async def _prepare(self, connection: AbstractConnection) -> None:
        # on_return_raises: an unroutable message is confirmed after it came back, and must not count as delivered.
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(self._channel_closed)
        self._limit = _limit_of(connection)
        self._stalled = False
        await ensure_exchange(channel, declare=self._settings.declare)
        # Published on the channel below: aio-pika's message and exchange cost as much as the protocol itself.
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, UnderlayChannel)
        self._kept, self._channel = channel, underlay

    async def _lost(self) -> None:
        self._channel = None
        # The library may wait for ever on a connection that died.
        now = asyncio.get_running_loop().time()
        for deadline in tuple(self._deadlines):
            if not deadline.expired():
                deadline.reschedule(now)

    def _channel_closed(self, _: Any, error: BaseException | None = None) -> None:
        self._channel = None
        self._link.drop("the broker closed the channel" if error is not None else "the connection was lost")


def _limit_of(connection: AbstractConnection) -> int:
    transport = connection.transport
    properties: Any = transport.connection.server_properties if transport is not None else {}
    version = properties.get("version", b"")
    text = version.decode("ascii", "replace") if isinstance(version, bytes) else str(version)
    return _LIMIT_3 if text.startswith("3.") else _LIMIT_4


def _too_large(size: int) -> Park:
    return Park("too-large", f"the body has {size} bytes as sent, more than the broker takes")


def _names_size(error: BaseException, size: int) -> bool:
    """Whether the broker closed the channel because of a body of this very size, and not of a neighbour's."""
    found = _TOO_LARGE.search(str(error)) if isinstance(error, ChannelPreconditionFailed) else None
    return found is not None and int(found[1]) == size


def _not_permitted(parcel: Parcel) -> Park:
    return Park("not-permitted", f'the broker lets this node send no {parcel.kind} to "{parcel.receiver}" as "{parcel.sender}"')


def _names_topic(error: BaseException, routing_key: str) -> bool:
    """Whether the broker closed the channel because this very routing key may not be written to, and not a neighbour's."""
    return isinstance(error, ChannelAccessRefused) and f"'{routing_key}'" in str(error)
