"""A running engine to look at, without an engine: what the status, the metrics and the API are tested with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from interop_engine.config.schema import ReceiptOptions, SiteOptions
from interop_engine.connectors.base import ConnectorHealth
from interop_engine.core.errors import UnknownItem
from interop_engine.engine.reload import Reloaded
from interop_engine.exchange.base import ExchangeHealth
from interop_engine.journal.base import (
    DeliveryRow,
    DeliveryState,
    JournalHealth,
    MessageRow,
    MessageState,
    Queue,
    QueueCount,
    Selection,
)

AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
ROW = MessageRow(
    id="m1",
    channel="lab",
    state=MessageState.PARKED,
    received_at=AT,
    control_id="C1",
    message_type="ORU^R01",
    peer="10.0.0.1:40000",
    size=512,
    code="204",
    why="OBR-3 names no known order.",
    deliveries=(DeliveryRow("d1", "hub", DeliveryState.PARKED, 3, code="fhir-422", why="422: Nguyễn Văn An is no name."),),
    search=(("patient", "BN001"),),
)


@dataclass
class FakeJournal:
    """As much of a journal as is looked at; ``done`` is what was asked of it."""

    problem: str = ""
    done: list[tuple[str, ...]] = field(default_factory=list)
    queues: list[QueueCount] = field(
        default_factory=lambda: [QueueCount(Queue("lab"), 0, 1), QueueCount(Queue("lab", "hub"), 2, 1, AT)]
    )

    async def counts(self) -> list[QueueCount]:
        return self.queues

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        return {"lab": {"transformed": 7, "rejected": 2, "filtered": 3, "parked": 1}}

    async def last_received(self) -> Mapping[str, datetime]:
        return {"lab": AT}

    async def health(self) -> JournalHealth:
        return JournalHealth("sqlite", "var/journal.db", 4096, 1024, self.problem)

    async def search(self, selection: Selection) -> list[MessageRow]:
        self.done.append(("search", str(selection)))
        return [ROW] if all((kind, value) in ROW.search for kind, value in selection.search) else []

    async def show(self, message_id: str) -> MessageRow:
        if message_id != ROW.id:
            raise UnknownItem
        return ROW

    async def replay(self, message_id: str, *, config: str, only: str, then: bool, resend: bool, once: bool) -> str:
        await self.show(message_id)
        self.done.append(("replay", message_id, config, only, f"{then=} {resend=} {once=}"))
        return "m2"

    async def retry(self, delivery_id: str) -> str | None:
        self.done.append(("retry", delivery_id))
        return None

    async def discard(self, message_id: str, why: str, *, to: str = "", code: str = "", waiting: bool = False) -> None:
        self.done.append(("discard", message_id, why))


@dataclass
class FakeChannel:
    """A channel with a source and one destination."""

    name: str = "lab"
    title: str = "LIS results"
    state: str = "running"
    problem: str = ""
    source_health: ConnectorHealth = field(default_factory=lambda: ConnectorHealth("0.0.0.0:2575", 3))
    destination_healths: Mapping[str, ConnectorHealth] = field(
        default_factory=lambda: {"hub": ConnectorHealth("embedded to hub", problem="refused")}
    )

    async def open_source(self) -> None:
        self.state, self.problem = "running", ""

    async def close_source(self) -> None:
        self.state = "stopped"

    def stop_destination(self, name: str) -> None:
        self.destination_healths = {**self.destination_healths, name: replace(self._health(name), problem="stopped")}

    def start_destination(self, name: str) -> None:
        self.destination_healths = {**self.destination_healths, name: replace(self._health(name), problem="")}

    def _health(self, name: str) -> ConnectorHealth:
        if name not in self.destination_healths:
            raise UnknownItem(f"The channel {self.name} has no destination {name}.")
        return self.destination_healths[name]


@dataclass
class FakeEngine:
    """An engine with one channel."""

    journal: Any = field(default_factory=FakeJournal)
    steering: asyncio.Lock = field(default_factory=asyncio.Lock)
    reloads: Callable[[str], Reloaded] = lambda only: Reloaded(kept=("lab",), config="c0ffee")
    channels: Sequence[Any] = field(default_factory=lambda: [FakeChannel()])
    exchange: Any = field(default_factory=lambda: SimpleNamespace(health=lambda: ExchangeHealth("embedded", "this process")))
    site: Any = field(
        default_factory=lambda: SimpleNamespace(
            options=SiteOptions(
                site="Bệnh viện mẫu", facility="24001", timezone="Asia/Ho_Chi_Minh", receipts=ReceiptOptions(within=0)
            ),
            digest="c0ffee",
            root=Path(),
            channels=(),
        )
    )

    async def reload(self, only: str = "") -> Reloaded:
        """As ``reloads`` has it."""
        return self.reloads(only)
