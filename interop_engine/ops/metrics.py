"""Metrics for Prometheus: counters from events, gauges from the status at the moment of the scrape.

Labels are names from the site's own files and codes of the engine, never anything a sender says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily

from interop_engine.core.events import (
    DeliveryDone,
    DeliveryParked,
    DeliveryRetried,
    DeliverySentAhead,
    Event,
    IntakeRefused,
    JournalPruned,
    MessageAccepted,
    MessageForwarded,
    MessageParked,
    MessageRejected,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from interop_engine.ops.status import Backlog, Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "interop_engine_"


class _Children(dict[tuple[str, ...], Counter]):
    """The counters of one name by their labels' values: to ask the library each time costs ten times as much."""

    def __init__(self, family: Counter) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, labels: tuple[str, ...]) -> Counter:
        child = self[labels] = self._family.labels(*labels)
        return child


class Metrics:
    """The engine's counters, in a registry of their own; give ``note`` to ``core.events.subscribe``."""

    def __init__(self) -> None:
        # Else there is a second series beside each counter, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._events = self._counter(
            "events", "Events by type; each is one log line, of what peers do one a minute.", "event", "level"
        )
        self._messages = self._counter("messages", "Messages by what became of them.", "channel", "result")
        self._pruned = self._counter("journal_pruned_messages", "Old messages removed from the journal.", "why")
        self._deliveries = self._counter("deliveries", "Delivery attempts by outcome.", "channel", "destination", "result")

    def _counter(self, name: str, documentation: str, *labels: str) -> _Children:
        return _Children(Counter(f"{_PREFIX}{name}", documentation, labels, registry=self._registry))

    def note(self, event: Event) -> None:
        """Count an event."""
        self._events[event.name(), event.level].inc()
        match event:
            case JournalPruned():
                self._pruned[(event.why,)].inc(event.messages)
            case MessageAccepted():
                self._messages[event.channel, "duplicate" if event.duplicate else "accepted"].inc()
            case MessageRejected():
                self._messages[event.channel, "rejected"].inc()
            case IntakeRefused():
                self._messages[event.channel, "not_committed"].inc()
            case MessageForwarded():
                self._messages[event.channel, "forwarded" if event.deliveries else "filtered"].inc()
            case MessageParked():
                self._messages[event.channel, "parked"].inc()
            case DeliveryDone():
                self._deliveries[event.channel, event.destination, "delivered"].inc()
            case DeliveryRetried() | DeliverySentAhead():
                self._deliveries[event.channel, event.destination, "retried"].inc()
            case DeliveryParked():
                self._deliveries[event.channel, event.destination, "parked"].inc()
            case _:
                pass

    def exposition(self, status: Status) -> bytes:
        """The counters, and the status as gauges, in Prometheus' text format."""
        return generate_latest(self._registry) + generate_latest(_Gauges(status))


class _Gauges(CollectorRegistry):
    """One status, told as metrics."""

    def __init__(self, status: Status) -> None:
        super().__init__()
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily]:
        status = self._status
        yield _gauge("uptime_seconds", "Time since the engine started.", status.uptime)
        yield _gauge("ready", "1 while the engine can take in messages.", not status.problems)
        yield _gauge("journal_up", "1 while the journal can commit.", not status.journal.problem)
        yield _gauge("journal_bytes", "Size of the journal.", status.journal.size)
        yield _gauge("journal_used_bytes", "Of it, what is not free to be used again.", status.journal.used)
        yield _gauge("journal_wal_bytes", "Size of the journal's write-ahead log.", status.journal.wal)
        if status.room is not None:
            yield _gauge("journal_room_bytes", "Disk left until the journal stops acknowledging.", status.room)
        yield _gauge("exchange_up", "1 while the exchange can be used.", not status.exchange.problem)
        ends = (((each.channel, each.file), each.ends.timestamp()) for each in status.certificates)
        what = "When a certificate ends."
        yield _family("certificate_expiry_timestamp_seconds", what, ("channel", "file"), ends)
        yield from self._channels()
        yield from self._destinations()

    def _channels(self) -> Iterator[GaugeMetricFamily]:
        rows = [((c.name,), c) for c in self._status.channels]
        labels = ("channel",)
        yield _family("source_up", "1 while the source can take in.", labels, ((k, not c.source.problem) for k, c in rows))
        yield _family("connections", "Connections at the source.", labels, ((k, c.source.connections) for k, c in rows))
        seen = ((k, c.last_received.timestamp()) for k, c in rows if c.last_received)
        yield _family("last_received_timestamp_seconds", "When the last message was received.", labels, seen)

    def _destinations(self) -> Iterator[GaugeMetricFamily]:
        destinations = [((c.name, d.name), d) for c in self._status.channels for d in c.destinations]
        backlogs: list[tuple[tuple[str, ...], Backlog]] = [((c.name, ""), c.backlog) for c in self._status.channels]
        backlogs += [(key, d.backlog) for key, d in destinations]
        labels = ("channel", "destination")
        up = ((k, not d.health.problem) for k, d in destinations)
        yield _family("destination_up", "1 while nothing is known against the destination.", labels, up)
        seen_to = [((c.name, ""), c.source) for c in self._status.channels] + [(key, d.health) for key, d in destinations]
        what = (
            "1 while a person should see to it though it works: renewed files of TLS cannot be used (destination empty: source)."
        )
        yield _family("warning", what, labels, ((k, bool(health.warning)) for k, health in seen_to))
        what = "(destination empty: for transformation)"
        yield _family("waiting", f"Items waiting {what}.", labels, ((k, b.waiting) for k, b in backlogs))
        yield _family("parked", f"Items parked {what}.", labels, ((k, b.parked) for k, b in backlogs))
        over = ((k, bool(b.over)) for k, b in backlogs)
        yield _family("waiting_over_limit", f"1 while more waits, or longer, than `waiting:` allows {what}.", labels, over)
        late = ((k, d.overdue) for k, d in destinations)
        yield _family("receipts_overdue", "Deliveries whose receiver has not said what became of them.", labels, late)
        yield _family("oldest_seconds", f"Age of the oldest waiting item {what}.", labels, ((k, b.age or 0) for k, b in backlogs))


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", documentation, value=float(value))


def _family(
    name: str, documentation: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", documentation, labels=labels)
    for key, value in values:
        family.add_metric(key, float(value))
    return family
