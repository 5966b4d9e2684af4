"""The reference page of the HTTP API: its routes as they are registered, and its metrics as they are exposed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interop_engine.ops.metrics import Metrics
    from interop_engine.ops.status import Status

_INTRODUCTION = (
    "An engine listens where `status.listen` of engine.yaml says, on loopback by default, and shows no content of a message and",
    "no patient's number. A `Host` header that is neither an address nor localhost is refused. What changes something is a POST",
    "from the same machine with the header `x-interop-engine: operate`, which no HTML form can send.",
)


def routes() -> Iterator[tuple[str, str, str]]:
    """Each route: method, path, meaning."""
    from interop_engine.ops.api import application

    # No route looks at the engine before it is asked.
    for route in application(cast("Any", None), "").routes:
        methods, endpoint = getattr(route, "methods", ()), getattr(route, "endpoint", None)
        for method in sorted(methods):
            yield f"`{method}`", f"`{getattr(route, 'path', '')}`", " ".join((getattr(endpoint, "__doc__", "") or "").split())


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """Each metric: name, type, labels, meaning."""
    from prometheus_client.parser import text_string_to_metric_families

    from interop_engine.ops.metrics import Metrics

    exposed = _used(Metrics()).exposition(_status()).decode()
    for family in text_string_to_metric_families(exposed):
        first = family.samples[0]
        yield f"`{first.name}`", family.type, ", ".join(f"`{label}`" for label in first.labels), family.documentation


def _used(metrics: Metrics) -> Metrics:
    """With one event of each kind that has labels of its own."""
    from interop_engine.core.events import DeliveryDone, JournalPruned, MessageAccepted

    metrics.note(MessageAccepted("", ""))
    metrics.note(DeliveryDone("", "", "", 1))
    metrics.note(JournalPruned("", 0))
    return metrics


def _status() -> Status:
    """A status with one channel and one destination."""
    from interop_engine.connectors.base import ConnectorHealth
    from interop_engine.exchange.base import ExchangeHealth
    from interop_engine.journal.base import JournalHealth
    from interop_engine.ops.machine import Certificate
    from interop_engine.ops.rates import Rates
    from interop_engine.ops.status import Backlog, ChannelStatus, DestinationStatus, Status

    now, health = datetime.now(UTC), ConnectorHealth("")
    channel = ChannelStatus(
        name="",
        title="",
        state="running",
        problem="",
        source=health,
        received=0,
        accepted=0,
        rejected=0,
        filtered=0,
        parked=0,
        rates=Rates(),
        last_received=now,
        backlog=Backlog(),
        destinations=(DestinationStatus("", health, Backlog()),),
    )
    journal, exchange, certificate = JournalHealth("", "", 0), ExchangeHealth("", ""), Certificate("", "", now)
    return Status("", "", "", now, now, 0.0, (), journal, exchange, (channel,), 0, (certificate,))


def page(note: str) -> list[str]:
    """The page's lines, but for its tables, which ``reference`` lays out."""
    return [note, "", "# HTTP API and metrics", "", *_INTRODUCTION]
