"""The one place where the demonstration touches the engine: starts the sample site, and asks its journal how messages ended."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from interop_engine.config import loader
from interop_engine.config.schema import AmqpOptions
from interop_engine.core.errors import InteropError
from interop_engine.demo.sample import sample_site
from interop_engine.journal.base import DeliveryState, MessageState, Selection
from interop_engine.ops.node import Node

if TYPE_CHECKING:
    from interop_engine.journal.base import DeliveryRow, Journal, MessageRow

PORTS = ("LAB_PORT", "IMAGING_PORT", "ORDERS_PORT", "PATIENTS_PORT")
_POLL = 0.01  # seconds between two looks at the journal
_PATIENCE = 30.0  # seconds after which a message that has not ended is given up


class NotSettled(InteropError):  # noqa: N818 - what happened, said as an operator would
    """Something did not come to its end in time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Where a message is. ``receivers``: facility → ``delivered``, or ``parked`` with a code (``parked: fhir-422``).

    ``why`` is what the journal says to an operator; two ends that differ in nothing else are the same.
    """

    state: str
    code: str = ""
    receivers: tuple[tuple[str, str], ...] = ()
    arrivals: int = 1
    why: str = field(default="", compare=False)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


class DemoNode:
    """The sample site on ports of its own, its journal in ``folder``; ``broker`` is RabbitMQ's URL, None to do without."""

    def __init__(self, folder: Path, urls: Mapping[str, str], broker: str | None) -> None:
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        environment = {**urls, **{name: str(port) for name, port in self.ports.items()}, "STATUS_PORT": "0"}
        site = loader.load(sample_site(), environment)
        options = site.options.model_copy(
            update={
                "journal": site.options.journal.model_copy(update={"path": str(folder / "journal.db")}),
                "exchange": AmqpOptions(amqp=broker) if broker else "embedded",
            }
        )
        self.site = replace(site, options=options)
        self._node = Node(self.site)

    @property
    def journal(self) -> Journal:
        """The node's journal."""
        return self._node.runtime.journal

    @property
    def status_address(self) -> str:
        """Where the status API listens."""
        return self._node.address

    @property
    def problem(self) -> str:
        """What is wrong with the exchange, '' while nothing is."""
        return self._node.runtime.exchange.health().problem

    async def start(self) -> None:
        """Start everything."""
        await self._node.start()

    async def stop(self) -> None:
        """Stop everything."""
        await self._node.stop()

    async def ended(self, channel: str, control_id: str) -> Ended:
        """Wait until the newest message of that control id has come to its end at every receiver. Raises NotSettled."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            rows = await self.journal.search(Selection(channel=channel, control_id=control_id, limit=1))
            if rows and (ended := await self._end_of(rows[0])) is not None:
                return ended
            await asyncio.sleep(_POLL)
        raise NotSettled(f"Message {control_id or '(no control id)'} of {channel} has not come to its end.")

    async def _end_of(self, row: MessageRow) -> Ended | None:
        if row.state is MessageState.RECEIVED:
            return None
        receivers = []
        for delivery in row.deliveries:
            state = await self._end_at_receiver(delivery)
            if state is None:
                return None
            receivers.append((delivery.headers.get("receiver", delivery.destination), state))
        return Ended(row.state.value, row.code, tuple(sorted(receivers)), row.arrivals, row.why)

    async def _end_at_receiver(self, delivery: DeliveryRow) -> str | None:
        """What became of a delivery: where its receiver is a channel of this process, what that channel did with it."""
        if delivery.state is not DeliveryState.DELIVERED:
            return None if delivery.state is DeliveryState.WAITING else f"{delivery.state.value}: {delivery.code}"
        channel = self._channel_of(delivery.headers.get("receiver", ""))
        rows = await self.journal.search(Selection(channel=channel, control_id=delivery.id, limit=1))
        if not rows or rows[0].state is MessageState.RECEIVED:
            return None
        if rows[0].state is not MessageState.TRANSFORMED:
            return f"{rows[0].state.value}: {rows[0].code}"
        return _worst(rows[0].deliveries)

    def _channel_of(self, receiver: str) -> str:
        sources = ((each.name, each.source) for each in self.site.channels if each.connector == "exchange")
        return next(name for name, source in sources if getattr(source, "as_", "") == receiver)


def _worst(deliveries: Sequence[DeliveryRow]) -> str | None:
    if any(each.state is DeliveryState.WAITING for each in deliveries):
        return None
    return next(
        (f"{each.state.value}: {each.code}" for each in deliveries if each.state is not DeliveryState.DELIVERED), "delivered"
    )
