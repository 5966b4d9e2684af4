"""What an operator must see at a glance: one frozen snapshot of a running engine. No patient data is in it.

Times are in the site's own zone, with its offset; ages are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from interop_engine import __version__
from interop_engine.config.schema import WaitingOptions
from interop_engine.connectors.base import ConnectorHealth
from interop_engine.exchange.base import Exchange, ExchangeHealth
from interop_engine.journal.base import Journal, JournalHealth, MessageState, Queue, QueueCount
from interop_engine.ops.machine import Certificate, certificates, room
from interop_engine.ops.rates import Arrivals, Rates

if TYPE_CHECKING:
    import asyncio

    from interop_engine.config.site import Site
    from interop_engine.engine.reload import Reloaded


class ObservedChannel(Protocol):
    """A channel as the runtime shows it. ``state``: starting, running, stopped, or failed, and then ``problem`` says why."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def title(self) -> str:
        """What it is for, in words."""
        ...

    @property
    def state(self) -> str:
        """Its state."""
        ...

    @property
    def problem(self) -> str:
        """Why it failed, if it did."""
        ...

    @property
    def source_health(self) -> ConnectorHealth:
        """How the source is."""
        ...

    @property
    def destination_healths(self) -> Mapping[str, ConnectorHealth]:
        """How each destination is, by name."""
        ...

    async def open_source(self) -> None:
        """Begin to take messages in."""
        ...

    async def close_source(self) -> None:
        """Stop intake; what was taken in goes on."""
        ...

    def stop_destination(self, name: str) -> None:
        """Begin no delivery to a destination. Raises UnknownItem where there is none of that name."""
        ...

    def start_destination(self, name: str) -> None:
        """Deliver again, and at once. Raises UnknownItem where there is none of that name."""
        ...


