"""A channel at work: its source, its transformation, its deliveries; their start and their stop."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.registry import DESTINATIONS, SOURCES
from interop_engine.core import events
from interop_engine.core.retry import Backoff
from interop_engine.engine.acknowledgement import AnsweringDestination, Verdicts, acknowledging, forward
from interop_engine.engine.delivery import Deliverer, Policy
from interop_engine.engine.ingress import Ingress
from interop_engine.engine.parsed import Parsed
from interop_engine.engine.replays import Replays
from interop_engine.engine.transform import Parked
from interop_engine.engine.workers import Workers
from interop_engine.journal.base import Forward, Queue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interop_engine.config.site import ChannelConfig, DestinationConfig
    from interop_engine.connectors.base import ConnectorHealth, Destination, Source
    from interop_engine.core.model import Received
    from interop_engine.engine.transformers import Transformer
    from interop_engine.engine.workers import Broken
    from interop_engine.exchange.base import Exchange
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import Journal, Lease

_TRANSFORMS = 16  # messages under way at once: they wait for commits together, which is what makes a commit cheap
_DELIVERIES = 32  # of lanes at once to one destination that says nothing of its own


class ChannelState(StrEnum):
    """Where a channel is."""

    STARTING = "starting"
    STOPPED = "stopped"
    RUNNING = "running"
    FAILED = "failed"


class Channel:
    """One channel at work. ``owner`` names this process in leases."""

    def __init__(
        self,
        config: ChannelConfig,
        journal: Journal,
        exchange: Exchange,
        transformer: Transformer,
        *,
        owner: str,
        root: str,
        broken: Broken,
    ) -> None:
        """``broken``: see ``Workers``."""
        self.config = config
        self.state = ChannelState.STARTING
        self.problem = ""
        self._journal = journal
        self._transformer = transformer
        self._parsed = Parsed()
        self._replays = Replays(config, journal)
        self._verdicts = Verdicts(config, journal)
        self._ingress = Ingress(config, journal, self._parsed, self._verdicts, broken)

        def surroundings(name: str) -> Surroundings:
            return _surroundings(config, exchange, name, root)

        self._source: Source = SOURCES[config.connector][1](config.source, surroundings("source"))
        self._destinations: dict[str, Destination] = {
            each.name: DESTINATIONS[each.connector][1](each.options, surroundings(each.name)) for each in config.destinations
        }
        if (to := acknowledging(config).ack_to) in self._destinations:
            self._destinations[to] = AnsweringDestination(self._destinations[to], config, journal, self._verdicts)
        self._workers = Workers(journal, Queue(config.name), self._transform, owner=owner, concurrency=_TRANSFORMS, broken=broken)
        self._deliverers = [self._deliverer(each, owner, broken) for each in config.destinations]

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.config.name

    @property
    def title(self) -> str:
        """What it is for, in words."""
        return self.config.options.title

    @property
    def source_health(self) -> ConnectorHealth:
        """How the source is."""
        return self._source.health()

    @property
    def destination_healths(self) -> Mapping[str, ConnectorHealth]:
        """How each destination is."""
        return {name: destination.health() for name, destination in self._destinations.items()}

    def _deliverer(self, destination: DestinationConfig, owner: str, broken: Broken) -> Deliverer:
        return Deliverer(
            self._journal,
            Queue(self.name, destination.name),
            self._destinations[destination.name],
            _policy(destination),
            owner=owner,
            concurrency=_concurrency(destination),
            settled=self._verdicts.moved,
            broken=broken,
        )

    async def start(self) -> None:
        """Deliveries first, then transformation, the source last. A source that cannot start leaves the channel FAILED."""
        for deliverer in self._deliverers:
            await deliverer.start()
        self._workers.start()
        await self.open_source()

    async def open_source(self) -> None:
        """Begin to take messages in."""
        try:
            await self._source.start(self._ingress.accept)
        except OSError as error:
            self.problem = f"The source cannot start: {error.strerror or error}"
            self._changed(ChannelState.FAILED)
        else:
            self.problem = ""
            self._changed(ChannelState.RUNNING)

    async def close_source(self) -> None:
        """Stop intake; what was taken in goes on."""
        await self._source.stop()
        if self.state is not ChannelState.STOPPED:
            self._changed(ChannelState.STOPPED)

    async def stop(self, deadline: float) -> None:
        """Stop intake, let what is under way end within ``deadline`` seconds, close. Twice is harmless."""
        await self.close_source()
        await self._workers.stop(deadline)
        await asyncio.gather(*(deliverer.stop(deadline) for deliverer in self._deliverers))

    def _changed(self, state: ChannelState) -> None:
        self.state = state
        events.emit(events.ChannelStateChanged(self.name, state, self.problem))

    async def _transform(self, lease: Lease) -> None:
        received = lease.message
        assert received is not None
        message = self._parsed.take(received.id)
        result = await self._result(received, message)
        while not await self._finish(lease, result):
            result = await self._result(received, None)

    async def _result(self, received: Received, message: Message | None) -> Parked | Forward:
        if (acknowledgement := forward(received, self.config)) is not None:
            return acknowledgement
        if received.replay_of is not None:
            return await self._replays.run(received)
        return await self._transformer.run(received, self.config, message, self._journal.known)

    async def _finish(self, lease: Lease, result: Parked | Forward) -> bool:
        """Write the result; False where what was known has changed meanwhile, so that it must be made anew."""
        assert lease.message is not None
        message = lease.message.id
        forwarded = True

        async def write() -> None:
            nonlocal forwarded
            if isinstance(result, Parked):
                await self._journal.park(lease, result.code, result.why, [str(finding) for finding in result.findings])
            else:
                forwarded = await self._journal.forward(lease, result)

        if not await self._workers.durable(write):
            return True
        self._verdicts.moved(message)
        if isinstance(result, Parked):
            place = next((finding.path for finding in result.findings if finding.severity == "error"), "")
            events.emit(events.MessageParked(self.name, message, result.code, place))
        elif forwarded:
            events.emit(events.MessageForwarded(self.name, message, len(result.deliveries), result.code))
        return forwarded


def _surroundings(config: ChannelConfig, exchange: Exchange, name: str, root: str) -> Surroundings:
    return Surroundings(config.scope.facility, exchange, config.name, name, root)


def _policy(destination: DestinationConfig) -> Policy:
    retry = destination.deliver.retry
    return Policy(Backoff(retry.first, retry.up_to), retry.give_up)


def _concurrency(destination: DestinationConfig) -> int:
    # An option of the connectors whose receivers mind how many requests they get at once.
    return int(getattr(destination.options, "concurrency", _DELIVERIES))
