"""A channel at work: its source, its transformation, its deliveries; their start, their stop, and what a reload leaves open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interop_engine.connectors.base import Surroundings
from interop_engine.connectors.registry import DESTINATIONS, SOURCES
from interop_engine.core import events
from interop_engine.core.errors import CORRUPT, ItemRefused, RowBroken, UnknownItem
from interop_engine.core.retry import Backoff
from interop_engine.engine.acknowledgement import AnsweringDestination, Verdicts, acknowledging, forward
from interop_engine.engine.agreements import AgreedDestination
from interop_engine.engine.delivery import REFUSED, Deliverer, Policy
from interop_engine.engine.ingress import Ingress
from interop_engine.engine.intake import ChannelState, Intake
from interop_engine.engine.parsed import Parsed
from interop_engine.engine.replays import Replays
from interop_engine.engine.transform import Parked
from interop_engine.engine.workers import Workers
from interop_engine.journal.base import Forward, Queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from interop_engine.config.site import ChannelConfig, DestinationConfig
    from interop_engine.connectors.base import ConnectorHealth
    from interop_engine.core.model import Received
    from interop_engine.engine.transformers import Transformer
    from interop_engine.engine.workers import Broken
    from interop_engine.exchange.base import Exchange
    from interop_engine.hl7.message import Message
    from interop_engine.journal.base import Journal, Lease

_TRANSFORMS = 16  # messages under way at once: they wait for commits together, which is what makes a commit cheap
_DELIVERIES = 32  # of lanes at once to one destination that says nothing of its own


@dataclass(frozen=True, slots=True)
class Shared:
    """What the channels of a node share. ``owner`` names this process in leases. ``broken``: see ``Workers``."""

    journal: Journal
    exchange: Exchange
    transformer: Transformer
    owner: str
    root: str
    broken: Broken


@dataclass(frozen=True, slots=True)
class Kept:
    """What one configuration of a channel leaves open for the next: its source, and the destinations of these names."""

    source: bool = False
    destinations: frozenset[str] = frozenset()


NOTHING_KEPT = Kept()


def kept(before: ChannelConfig, after: ChannelConfig) -> Kept:
    """What can stay open: it is configured as it was.

    Destinations stay with the source alone, because they tell its acknowledgements; one that acknowledgements go to reads
    messages as its channel does, and is opened again.
    """
    if (before.connector, before.source) != (after.connector, after.source):
        return NOTHING_KEPT
    old = {each.name: (each.deliver, each.connector, each.options) for each in before.destinations}
    new = {each.name: (each.deliver, each.connector, each.options) for each in after.destinations}
    same = {name for name in old if old[name] == new.get(name)} - {acknowledging(after).ack_to}
    if before.agreements != after.agreements:
        same -= {each.name for each in after.destinations if each.connector == "exchange"}
    return Kept(source=True, destinations=frozenset(same))


def receivers_first(channels: Iterable[ChannelConfig]) -> list[ChannelConfig]:
    """In the order to start in: those fed by the exchange first, so that what the others send finds its receiver."""
    return sorted(channels, key=lambda each: each.connector != "exchange")


class Channel:
    """One channel at work, under one configuration."""

    def __init__(
        self, config: ChannelConfig, shared: Shared, *, before: Channel | None = None, keep: Kept = NOTHING_KEPT
    ) -> None:
        """``before``: the channel that it follows, of which it takes over what ``keep`` names, open as it is."""
        self.config = config
        self.kept = keep
        self._journal = shared.journal
        self._transformer = shared.transformer
        self._parsed = Parsed()
        self._replays = Replays(config, shared.journal)
        heritage = before if keep.source else None
        self.verdicts: Verdicts = heritage.verdicts if heritage else Verdicts(config, shared.journal)
        self._ingress = Ingress(config, shared.journal, self._parsed, self.verdicts, shared.broken)
        self.intake: Intake = heritage.intake if heritage else self._new_intake(shared)
        queue = Queue(config.name)
        self._workers = Workers(
            shared.journal, queue, self._transform, owner=shared.owner, concurrency=_TRANSFORMS, broken=shared.broken
        )
        self.deliverers: dict[str, Deliverer] = {
            each.name: heritage.deliverers[each.name]
            if heritage and each.name in keep.destinations
            else self._new_deliverer(each, shared)
            for each in config.destinations
        }
        for name, deliverer in self.deliverers.items():
            since = before.deliverers[name].held_since if before and name in before.deliverers else None
            if since is not None:
                deliverer.hold(since)

    def _new_intake(self, shared: Shared) -> Intake:
        source = SOURCES[self.config.connector][1](self.config.source, _surroundings(self.config, shared, "source"))
        return Intake(self.name, source, self._ingress.accept)

    def _new_deliverer(self, config: DestinationConfig, shared: Shared) -> Deliverer:
        destination = DESTINATIONS[config.connector][1](config.options, _surroundings(self.config, shared, config.name))
        if acknowledging(self.config).ack_to == config.name:
            destination = AnsweringDestination(destination, self.config, shared.journal, self.verdicts)
        if config.connector == "exchange" and self.config.agreements is not None:
            destination = AgreedDestination(destination, self.config.agreements, self.config.scope.facility)
        return Deliverer(
            shared.journal,
            Queue(self.name, config.name),
            destination,
            _policy(config),
            owner=shared.owner,
            concurrency=_concurrency(config),
            settled=self.verdicts.moved,
            broken=shared.broken,
        )

    @property
    def name(self) -> str:
        """The channel's name."""
        return self.config.name

    @property
    def title(self) -> str:
        """What it is for, in words."""
        return self.config.options.title

    @property
    def state(self) -> ChannelState:
        """Its state, which is that of its intake."""
        return self.intake.state

    @property
    def problem(self) -> str:
        """Why it failed, if it did."""
        return self.intake.problem

    @property
    def source_health(self) -> ConnectorHealth:
        """How the source is."""
        return self.intake.health()

    @property
    def destination_healths(self) -> Mapping[str, ConnectorHealth]:
        """How each destination is."""
        return {name: deliverer.health() for name, deliverer in self.deliverers.items()}

    async def open(self, *, intake: bool = True) -> None:
        """Open what was not taken over open: destinations, then, where ``intake`` is wanted, the source.

        Nothing is worked on yet. A source that cannot start leaves the channel FAILED; its work goes on. Raises OSError where a
        destination cannot be opened.
        """
        for name in self.deliverers.keys() - self.kept.destinations:
            await self.deliverers[name].open()
        if not self.kept.source:
            await (self.intake.open() if intake else self.intake.close())

    def begin(self) -> None:
        """Begin to work; what was taken over works for this configuration from here on."""
        for name in self.deliverers.keys() - self.kept.destinations:
            self.deliverers[name].start()
        self._workers.start()
        self.intake.accept = self._ingress.accept

    async def open_source(self) -> None:
        """Begin to take messages in."""
        await self.intake.open()

    async def close_source(self) -> None:
        """Stop intake; what was taken in goes on."""
        await self.intake.close()

    def stop_destination(self, name: str) -> None:
        """Begin no delivery to a destination; what is under way ends. Raises UnknownItem where there is none of that name."""
        self._deliverer(name).hold()
        events.emit(events.DestinationStateChanged(self.name, name, "stopped"))

    def start_destination(self, name: str) -> None:
        """Deliver again, and at once, to a receiver that was left alone too. Raises UnknownItem as ``stop_destination`` does."""
        self._deliverer(name).go()
        events.emit(events.DestinationStateChanged(self.name, name, "running"))

    def _deliverer(self, name: str) -> Deliverer:
        if name not in self.deliverers:
            raise UnknownItem(f"The channel {self.name} has no destination {name}.")
        return self.deliverers[name]

    async def stop(self, deadline: float) -> None:
        """Stop intake, let what is under way end within ``deadline`` seconds, close. Twice is harmless."""
        await self.intake.close()
        await self.give_way(deadline, NOTHING_KEPT)

    async def give_way(self, deadline: float, keep: Kept) -> None:
        """Stop for the channel that follows, to which what ``keep`` names is left open. Twice is harmless.

        A source closes last, so that its senders wait for a moment only; but first where their answers wait for the work.
        """
        if not keep.source and acknowledging(self.config).ack != "stored":
            await self.intake.close()
        await self._workers.stop(deadline)
        going = [each for name, each in self.deliverers.items() if name not in keep.destinations]
        await asyncio.gather(*(deliverer.stop(deadline) for deliverer in going))
        if not keep.source:
            await self.intake.close()

    async def _transform(self, lease: Lease) -> None:
        received = lease.message
        assert received is not None
        message = self._parsed.take(received.id)
        result = await self._result(received, message)
        while not await self._finish(lease, result):
            result = await self._result(received, None)

    async def _result(self, received: Received, message: Message | None) -> Parked | Forward:
        try:
            return await self._made(received, message)
        except RowBroken as error:  # of what its receivers have: it says nothing of other messages
            return Parked(CORRUPT, str(error))

    async def _made(self, received: Received, message: Message | None) -> Parked | Forward:
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
            nonlocal forwarded, result
            if isinstance(result, Forward):
                try:
                    forwarded = await self._journal.forward(lease, result)
                except ItemRefused as error:
                    result = Parked(REFUSED, f"The journal cannot hold what was made of it: {error}")
            if isinstance(result, Parked):
                await self._journal.park(lease, result.code, result.why, [str(finding) for finding in result.findings])

        if not await self._workers.durable(write, message):
            return True
        self.verdicts.moved(message)
        if isinstance(result, Parked):
            place = next((finding.path for finding in result.findings if finding.severity == "error"), "")
            events.emit(events.MessageParked(self.name, message, result.code, place))
        elif forwarded:
            events.emit(events.MessageForwarded(self.name, message, len(result.deliveries), result.code))
        return forwarded


def _surroundings(config: ChannelConfig, shared: Shared, name: str) -> Surroundings:
    return Surroundings(config.scope.facility, shared.exchange, config.name, name, shared.root)


def _policy(destination: DestinationConfig) -> Policy:
    retry = destination.deliver.retry
    return Policy(Backoff(retry.first, retry.up_to), retry.give_up, destination.deliver.on_parked == "hold")


def _concurrency(destination: DestinationConfig) -> int:
    # An option of the connectors whose receivers mind how many requests they get at once.
    return int(getattr(destination.options, "concurrency", _DELIVERIES))