class Observed(Protocol):
    """A running engine as the runtime shows it."""

    @property
    def site(self) -> Site:
        """What it runs."""
        ...

    @property
    def journal(self) -> Journal:
        """Its journal."""
        ...

    @property
    def exchange(self) -> Exchange:
        """Its exchange."""
        ...

    @property
    def channels(self) -> Sequence[ObservedChannel]:
        """Its channels, in the order they are listed."""
        ...

    @property
    def steering(self) -> asyncio.Lock:
        """Held by who starts, stops or replaces channels."""
        ...

    async def reload(self, only: str = "") -> Reloaded:
        """Take the site anew, or of it one channel. Raises ConfigError, OSError and UnknownItem, and nothing has changed."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not gone on: ``oldest`` is when the oldest waiting item was received, ``age`` its seconds since.

    ``holding``: how many of the parked ones have others waiting behind them until a person acts. ``over``: what is more than the
    channel's ``waiting:`` allows.
    """

    waiting: int = 0
    parked: int = 0
    oldest: datetime | None = None
    age: float | None = None
    holding: int = 0
    over: str = ""


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """One destination of a channel. ``overdue``: deliveries of which a receiver on the exchange has not said what became."""

    name: str
    health: ConnectorHealth
    backlog: Backlog
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """One channel. ``received`` is all that the journal still holds; ``backlog`` is what waits for transformation."""

    name: str
    title: str
    state: str
    problem: str
    source: ConnectorHealth
    received: int
    accepted: int
    rejected: int
    filtered: int
    parked: int
    rates: Rates
    last_received: datetime | None
    backlog: Backlog
    destinations: tuple[DestinationStatus, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The engine. ``problems`` are the reasons why it is not ready; empty while it is.

    ``room``: bytes of disk until a journal in a file stops acknowledging; None where it stands in a database.
    """

    site: str
    facility: str
    version: str
    at: datetime
    started_at: datetime
    uptime: float
    problems: tuple[str, ...]
    journal: JournalHealth
    exchange: ExchangeHealth
    channels: tuple[ChannelStatus, ...] = field(default=())
    room: int | None = None
    certificates: tuple[Certificate, ...] = ()


async def problems(observed: Observed) -> tuple[str, ...]:
    """Why the engine cannot take in messages: its journal, a channel that failed, a source. A receiver is no reason."""
    found = []
    if problem := (await observed.journal.health()).problem:
        found.append(f"journal: {problem}")
    for channel in observed.channels:
        if channel.state == "stopped":  # by an operator's wish
            continue
        if channel.state == "starting":
            found.append(f"channel {channel.name}: it has not started yet")
        elif problem := channel.problem or channel.source_health.problem:
            found.append(f"channel {channel.name}: {problem}")
    return tuple(found)


async def observe(observed: Observed, arrivals: Arrivals, started_at: datetime, now: datetime | None = None) -> Status:
    """Take the snapshot. Raises JournalError where the journal cannot be read."""
    options = observed.site.options
    now = (now or datetime.now(UTC)).astimezone(options.zone)
    journal = observed.journal
    counts = {count.queue: count for count in await journal.counts()}
    totals, last = await journal.totals(), await journal.last_received()
    within = options.receipts.within
    overdue = await journal.overdue(now - timedelta(seconds=within)) if within else {}
    limits = {channel.name: channel.options.waiting for channel in observed.site.channels}
    shown: list[ObservedChannel | _Gone] = [*observed.channels, *_gone(observed, counts)]
    channels = tuple(
        _channel(
            channel,
            counts=counts,
            totals=totals.get(channel.name, {}),
            last=last.get(channel.name),
            overdue=overdue,
            rates=arrivals.rates(channel.name),
            limit=limits.get(channel.name, WaitingOptions()),
            now=now,
        )
        for channel in shown
    )
    return Status(
        site=options.site,
        facility=options.facility,
        version=__version__,
        at=now,
        started_at=started_at.astimezone(options.zone),
        uptime=round((now - started_at).total_seconds(), 3),
        problems=await problems(observed),
        journal=await journal.health(),
        exchange=observed.exchange.health(),
        channels=channels,
        room=room(observed.site),
        certificates=certificates(observed.site),
    )


_GONE = ConnectorHealth(place="", problem="not configured any more")


@dataclass(frozen=True, slots=True)
class _Gone:
    """A channel that left the configuration: it is shown as long as it has work."""

    name: str
    title: str = ""
    state: str = "removed"
    problem: str = _GONE.problem
    source_health: ConnectorHealth = _GONE
    destination_healths: Mapping[str, ConnectorHealth] = field(default_factory=dict)


def _gone(observed: Observed, counts: Mapping[Queue, QueueCount]) -> Iterator[_Gone]:
    known = {channel.name for channel in observed.channels}
    left = {queue.channel for queue, count in counts.items() if count.waiting or count.parked}
    yield from (_Gone(name) for name in sorted(left - known))


def _channel(
    channel: ObservedChannel | _Gone,
    *,
    counts: Mapping[Queue, QueueCount],
    totals: Mapping[str, int],
    last: datetime | None,
    overdue: Mapping[Queue, int],
    rates: Rates,
    limit: WaitingOptions,
    now: datetime,
) -> ChannelStatus:
    received, rejected = sum(totals.values()), totals.get(MessageState.REJECTED, 0)
    # A destination that left the configuration may still have work: it is shown as long as it has.
    healths = dict(channel.destination_healths)
    for queue, count in counts.items():
        if queue.channel == channel.name and queue.destination is not None and (count.waiting or count.parked):
            healths.setdefault(queue.destination, _GONE)
    return ChannelStatus(
        name=channel.name,
        title=channel.title,
        state=channel.state,
        problem=channel.problem,
        source=channel.source_health,
        received=received,
        accepted=received - rejected,
        rejected=rejected,
        filtered=totals.get(MessageState.FILTERED, 0),
        parked=totals.get(MessageState.PARKED, 0),
        rates=rates,
        last_received=last.astimezone(now.tzinfo) if last else None,
        backlog=_backlog(counts.get(Queue(channel.name)), limit, now),
        destinations=tuple(
            _destination(name, health, _backlog(counts.get(queue), limit, now), overdue.get(queue, 0))
            for name, health in healths.items()
            for queue in (Queue(channel.name, name),)
        ),
    )


def _destination(name: str, health: ConnectorHealth, backlog: Backlog, overdue: int) -> DestinationStatus:
    if overdue and not health.problem:
        health = replace(health, problem=f"receipts overdue: {overdue}")
    return DestinationStatus(name, health, backlog, overdue)


def _backlog(count: QueueCount | None, limit: WaitingOptions, now: datetime) -> Backlog:
    if count is None:
        return Backlog()
    if count.oldest is None:
        return Backlog(count.waiting, count.parked, holding=count.holding)
    age = round(max((now - count.oldest).total_seconds(), 0.0), 3)
    over = []
    if limit.stop and count.waiting >= limit.stop:
        over.append(f"{count.waiting} wait, and at {limit.stop} nothing more is taken in")
    elif limit.messages and count.waiting > limit.messages:
        over.append(f"{count.waiting} wait, more than {limit.messages}")
    if limit.age and age > limit.age:
        over.append(f"the oldest waits for {timedelta(seconds=round(age))}, longer than {timedelta(seconds=round(limit.age))}")
    return Backlog(count.waiting, count.parked, count.oldest.astimezone(now.tzinfo), age, count.holding, "; ".join(over))
